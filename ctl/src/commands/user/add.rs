//! `trictl user add`: lets a person in.

use super::{Roles, changed};
use crate::App;
use crate::error::{Failure, Outcome};

/// Let a person in, with roles
///
/// The person still needs a token to log in with: `trictl user token NAME`. From now on only what
/// is granted here counts for that name.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    roles: Roles,
}

/// Asks for it and prints the person.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = args.roles.request(&client);
    changed(app, &client.add_user(request).await?)
}
