//! `trictl node return`: ends a drain, and the cordon.

use trireme_proto::id::{NodeId, Place};

use super::super::place;
use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// Let clients and work come to a node again
///
/// Ends its drain and its cordon. This is never refused: clients come at once wherever the
/// checks pass.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the node
    node: NodeId,

    /// Why, for the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Returns a node.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let given = (args.reason, args.dry_run);
    place::give_back(app, &Place::Node(args.node), given, table::nodes).await
}
