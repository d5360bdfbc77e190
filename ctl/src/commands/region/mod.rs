//! Regions: places whose nodes fail together.

mod drain;
mod list;
mod r#return;

use crate::App;
use crate::error::{Failure, Outcome};

/// What to do with regions.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::Args),
    Drain(drain::Args),
    Return(r#return::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Drain(args) => drain::run(app, args).await,
        Command::Return(args) => r#return::run(app, args).await,
    }
}
