//! Nodes: hosts with an agent.

mod list;
mod remove;

use crate::App;
use crate::error::{Failure, Outcome};

/// What to do with nodes.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::Args),
    Remove(remove::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Remove(args) => remove::run(app, args).await,
    }
}
