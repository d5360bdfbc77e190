//! Alerts: what goes on, who looks after it, what is kept silent, and whether channels work.

mod ack;
mod list;
mod notices;
mod review;
mod silence;
mod silences;
mod test;
mod unsilence;

use crate::App;
use crate::error::{Failure, Outcome};

/// What to do about alerts.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::Args),
    Ack(ack::Args),
    Silence(silence::Args),
    Unsilence(unsilence::Args),
    Silences(silences::Args),
    Notices(notices::Args),
    Test(test::Args),
    Review(review::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Ack(args) => ack::run(app, args).await,
        Command::Silence(args) => silence::run(app, args).await,
        Command::Unsilence(args) => unsilence::run(app, args).await,
        Command::Silences(args) => silences::run(app, args).await,
        Command::Notices(args) => notices::run(app, args).await,
        Command::Test(args) => test::run(app, args).await,
        Command::Review(args) => review::run(app, args).await,
    }
}
