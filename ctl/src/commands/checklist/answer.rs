//! `trictl checklist answer` and `review`: what a person found.

use trireme_proto::id::{ChecklistId, ItemId, RunId};
use trireme_proto::wire::AnswerItemRequest;

use crate::App;
use crate::error::{Failure, Outcome};

/// What was found, on which item.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the checklist
    checklist: ChecklistId,

    /// Name of the item
    item: ItemId,

    /// Run that is meant [default: the newest that is open]
    #[arg(long, value_name = "RUN")]
    run: Option<RunId>,

    /// It is not well
    #[arg(long)]
    failed: bool,

    /// What was found; needed where it is not well
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,

    /// How many were found
    #[arg(long, value_name = "N", requires = "query")]
    count: Option<u64>,

    /// By which query
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    query: String,

    /// What it is linked to: drill/ID, incident-N or a URL
    #[arg(long, default_value = "", hide_default_value = true)]
    link: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Answers an item.
pub(super) async fn run(app: &App, args: Args, review: bool) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = AnswerItemRequest {
        origin: Some(client.origin()),
        checklist: args.checklist.to_string(),
        run: args.run.map(|run| run.to_string()).unwrap_or_default(),
        item: args.item.to_string(),
        failed: args.failed,
        note: args.note,
        count: args.count,
        query: args.query,
        link: args.link,
        dry_run: args.dry_run,
    };
    let reply = client.answer_item(request, review).await?;
    super::run::print(app, &reply, args.dry_run)
}
