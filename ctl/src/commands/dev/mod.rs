//! A whole fleet on this machine, for development and for looking around.

mod down;
mod status;
mod up;

use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};
use trireme_proto::problem::{Code, Problem};

use crate::App;
use crate::error::{Failure, Outcome};
use crate::local::{Fleet, LocalError, Programs, state_dir};

/// What to do with the fleet on this machine.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Up(up::Args),
    Status(status::Args),
    Down(down::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Up(args) => up::run(app, args).await,
        Command::Status(args) => status::run(app, &args),
        Command::Down(args) => down::run(app, args).await,
    }
}

/// Where the fleet is.
#[derive(Debug, clap::Args)]
pub(super) struct Dir {
    /// Directory of the fleet; by default ~/.cache/trireme/dev
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Dir {
    fn path(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| state_dir().join("dev"))
    }

    /// Takes up the fleet; its programs are looked for only to start something.
    fn open(&self) -> Result<Fleet, LocalError> {
        let none = Programs { controller: PathBuf::new(), agent: PathBuf::new() };
        Fleet::open(&self.path(), none)
    }

    /// Returns the command that does this with the same fleet.
    fn command(&self, app: &App, verb: &str) -> String {
        match self.dir.as_ref().map(|dir| dir.display().to_string()) {
            Some(dir) => app.command(&["dev", verb, "--dir", &dir]),
            None => app.command(&["dev", verb]),
        }
    }
}

/// Finds the daemons' programs.
pub(super) fn programs(dir: Option<&Path>) -> Result<Programs, LocalError> {
    dir.map_or_else(Programs::beside_this, Programs::within)
}

/// Runs until SIGTERM, which ends it as Ctrl-C does: with everything that it has started.
pub(super) async fn until_terminated<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return work.await };
    tokio::select! {
        result = work => result,
        _ = terminated.recv() => {
            Err(Problem::new(Code::Failed, "terminated; everything that was started has ended").into())
        }
    }
}
