//! `trictl checklist show`: one run item by item, and the runs before it.

use trireme_proto::id::{ChecklistId, RunId};
use trireme_proto::problem::{Code, Problem};

use super::super::get::Consistency;
use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::checklist;

/// Show how a checklist stands: the newest run item by item, and the runs before it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the checklist
    checklist: ChecklistId,

    /// Show this run, and not the newest
    #[arg(long, value_name = "RUN")]
    run: Option<RunId>,

    /// How sure the answer must be
    #[arg(long, value_enum, default_value_t)]
    consistency: Consistency,
}

/// Shows one checklist.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let mut reply = super::find(&client, args.checklist.as_str(), args.consistency).await?;
    let missing = |what: String| {
        let hint = app.command(&["checklist", "list"]);
        Failure::from(Problem::new(Code::NotFound, what).hint(hint))
    };
    let Some(mut view) = reply.value.items.pop() else {
        return Err(missing(format!("there is no checklist {}", args.checklist)));
    };
    if let Some(id) = args.run {
        view.runs.retain(|run| run.id == id);
        if view.runs.is_empty() {
            return Err(missing(format!("checklist {} has no {id}", args.checklist)));
        }
    }
    app.out.value(&view, checklist::show)?;
    Ok(Outcome::Done)
}
