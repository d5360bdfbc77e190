//! Exceptions to rules of the ledger.

mod add;
mod end;
mod list;

use crate::App;
use crate::error::{Failure, Outcome};

/// What to do with overrides.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Add(add::Args),
    List(list::Args),
    End(end::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Add(args) => add::run(app, args).await,
        Command::List(args) => list::run(app, args).await,
        Command::End(args) => end::run(app, args).await,
    }
}
