//! `trictl controller transfer`: moves the lead, for maintenance of a controller's host.

use trireme_proto::id::ControllerId;
use trireme_proto::wire::TransferLeaderRequest;

use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// Hand the lead to another controller
///
/// Upgrades go on; nothing is interrupted for longer than a few milliseconds.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Controller that shall lead; by default the most caught-up other one
    #[arg(long, value_name = "CONTROLLER")]
    to: Option<ControllerId>,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Transfers the lead.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let reply = client
        .transfer_leader(TransferLeaderRequest {
            origin: Some(client.origin()),
            to: args.to.map(|name| name.to_string()).unwrap_or_default(),
            dry_run: args.dry_run,
        })
        .await?;
    app.out.reply(&reply, table::controllers)?;
    Ok(Outcome::Done)
}
