//! `trictl controller repair`: a controller whose disk was emptied comes back.

use trireme_proto::id::ControllerId;

use super::regroup::{Common, Who};
use crate::App;
use crate::error::{Failure, Outcome};

/// Take a controller back whose disk was emptied
///
/// It has forgotten what it voted for, so it comes back under a raft_id that no controller ever
/// had, with its old name: give it one in its configuration, have its new key signed, and start it.
/// Refused while the one that it was still answers.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the controller
    name: ControllerId,

    /// Where other controllers reach it, if that has changed
    #[arg(long, value_name = "HOST:PORT", default_value = "", hide_default_value = true)]
    peer: String,

    #[command(flatten)]
    common: Common,
}

/// Repairs a controller.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let who = Who { name: args.name.as_str(), peer: &args.peer, old: "" };
    let begun = client.repair_controller(args.common.request(&client, &who)).await?;
    args.common.follow(app, &client, begun).await
}
