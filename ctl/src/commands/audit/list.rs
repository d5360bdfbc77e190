//! `trictl audit list`: who did what.

use trireme_proto::wire::ListAuditRequest;

use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// List entries of the audit log
///
/// Refused requests are listed too.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// First entry; by default the newest ones are listed
    #[arg(long, value_name = "SEQ", default_value_t = 0, hide_default_value = true)]
    from: u64,

    /// How many entries
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

/// Lists entries.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let request = ListAuditRequest { from: args.from, limit: args.limit };
    let reply = app.client()?.list_audit(request).await?;
    app.out.reply(&reply, |list| table::audit(&list.items))?;
    Ok(Outcome::Done)
}
