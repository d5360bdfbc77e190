//! `trictl upgrade status`: where an upgrade stands, node by node.

use serde_json::json;
use trireme_proto::id::UpgradeId;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::UpgradeView;

use super::super::look::{Again, look};
use super::{Target, all};
use crate::App;
use crate::client::Client;
use crate::error::{Failure, Outcome};
use crate::output::{Page, table, upgrade};

/// Show an upgrade, node by node
///
/// Without a name it shows every upgrade that runs, or the newest if none does.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    again: Again,
}

/// Shows upgrades.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    look(app, args.again, async || print(app, &client, &args.target).await).await
}

async fn print(app: &App, client: &Client, target: &Target) -> Result<(), Failure> {
    let reply = all(client).await?;
    let items = &reply.value.items;
    let raw = |view: &&UpgradeView| {
        let position = items.iter().position(|item| item.id == view.id).unwrap_or_default();
        reply.json["items"][position].clone()
    };
    let shown: Vec<&UpgradeView> = match &target.upgrade {
        Some(name) => vec![find(items, name).ok_or_else(|| {
            Problem::new(Code::NotFound, format!("no upgrade `{name}`, nor one of such a service"))
                .hint(app.command(&["get", "upgrade"]))
        })?],
        None => current(items),
    };
    let json = json!({ "items": shown.iter().map(raw).collect::<Vec<_>>() });
    app.out.value(&json, |_| match shown.as_slice() {
        [] => Page::from(table::upgrades(&[])),
        [first, others @ ..] => {
            let page = upgrade::status(first, app.out.style());
            let more = others.iter().map(|view| upgrade::status(view, app.out.style()));
            more.fold(page, |page, more| page.gap().page(more))
        }
    })
}

fn find<'a>(items: &'a [UpgradeView], name: &str) -> Option<&'a UpgradeView> {
    match name.parse::<UpgradeId>() {
        Ok(id) => items.iter().find(|view| view.id == id),
        Err(_) => items.iter().filter(|view| view.service.as_str() == name).max_by_key(|v| v.id),
    }
}

fn current(items: &[UpgradeView]) -> Vec<&UpgradeView> {
    let running: Vec<_> = items.iter().filter(|view| !view.phase.is_final()).collect();
    if running.is_empty() {
        items.iter().max_by_key(|view| view.id).into_iter().collect()
    } else {
        running
    }
}
