//! `trictl node remove`: a node that shall never come back.

use trireme_proto::wire::RemoveNodeRequest;

use super::super::usage;
use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// Remove a node for ever
///
/// DANGEROUS: its identity is denied for good, its connection is cut, its grants end as forced,
/// and it no longer counts. Services on it are not stopped. To come back, the host needs a new
/// name and a new token.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the node
    node: String,

    /// Why, for the audit log
    #[arg(long)]
    reason: String,

    /// Name of the node once more
    #[arg(long, value_name = "NODE")]
    confirm: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Removes a node.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    if args.confirm != args.node {
        let message = format!("--confirm says `{}`, the node is `{}`", args.confirm, args.node);
        return Err(usage(message).hint("repeat the node's name exactly").into());
    }
    let client = app.client()?;
    let reply = client
        .remove_node(RemoveNodeRequest {
            origin: Some(client.origin()),
            node: args.node,
            reason: args.reason,
            dry_run: args.dry_run,
        })
        .await?;
    app.out.reply(&reply, |node| table::nodes(std::slice::from_ref(node)))?;
    Ok(Outcome::Done)
}
