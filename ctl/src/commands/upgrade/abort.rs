//! `trictl upgrade abort`: ends it where it is.

use super::{Steer, changed};
use crate::App;
use crate::error::{Failure, Outcome};

/// End an upgrade where it is, leaving finished nodes upgraded
///
/// What has begun on a node ends safely first. Finished nodes keep the new version, the rest the
/// old one; `upgrade rollback` takes the finished ones back instead.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    steer: Steer,
}

/// Asks for it and prints the upgrade.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = args.steer.request(app, &client).await?;
    changed(app, &client.abort_upgrade(request).await?)
}
