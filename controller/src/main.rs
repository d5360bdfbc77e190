//! `trireme-controller`: arguments, configuration, signals, exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::filter::Targets;
use trireme_controller::{cli, config::Config};

/// One controller of a Trireme fleet.
#[derive(Debug, Parser)]
#[command(name = "trireme-controller", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop.
    Run {
        /// Configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Wait for all controllers and make a fleet of them; harmless when that was done.
        #[arg(long)]
        bootstrap: bool,
        /// What is logged, as levels of targets.
        #[arg(long, env = "RUST_LOG", value_name = "LEVELS", default_value = cli::LOG_FILTER)]
        log_filter: Targets,
    },
    /// Print the request for the root to sign this controller's issuing key.
    Request {
        /// Configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Take in what the root signed.
    Install {
        /// Configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Root certificate of the fleet (PEM).
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
        /// Issuing certificate that the root has signed (PEM).
        #[arg(long, value_name = "FILE")]
        issuing: PathBuf,
    },
}

fn main() -> ExitCode {
    let load = |path: &PathBuf| Config::load(path);
    match Cli::parse().command {
        Command::Run { config, bootstrap, log_filter } => {
            cli::run(load(&config), bootstrap, log_filter)
        }
        Command::Request { config } => cli::request(load(&config)),
        Command::Install { config, root, issuing } => cli::install(load(&config), &root, &issuing),
    }
}
