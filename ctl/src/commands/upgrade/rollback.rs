//! `trictl upgrade rollback`: every touched node runs what it ran before.

use super::{Steer, changed};
use crate::App;
use crate::error::{Failure, Outcome};

/// Take an upgrade back: every touched node runs what it ran before
///
/// Nodes that do not serve go first, the others region by region under the same rule as the
/// upgrade itself.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    steer: Steer,
}

/// Asks for it and prints the upgrade.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = args.steer.request(app, &client).await?;
    changed(app, &client.rollback_upgrade(request).await?)
}
