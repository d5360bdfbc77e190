//! `trictl controller add`: one more controller.

use trireme_proto::id::ControllerId;

use super::regroup::{Common, Who};
use crate::App;
use crate::error::{Failure, Outcome};

/// Take one more controller into the group
///
/// It has to run already, with an empty data directory, a raft_id that no controller ever had, and
/// a certificate that the root has signed (`trictl ca sign-controller`). It copies everything
/// first and votes then; agents and contexts learn of it by themselves.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the new controller
    name: ControllerId,

    /// Where other controllers reach it: `listen.peer` of its configuration
    #[arg(long, value_name = "HOST:PORT")]
    peer: String,

    #[command(flatten)]
    common: Common,
}

/// Adds a controller.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let who = Who { name: args.name.as_str(), peer: &args.peer, old: "" };
    let begun = client.add_controller(args.common.request(&client, &who)).await?;
    args.common.follow(app, &client, begun).await
}
