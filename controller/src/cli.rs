//! What the daemon's subcommands do, and how each ends.

use std::io::Write as _;
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use trireme_proto::key::request_to_pem;
use trireme_proto::keyfile;

use crate::config::{Config, ConfigError, LogFormat};
use crate::machine::chain;
use crate::pki::Store;
use crate::server;

/// Exit code of a wrong configuration, as of wrong arguments.
const USAGE: u8 = 2;

/// What is logged unless told otherwise: the libraries' chatter is of no use to operators.
pub const LOG_FILTER: &str = "info,openraft=error,h2=warn,hyper=warn";

/// Serves until told to stop.
pub fn run(config: Result<Config, ConfigError>, bootstrap: bool, filter: Targets) -> ExitCode {
    let config = match config {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    log_to_stderr(config.log, filter);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    // The thread of Raft has a core, the others are for everything else.
    let (replicating, runtime) = match (raft_thread(), main_threads(cores - 1)) {
        (Ok(replicating), Ok(runtime)) => (replicating, runtime),
        (Err(error), _) | (_, Err(error)) => return fail(1, &error),
    };
    let stop = CancellationToken::new();
    let ended = runtime.block_on(async {
        let told = stop.clone();
        let serving = server::run(config, bootstrap, &replicating, stop.clone());
        tokio::select! {
            ended = serving => ended,
            // Cancelling lets the server end by itself; only then is the runtime dropped.
            never = stop_on_signals(told) => match never {},
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error),
    }
}

/// Starts the thread of Raft, which lasts as long as the process.
fn raft_thread() -> std::io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name("raft".to_owned());
    thread.spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

/// Makes the runtime of everything else, on this many threads, or on one.
fn main_threads(count: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(count.max(1))
        .thread_name("main")
        .enable_all()
        .build()
}

async fn stop_on_signals(stop: CancellationToken) -> std::convert::Infallible {
    let streams = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    if let (Ok(mut terminate), Ok(mut interrupt)) = streams {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    }
    std::future::pending().await
}

/// Prints the request for the root to sign.
pub fn request(config: Result<Config, ConfigError>) -> ExitCode {
    let config = match config {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    match Store::new(config.data.join("pki")).issuing_request() {
        Ok(request) => {
            let text = request_to_pem(&request);
            match std::io::stdout().write_all(text.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(1, &error),
            }
        }
        Err(error) => fail(1, &error),
    }
}

/// Takes in what the root signed.
pub fn install(config: Result<Config, ConfigError>, root: &Path, issuing: &Path) -> ExitCode {
    let config = match config {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    let files = keyfile::read_public(root)
        .and_then(|root| keyfile::read_public(issuing).map(|issuing| (root, issuing)));
    let (root, issuing) = match files {
        Ok(files) => files,
        Err(error) => return fail(1, &error),
    };
    match Store::new(config.data.join("pki")).install(&config.fleet, &root, &issuing) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error),
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a daemon goes to its terminal")]
fn fail(code: u8, error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {}", chain(error));
    ExitCode::from(code)
}

fn log_to_stderr(format: LogFormat, filter: Targets) {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}
