//! `trictl user grant`: gives roles.

use super::{Roles, changed};
use crate::App;
use crate::error::{Failure, Outcome};

/// Give a person roles, in addition to those they have
///
/// Counts at once, for whoever is logged in as well.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    roles: Roles,
}

/// Asks for it and prints the person.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = args.roles.request(&client);
    changed(app, &client.grant_user(request).await?)
}
