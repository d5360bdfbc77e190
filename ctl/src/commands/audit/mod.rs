//! The audit log: who did what, and the proof that nobody changed it since.

mod list;
mod verify;

use crate::App;
use crate::error::{Failure, Outcome};

/// What to do with the audit log.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::Args),
    Verify(verify::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Verify(args) => verify::run(app, args).await,
    }
}
