//! `trictl note`: a remark on an object, for whoever looks at it next.

use trireme_proto::wire::NoteRequest;

use super::usage;
use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// Leave a note on an object, for whoever looks at it next
///
/// `trictl why` shows it with the object, `trictl get note` lists all. It changes nothing else.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// KIND/NAME of a region, service, node or upgrade
    object: String,

    /// What it shall say
    #[arg(required_unless_present = "remove", conflicts_with = "remove")]
    text: Option<String>,

    /// Remove the note
    #[arg(long)]
    remove: bool,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Leaves or removes a note.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let text = args.text.unwrap_or_default();
    if text.trim().is_empty() && !args.remove {
        return Err(usage("a note says something").hint("to remove it: --remove").into());
    }
    let client = app.client()?;
    let reply = client
        .note(NoteRequest {
            origin: Some(client.origin()),
            object: args.object,
            text,
            dry_run: args.dry_run,
        })
        .await?;
    app.out.reply(&reply, |note| table::notes(std::slice::from_ref(note)))?;
    Ok(Outcome::Done)
}
