//! The command line: what was typed, what is logged, and which code the process ends with.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing::{error, info};
use trireme_proto::token::{Token, TokenError};

use crate::act::chain;
use crate::config::{Address, Config, Log, LogFormat, LogLevel};
use crate::link::JoinError;
use crate::runtime::{self, RunError};

/// The request or the configuration is wrong.
const USAGE: u8 = 2;
/// It was tried and failed.
const FAILED: u8 = 1;
/// The fleet does not let this node in.
const DENIED: u8 = 4;
/// No controller answered.
const UNREACHABLE: u8 = 6;

/// Threads for work that blocks: the journal, an artifact, and look-ups of names that hang.
pub const BLOCKING_THREADS_MAX: usize = 8;

/// The hands of a Trireme fleet on this host.
#[derive(Debug, Parser)]
#[command(name = "trireme-agent", version)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Look after this node's services until SIGTERM; they go on running then.
    Run {
        /// Configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Join a fleet with a one-time token; does nothing if the node has joined.
    Join {
        /// Configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// One-time token; other users of this host can see it while the command runs.
        #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
        token: Option<String>,
        /// File that holds the token, readable by its owner alone.
        #[arg(long, value_name = "FILE", required_unless_present = "token")]
        token_file: Option<PathBuf>,
        /// Where a controller lets nodes join, if not as configured.
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<Address>,
    },
}

impl Args {
    /// Does what was asked and returns the exit code.
    pub async fn run(self) -> ExitCode {
        let (Verb::Run { config: path } | Verb::Join { config: path, .. }) = &self.verb;
        let config = match Config::load(path) {
            Ok(config) => config,
            Err(error) => {
                start_log(&Log::default());
                error!("{}", chain(&error));
                return ExitCode::from(USAGE);
            }
        };
        start_log(&config.log);
        let ended = match self.verb {
            Verb::Run { config: path } => run(path, &config).await,
            Verb::Join { token, token_file, address, .. } => {
                join(&config, token, token_file, address.as_ref()).await
            }
        };
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                error!("{}", chain(&error));
                ExitCode::from(exit_code(&error))
            }
        }
    }
}

/// Returns the exit code of a failure, as `trictl` ends with it.
fn exit_code(error: &RunError) -> u8 {
    match error {
        RunError::Token(_) | RunError::NoJoinAddress | RunError::NotJoined { .. } => USAGE,
        RunError::Join(JoinError::Refused { .. }) => DENIED,
        RunError::Join(JoinError::Unreachable { .. }) => UNREACHABLE,
        _ => FAILED,
    }
}

async fn run(path: PathBuf, config: &Config) -> Result<(), RunError> {
    let listen =
        |kind| signal(kind).map_err(|source| RunError::System { what: "of its signals", source });
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let asked_to_end = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    };
    runtime::run(&path, config, asked_to_end).await
}

async fn join(
    config: &Config,
    token: Option<String>,
    token_file: Option<PathBuf>,
    address: Option<&Address>,
) -> Result<(), RunError> {
    let token: Token = match (token, token_file) {
        (Some(token), _) => token.parse()?,
        (None, Some(path)) => runtime::token_from(&path)?,
        // The command line demands one of the two.
        (None, None) => return Err(TokenError::Parts(0).into()),
    };
    let identity = runtime::join_fleet(config, address, &token).await?;
    info!(%identity, "this node has joined");
    Ok(())
}

fn start_log(log: &Log) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder.with_ansi(false).with_target(false).init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_and_a_silence_have_exit_codes_of_their_own() {
        let address: Address = "127.0.0.1:7403".parse().unwrap();
        let why = "used already".to_owned();
        let refused = JoinError::Refused { address: address.clone(), why: why.clone() };
        let silent = JoinError::Unreachable { address, why };
        assert_eq!(exit_code(&refused.into()), 4);
        assert_eq!(exit_code(&silent.into()), 6);
        assert_eq!(exit_code(&RunError::NoJoinAddress), 2);
    }
}
