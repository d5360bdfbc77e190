//! `trictl user disable`: lets a person do nothing for now.

use trireme_proto::wire::UserRequest;

use super::changed;
use crate::App;
use crate::error::{Failure, Outcome};

/// Let a person do nothing until they are enabled again
///
/// What they have open is cut within seconds, and their logins end: after `user enable` they log in
/// anew with a token.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the person
    name: String,

    /// Why, for them and for the audit log
    #[arg(long)]
    reason: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Asks for it and prints the person.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = UserRequest {
        origin: Some(client.origin()),
        name: args.name,
        reason: args.reason,
        dry_run: args.dry_run,
        ..UserRequest::default()
    };
    changed(app, &client.disable_user(request).await?)
}
