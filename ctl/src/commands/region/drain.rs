//! `trictl region drain`: keeps clients away from a region until it is returned.

use trireme_proto::id::{Place, RegionId};

use super::super::place;
use crate::App;
use crate::error::{Failure, Outcome};

/// Keep clients away from a region until it is returned
///
/// Services there go on running. The ledger counts them as down, so it is refused where too few
/// regions would serve on, and upgrades pass a region by.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the region
    region: RegionId,

    /// Why, for the audit log
    #[arg(long)]
    reason: String,

    /// Wait until nobody comes any more: every controller has confirmed it, answers have expired,
    /// and what was asked for has ended or had its time
    #[arg(long)]
    wait: bool,

    /// Have it judged by the controllers, and change nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
}

/// Drains a region.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    place::drain(app, Place::Region(args.region), args.reason, (args.wait, args.dry_run)).await
}
