//! `trictl freeze on`: let nobody take anything new.

use super::Steer;
use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// Let nobody take anything new
///
/// Upgrades ask for no further wave, and stops, restarts and drains are refused. What has begun
/// ends, what goes back goes back, and starts and returns stay possible.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) steer: Steer,
}

/// Freezes the fleet.
pub(super) async fn run(app: &App, steer: Steer) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let reply = client.freeze(steer.request(&client)).await?;
    app.out.reply(&reply, table::freeze)?;
    Ok(Outcome::Done)
}
