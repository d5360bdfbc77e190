//! `trictl alert list`: what goes on.

use trireme_proto::view::List;
use trireme_proto::view::alert::IncidentView;

use super::super::get::request;
use super::super::look::{Look, look};
use crate::App;
use crate::client::Reply;
use crate::error::{Failure, Outcome};
use crate::output::alert;

/// List alerts that go on, the worst first
///
/// What is suppressed is not told to any channel: its cause is told already, or a silence covers
/// it. `trictl why incident-N` explains one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// List those that are over, too
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    look: Look,
}

/// Lists alerts.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let request = request("alert", String::new(), args.look.consistency);
    let client = app.client()?;
    let print = async || {
        let mut reply: Reply<List<IncidentView>> = client.get(request.clone()).await?;
        if !args.all {
            reply.value.items.retain(|one| one.state != "resolved");
            if let Some(items) = reply.json["items"].as_array_mut() {
                items.retain(|one| one["state"] != "resolved");
            }
        }
        app.out.reply(&reply, |list| alert::incidents(&list.items))
    };
    look(app, args.look.again, print).await
}
