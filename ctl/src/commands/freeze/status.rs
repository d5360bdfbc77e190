//! `trictl freeze status`: whether the fleet is frozen, by whom and why.

use trireme_proto::view::FreezeView;

use super::super::get::request;
use super::super::look::{Look, look};
use crate::App;
use crate::client::Reply;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// Tell whether the fleet is frozen, by whom and why
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    look: Look,
}

/// Tells whether the fleet is frozen.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let request = request("freeze", String::new(), args.look.consistency);
    let client = app.client()?;
    let print = async || {
        let reply: Reply<FreezeView> = client.get(request.clone()).await?;
        app.out.reply(&reply, table::freeze)
    };
    look(app, args.look.again, print).await
}
