//! `trictl freeze off`: let work go on again.

use super::Steer;
use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// Let work go on again
///
/// What waited asks again by itself.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) steer: Steer,
}

/// Ends the freeze.
pub(super) async fn run(app: &App, steer: Steer) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let reply = client.thaw(steer.request(&client)).await?;
    app.out.reply(&reply, table::freeze)?;
    Ok(Outcome::Done)
}
