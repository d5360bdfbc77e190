//! Controllers: the replicated brain of the fleet.

mod status;
mod transfer;

use crate::App;
use crate::error::{Failure, Outcome};

/// What to do with controllers.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Status(status::Args),
    Transfer(transfer::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Status(args) => status::run(app, args).await,
        Command::Transfer(args) => transfer::run(app, args).await,
    }
}
