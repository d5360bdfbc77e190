//! `trictl node drain`: keeps clients away from a node until it is returned.

use trireme_proto::id::{NodeId, Place};

use super::super::place;
use crate::App;
use crate::error::{Failure, Outcome};

/// Keep clients away from a node until it is returned
///
/// Services there go on running. The ledger counts the node as down, so it is refused where too few
/// regions would serve on, and upgrades pass a node by.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the node
    node: NodeId,

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

/// Drains a node.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    place::drain(app, Place::Node(args.node), args.reason, (args.wait, args.dry_run)).await
}
