//! `trictl review break`: another person looks at a start without approval.

use trireme_proto::wire::ReviewRequest;

use super::Finding;
use crate::App;
use crate::error::{Failure, Outcome};

/// Record the review of a start without approval
///
/// By another person than the one who started it, within 24 hours; everybody is told until then.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name, such as break-7
    #[arg(value_name = "BREAK")]
    id: String,

    #[command(flatten)]
    finding: Finding,
}

/// Records a review.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = ReviewRequest {
        origin: Some(client.origin()),
        of: args.id,
        note: args.finding.note,
        incident: args.finding.incident,
        dry_run: args.finding.dry_run,
        ..ReviewRequest::default()
    };
    super::print(app, &client.review(request).await?)
}
