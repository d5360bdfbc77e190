//! `trictl review users`: somebody looks at who may do what.

use trireme_proto::wire::{Consistency, ListUsersRequest, ReviewRequest};

use super::Finding;
use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::people;

/// Record the review of who may do what
///
/// Shows everybody with their roles and when they last asked for anything, and records that it was
/// looked at.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    finding: Finding,
}

/// Shows people and records a review.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let consistency = Consistency::Linearizable.into();
    let all = ListUsersRequest { name: String::new(), consistency };
    let users = client.list_users(all).await?.value;
    app.out.page(people::users(&users))?;
    let active = users.items.iter().filter(|user| user.state != "removed").count();
    let request = ReviewRequest {
        origin: Some(client.origin()),
        of: "users".to_owned(),
        count: active as u64,
        note: args.finding.note,
        incident: args.finding.incident,
        dry_run: args.finding.dry_run,
        ..ReviewRequest::default()
    };
    super::print(app, &client.review(request).await?)
}
