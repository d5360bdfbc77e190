//! `trictl controller status`: the controllers and who leads.

use trireme_proto::wire::ControllersRequest;

use super::super::look::{Look, look};
use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// Show the controllers and who leads
///
/// With `--consistency stale` any controller answers, also when there is no leader.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    look: Look,
}

/// Shows the controllers.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let request = ControllersRequest { consistency: args.look.consistency.into() };
    let client = app.client()?;
    let print = async || app.out.reply(&client.controllers(request).await?, table::controllers);
    look(app, args.look.again, print).await
}
