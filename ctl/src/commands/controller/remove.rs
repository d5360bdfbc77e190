//! `trictl controller remove`: a controller that shall never come back.

use super::super::usage;
use super::regroup::{Common, Who};
use crate::App;
use crate::error::{Failure, Outcome};

/// Send a controller away for ever
///
/// DANGEROUS: its identity is denied for good. Refused unless those who stay are there, up to
/// date, and enough. If it leads, it hands over first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the controller
    name: String,

    /// Name of the controller once more
    #[arg(long, value_name = "CONTROLLER")]
    confirm: String,

    #[command(flatten)]
    common: Common,
}

/// Removes a controller.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    if args.confirm != args.name {
        let message =
            format!("--confirm says `{}`, the controller is `{}`", args.confirm, args.name);
        return Err(usage(message).hint("repeat the controller's name exactly").into());
    }
    let client = app.client()?;
    let who = Who { old: &args.name, ..Who::default() };
    let begun = client.remove_controller(args.common.request(&client, &who)).await?;
    args.common.follow(app, &client, begun).await
}
