//! `trictl describe`: one object at length, and what it waits for.

use serde_json::Value;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::{List, NodeView, ServiceView, UpgradeView, WhyView};
use trireme_proto::wire::WhyRequest;

use super::get::{Consistency, Kind, request};
use super::look::{Again, look};
use crate::App;
use crate::client::{Client, Reply};
use crate::error::{Failure, Outcome, failed};
use crate::output::{Page, describe, upgrade};

/// Show one object at length, and what it waits for
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kind of the object
    #[arg(value_enum)]
    kind: Kind,

    /// Name of the object; SERVICE@VERSION for a release
    name: String,

    #[command(flatten)]
    again: Again,
}

/// Describes one object.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    look(app, args.again, async || print(app, &client, &args).await).await
}

async fn print(app: &App, client: &Client, args: &Args) -> Result<(), Failure> {
    let kind = args.kind.word();
    let request = request(kind, args.name.clone(), Consistency::Lease);
    let reply: Reply<List<Value>> = client.get(request).await?;
    let Some(object) = reply.value.items.first().cloned() else {
        let message = format!("no {kind} `{}`", args.name);
        let hint = app.command(&["get", kind]);
        return Err(Problem::new(Code::NotFound, message).hint(hint).into());
    };
    // Releases, regions, rules and the like wait for nothing that could be asked for.
    let why = match args.kind {
        Kind::Service | Kind::Node | Kind::Upgrade | Kind::Grant => {
            Some(client.why(WhyRequest { object: format!("{kind}/{}", args.name) }).await?)
        }
        Kind::Alert => Some(client.why(WhyRequest { object: args.name.clone() }).await?),
        Kind::Region
        | Kind::Release
        | Kind::Drain
        | Kind::Override
        | Kind::Token
        | Kind::Note
        | Kind::Alertrule
        | Kind::Channel
        | Kind::Silence
        | Kind::Notice
        | Kind::Checklist => None,
    };
    let whole = serde_json::json!({
        "kind": kind, "object": object, "why": why.as_ref().map(|why| &why.json),
    });
    let text = render(app, args.kind, object, why.as_ref().map(|why| &why.value))?;
    app.out.value(&whole, |_| text)
}

fn render(app: &App, kind: Kind, object: Value, why: Option<&WhyView>) -> Result<Page, Failure> {
    let style = app.out.style();
    let text = match kind {
        Kind::Service => describe::service(&read::<ServiceView>(object)?),
        Kind::Node => describe::node(&read::<NodeView>(object)?),
        Kind::Upgrade => upgrade::status(&read::<UpgradeView>(object)?, style),
        Kind::Region
        | Kind::Release
        | Kind::Grant
        | Kind::Drain
        | Kind::Override
        | Kind::Token
        | Kind::Note
        | Kind::Alertrule
        | Kind::Channel
        | Kind::Alert
        | Kind::Silence
        | Kind::Notice
        | Kind::Checklist => describe::fields(&object).into(),
    };
    Ok(match why {
        Some(why) => text.gap().line(describe::why(why, style)),
        None => text,
    })
}

fn read<T: serde::de::DeserializeOwned>(object: Value) -> Result<T, Failure> {
    let read = serde_json::from_value(object);
    Ok(read.map_err(|error| failed("the controller's document has another shape", &error))?)
}
