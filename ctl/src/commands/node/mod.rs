//! Nodes: hosts with an agent.

mod cordon;
mod drain;
mod list;
mod remove;
mod r#return;

use crate::App;
use crate::error::{Failure, Outcome};

/// What to do with nodes.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::Args),
    Drain(drain::Args),
    Cordon(cordon::Args),
    Return(r#return::Args),
    Remove(remove::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Drain(args) => drain::run(app, args).await,
        Command::Cordon(args) => cordon::run(app, args).await,
        Command::Return(args) => r#return::run(app, args).await,
        Command::Remove(args) => remove::run(app, args).await,
    }
}
