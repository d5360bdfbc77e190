//! `trictl node cordon`: has new work pass a node by.

use trireme_proto::id::{NodeId, Place};
use trireme_proto::view::NodeView;
use trireme_proto::wire::PlaceRequest;

use crate::App;
use crate::client::Reply;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// Have upgrades and restarts pass a node by
///
/// It goes on serving. Whoever names the node means it all the same. `node return` ends it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the node
    node: NodeId,

    /// Why, for the audit log
    #[arg(long)]
    reason: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Cordons a node.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = PlaceRequest {
        origin: Some(client.origin()),
        place: Place::Node(args.node).to_string(),
        reason: args.reason,
        dry_run: args.dry_run,
    };
    let reply: Reply<NodeView> = client.cordon(request).await?;
    app.out.reply(&reply, |node| table::nodes(std::slice::from_ref(node)))?;
    Ok(Outcome::Done)
}
