//! `trictl review audit`: somebody looks at a part of the audit.

use trireme_proto::wire::ReviewRequest;

use super::super::audit::{Narrow, verify};
use super::Finding;
use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// Record the review of a part of the audit
///
/// Verifies the chain of the whole audit first, shows the entries that fit, and records who looked
/// at which entries, by which query, how many there were, and what was found.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    narrow: Narrow,

    #[command(flatten)]
    finding: Finding,
}

/// Verifies, shows and records a review.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let newest = verify::chain(&client, Vec::new()).await?.seq;
    let (from, to, query) = (args.narrow.from.max(1), args.narrow.to, args.narrow.query());
    let to = if to == 0 { newest } else { to.min(newest) };
    let entries = args.narrow.all(&client, to).await?;
    app.out.page(table::audit(&entries))?;
    let request = ReviewRequest {
        origin: Some(client.origin()),
        of: "audit".to_owned(),
        from,
        to,
        query,
        count: entries.len() as u64,
        note: args.finding.note,
        incident: args.finding.incident,
        dry_run: args.finding.dry_run,
    };
    super::print(app, &client.review(request).await?)
}
