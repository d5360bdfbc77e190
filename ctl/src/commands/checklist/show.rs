//! `trictl checklist show`: one run item by item, and the runs before it.

use trireme_proto::id::{ChecklistId, RunId};
use trireme_proto::problem::{Code, Problem};

use super::super::look::{Look, look};
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

    #[command(flatten)]
    look: Look,
}

/// Shows one checklist.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    look(app, args.look.again, async || {
        let name = args.checklist.as_str();
        let mut reply = super::find(&client, name, args.look.consistency).await?;
        let missing = |what: String| {
            let hint = app.command(&["checklist", "list"]);
            Failure::from(Problem::new(Code::NotFound, what).hint(hint))
        };
        let Some(mut view) = reply.value.items.pop() else {
            return Err(missing(format!("there is no checklist {name}")));
        };
        if let Some(id) = args.run {
            view.runs.retain(|run| run.id == id);
            if view.runs.is_empty() {
                return Err(missing(format!("checklist {name} has no {id}")));
            }
        }
        app.out.value(&view, checklist::show)
    })
    .await
}
