//! `trictl user revoke`: takes roles away.

use super::{Roles, changed};
use crate::App;
use crate::error::{Failure, Outcome};

/// Take roles away from a person
///
/// Counts at once: what they have open is cut. A role that counts everywhere is taken away whole,
/// since regions to come would be in doubt.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    roles: Roles,
}

/// Asks for it and prints the person.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = args.roles.request(&client);
    changed(app, &client.revoke_user(request).await?)
}
