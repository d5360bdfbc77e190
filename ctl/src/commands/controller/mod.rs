//! Controllers: the replicated brain of the fleet.

mod add;
mod regroup;
mod remove;
mod repair;
mod replace;
mod status;
mod transfer;

use crate::App;
use crate::error::{Failure, Outcome};

/// What to do with controllers.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    #[command(visible_alias = "list")]
    Status(status::Args),
    Transfer(transfer::Args),
    Add(add::Args),
    Remove(remove::Args),
    Replace(replace::Args),
    Repair(repair::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Status(args) => status::run(app, args).await,
        Command::Transfer(args) => transfer::run(app, args).await,
        Command::Add(args) => add::run(app, args).await,
        Command::Remove(args) => remove::run(app, args).await,
        Command::Replace(args) => replace::run(app, args).await,
        Command::Repair(args) => repair::run(app, args).await,
    }
}
