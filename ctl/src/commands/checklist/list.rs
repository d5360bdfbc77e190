//! `trictl checklist list`: what there is, and how it stands.

use trireme_proto::view::List;

use super::super::get::request;
use super::super::look::{Look, look};
use crate::App;
use crate::client::Reply;
use crate::error::{Failure, Outcome};
use crate::output::checklist;

/// List checklists, when each opens, and how it stands
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    look: Look,
}

/// Lists checklists.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let request = request("checklist", String::new(), args.look.consistency);
    let client = app.client()?;
    look(app, args.look.again, async || {
        let reply: Reply<List<_>> = client.get(request.clone()).await?;
        app.out.reply(&reply, |list| checklist::lists(&list.items))
    })
    .await
}
