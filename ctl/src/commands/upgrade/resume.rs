//! `trictl upgrade resume`: lets a paused one go on.

use super::{Steer, changed};
use crate::App;
use crate::error::{Failure, Outcome};

/// Let a paused upgrade go on
///
/// Nothing is repeated: it continues with the step that would have come next.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    steer: Steer,
}

/// Asks for it and prints the upgrade.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = args.steer.request(app, &client).await?;
    changed(app, &client.resume_upgrade(request).await?)
}
