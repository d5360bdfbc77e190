//! Grants of the ledger: everything that takes capacity away.

mod list;
mod release;

use crate::App;
use crate::error::{Failure, Outcome};

/// What to do with grants.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::Args),
    Release(release::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Release(args) => release::run(app, args).await,
    }
}
