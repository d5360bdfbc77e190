//! `trictl controller replace`: another controller in the place of one.

use trireme_proto::id::ControllerId;

use super::regroup::{Common, Who};
use crate::App;
use crate::error::{Failure, Outcome};

/// Have another controller take the place of one
///
/// The new one copies everything first; then both change places at once, so that there is never
/// one controller less. DANGEROUS for the old one: its identity is denied for good. The new one has
/// to run already, as for `trictl controller add`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Controller that leaves
    old: ControllerId,

    /// Controller that takes its place
    new: ControllerId,

    /// Where other controllers reach the new one: `listen.peer` of its configuration
    #[arg(long, value_name = "HOST:PORT")]
    peer: String,

    #[command(flatten)]
    common: Common,
}

/// Replaces a controller.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let who = Who { name: args.new.as_str(), peer: &args.peer, old: args.old.as_str() };
    let begun = client.replace_controller(args.common.request(&client, &who)).await?;
    args.common.follow(app, &client, begun).await
}
