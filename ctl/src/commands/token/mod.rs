//! Tokens: one-time secrets that let nodes in.

mod create;

use crate::App;
use crate::error::{Failure, Outcome};

/// What to do with tokens.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Create(create::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Create(args) => create::run(app, args).await,
    }
}
