//! `trictl audit list`: who did what.

use trireme_proto::wire::ListAuditRequest;

use super::Narrow;
use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// List entries of the audit log
///
/// Refused requests are listed too.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    narrow: Narrow,

    /// How many entries; of a search the newest that fit
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

/// Lists entries.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let (narrow, limit) = (&args.narrow, args.limit);
    let client = app.client()?;
    let reply = if narrow.to == 0 && narrow.query().is_empty() {
        client.list_audit(ListAuditRequest { from: narrow.from, limit }).await?
    } else {
        client.search(narrow.request(narrow.to, limit)).await?
    };
    app.out.reply(&reply, |list| table::audit(&list.items))?;
    Ok(Outcome::Done)
}
