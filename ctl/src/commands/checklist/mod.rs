//! Checklists: what is looked at again and again, looked up, answered and closed.

mod answer;
mod close;
mod list;
mod run;
mod show;

use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::List;
use trireme_proto::view::checklist::{ChecklistView, RunView};

use super::get::{Consistency, request};
use crate::App;
use crate::client::{Client, Reply};
use crate::error::{Failure, Outcome};

/// What to do with checklists.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::Args),
    Show(show::Args),
    Run(run::Args),
    /// Say what you found on an item that a person is asked
    Answer(answer::Args),
    /// Say what you found on an item that is for those who review
    Review(answer::Args),
    Close(close::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Show(args) => show::run(app, args).await,
        Command::Run(args) => run::run(app, args).await,
        Command::Answer(args) => answer::run(app, args, false).await,
        Command::Review(args) => answer::run(app, args, true).await,
        Command::Close(args) => close::run(app, args).await,
    }
}

/// Reads one checklist with its runs.
async fn find(
    client: &Client,
    name: &str,
    consistency: Consistency,
) -> Result<Reply<List<ChecklistView>>, Failure> {
    let request = request("checklist", name.to_owned(), consistency);
    client.get(request).await
}

/// Returns the problem of a run in which something is not well.
fn unwell(app: &App, run: &RunView) -> Problem {
    let failed = run.items.iter().filter(|item| item.state == "failed");
    let mut problem = Problem::new(
        Code::Failed,
        format!(
            "{} of {} items of checklist {} failed",
            run.failed,
            run.items.len(),
            run.checklist
        ),
    );
    for item in failed {
        let note = item.note.as_deref().unwrap_or_default();
        problem = problem.because(format!("{}: {note}", item.name));
    }
    problem.hint(app.command(&["checklist", "show", run.checklist.as_str()]))
}
