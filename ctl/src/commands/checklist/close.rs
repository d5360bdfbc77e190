//! `trictl checklist close`: ends a run in which something was not well.

use trireme_proto::id::{ChecklistId, RunId};
use trireme_proto::wire::CloseChecklistRequest;

use crate::App;
use crate::error::{Failure, Outcome};

/// Close a run in which something was not well, saying what is done about it
///
/// Refused while there are items that nobody has looked at. A run in which everything is well is
/// closed by itself.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the checklist
    checklist: ChecklistId,

    /// Run that is meant [default: the newest that is open]
    #[arg(long, value_name = "RUN")]
    run: Option<RunId>,

    /// What is done about what was not well
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Closes a run.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = CloseChecklistRequest {
        origin: Some(client.origin()),
        checklist: args.checklist.to_string(),
        run: args.run.map(|run| run.to_string()).unwrap_or_default(),
        note: args.note,
        dry_run: args.dry_run,
    };
    let reply = client.close_checklist(request).await?;
    super::run::print(app, &reply, args.dry_run)
}
