//! `trictl upgrade pause`: stops it from going on, for now.

use super::{Steer, changed};
use crate::App;
use crate::error::{Failure, Outcome};

/// Stop an upgrade from going on to further nodes
///
/// What has begun on a node ends safely first. `upgrade resume` lets it go on.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    steer: Steer,
}

/// Asks for it and prints the upgrade.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = args.steer.request(app, &client).await?;
    changed(app, &client.pause_upgrade(request).await?)
}
