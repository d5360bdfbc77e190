//! Reviews: that somebody has looked at what was done, and what was found.

mod audit;
mod broken;
mod list;
mod users;

use trireme_proto::view::approval::ReviewsView;

use crate::App;
use crate::client::Reply;
use crate::error::{Failure, Outcome};
use crate::output::approval;

/// What to do with reviews.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::Args),
    Break(broken::Args),
    Audit(audit::Args),
    Users(users::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Break(args) => broken::run(app, args).await,
        Command::Audit(args) => audit::run(app, args).await,
        Command::Users(args) => users::run(app, args).await,
    }
}

/// What was found, for every kind of review.
#[derive(Debug, clap::Args)]
struct Finding {
    /// What was found
    #[arg(long)]
    note: String,

    /// Incident that came of it
    #[arg(long, default_value = "", hide_default_value = true)]
    incident: String,

    /// Have it judged by the controllers, and record nothing
    #[arg(long)]
    dry_run: bool,
}

/// Prints reviews and what is still to be reviewed.
fn print(app: &App, reply: &Reply<ReviewsView>) -> Result<Outcome, Failure> {
    app.out.reply(reply, approval::reviews)?;
    Ok(Outcome::Done)
}
