//! `trictl checklist run`: has the controllers look up what they can.

use serde_json::Value;
use trireme_proto::id::ChecklistId;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::checklist::RunView;
use trireme_proto::wire::RunChecklistRequest;

use crate::App;
use crate::client::Reply;
use crate::error::{Failure, Outcome, failed};
use crate::output::checklist;

/// Have the controllers look up what they can, in order, and fail if anything is not well
///
/// It is recorded in the run that is open, or in a new one; items that a person is asked wait for
/// `trictl checklist answer`. A run in which every item is well is closed with that.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the checklist
    checklist: ChecklistId,

    /// Look it up and fail alike, and record nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs a checklist.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = RunChecklistRequest {
        origin: Some(client.origin()),
        checklist: args.checklist.to_string(),
        dry_run: args.dry_run,
    };
    if args.dry_run {
        let reply: Reply<Value> = client.run_checklist(request).await?;
        app.out.reply(&reply, checklist::tally)?;
        let unwell = reply.value["failed"].as_array().map_or(0, Vec::len);
        if unwell == 0 {
            return Ok(Outcome::Done);
        }
        let message = format!("{unwell} items of checklist {} fail", args.checklist);
        return Err(Problem::new(Code::Failed, message).into());
    }
    let reply: Reply<RunView> = client.run_checklist(request).await?;
    app.out.reply(&reply, checklist::run)?;
    if reply.value.failed > 0 {
        return Err(super::unwell(app, &reply.value).into());
    }
    Ok(Outcome::Done)
}

/// Reads what was answered as a run, unless nothing was changed.
pub(super) fn print(app: &App, reply: &Reply<Value>, dry_run: bool) -> Result<Outcome, Failure> {
    if dry_run {
        app.out.reply(reply, checklist::tally)?;
        return Ok(Outcome::Done);
    }
    let run: RunView = serde_json::from_value(reply.value.clone())
        .map_err(|error| failed("the controller's document has another shape", &error))?;
    app.out.reply(reply, |_| checklist::run(&run))?;
    Ok(Outcome::Done)
}
