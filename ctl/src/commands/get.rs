//! `trictl get`: lists of objects.

use clap::ValueEnum;
use serde::de::DeserializeOwned;
use trireme_proto::view::{List, Manifests};
use trireme_proto::wire;

use super::look::{Look, look};
use crate::App;
use crate::client::{Client, Reply};
use crate::error::{Failure, Outcome};
use crate::output::table::Table;
use crate::output::{alert, checklist, table};

/// List objects
///
/// Without a kind it lists everything that was declared. With `--json` a list is always
/// {"items": [...]}, however many there are.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kind of objects
    #[arg(value_enum)]
    kind: Option<Kind>,

    /// Name of one object; SERVICE@VERSION for a release
    name: Option<String>,

    #[command(flatten)]
    look: Look,
}

/// Kind of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Places whose nodes fail together
    #[value(alias = "regions")]
    Region,
    /// What the fleet runs
    #[value(alias = "services")]
    Service,
    /// Versions of services
    #[value(alias = "releases")]
    Release,
    /// Hosts with an agent
    #[value(alias = "nodes")]
    Node,
    /// Upgrades, running and ended
    #[value(alias = "upgrades")]
    Upgrade,
    /// What takes capacity away
    #[value(alias = "grants")]
    Grant,
    /// Places that clients are kept away from
    #[value(alias = "drains")]
    Drain,
    /// Exceptions to rules of the ledger
    #[value(alias = "overrides")]
    Override,
    /// Tokens that let nodes in
    #[value(alias = "tokens")]
    Token,
    /// What operators left on objects
    #[value(alias = "notes")]
    Note,
    /// What somebody is told of
    #[value(alias = "alertrules")]
    Alertrule,
    /// Where alerts go
    #[value(alias = "channels")]
    Channel,
    /// What rules have found, going on and over
    #[value(alias = "alerts")]
    Alert,
    /// What keeps alerts from being told
    #[value(alias = "silences")]
    Silence,
    /// Messages, and what became of each
    #[value(alias = "notices")]
    Notice,
    /// What is looked at again and again
    #[value(alias = "checklists")]
    Checklist,
}

impl Kind {
    /// Returns the kind as requests name it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Service => "service",
            Self::Release => "release",
            Self::Node => "node",
            Self::Upgrade => "upgrade",
            Self::Grant => "grant",
            Self::Drain => "drain",
            Self::Override => "override",
            Self::Token => "token",
            Self::Note => "note",
            Self::Alertrule => "alertrule",
            Self::Channel => "channel",
            Self::Alert => "alert",
            Self::Silence => "silence",
            Self::Notice => "notice",
            Self::Checklist => "checklist",
        }
    }
}

/// How sure an answer must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Consistency {
    /// Whatever the answering controller has, labelled with index and age
    Stale,
    /// Through the leader's lease
    #[default]
    Lease,
    /// Confirmed with a majority of controllers
    Linearizable,
}

impl From<Consistency> for i32 {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::Stale => wire::Consistency::Stale,
            Consistency::Lease => wire::Consistency::Lease,
            Consistency::Linearizable => wire::Consistency::Linearizable,
        }
        .into()
    }
}

/// Lists objects.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let name = args.name.unwrap_or_default();
    let Some(kind) = args.kind else {
        let request = request("", name, args.look.consistency);
        let print = async || {
            let reply: Reply<Manifests> = client.get(request.clone()).await?;
            app.out.reply(&reply, table::manifests)
        };
        return look(app, args.look.again, print).await;
    };
    let request = request(kind.word(), name, args.look.consistency);
    look(app, args.look.again, async || print(app, &client, kind, request.clone()).await).await
}

pub(super) fn request(kind: &str, name: String, consistency: Consistency) -> wire::GetRequest {
    wire::GetRequest { kind: kind.to_owned(), name, consistency: consistency.into() }
}

/// Reads a list of one kind and prints it.
pub(super) async fn print(
    app: &App,
    client: &Client,
    kind: Kind,
    request: wire::GetRequest,
) -> Result<(), Failure> {
    match kind {
        Kind::Region => list(app, client, request, table::regions).await,
        Kind::Service => list(app, client, request, table::services).await,
        Kind::Release => list(app, client, request, table::releases).await,
        Kind::Node => list(app, client, request, table::nodes).await,
        Kind::Upgrade => list(app, client, request, table::upgrades).await,
        Kind::Grant => list(app, client, request, table::grants).await,
        Kind::Drain => list(app, client, request, table::drains).await,
        Kind::Override => list(app, client, request, table::overrides).await,
        Kind::Token => list(app, client, request, table::tokens).await,
        Kind::Note => list(app, client, request, table::notes).await,
        Kind::Alertrule => list(app, client, request, alert::rules).await,
        Kind::Channel => list(app, client, request, alert::channels).await,
        Kind::Alert => list(app, client, request, alert::incidents).await,
        Kind::Silence => list(app, client, request, alert::silences).await,
        Kind::Notice => list(app, client, request, alert::notices).await,
        Kind::Checklist => list(app, client, request, checklist::lists).await,
    }
}

async fn list<T: DeserializeOwned>(
    app: &App,
    client: &Client,
    request: wire::GetRequest,
    render: impl FnOnce(&[T]) -> Table,
) -> Result<(), Failure> {
    let reply: Reply<List<T>> = client.get(request).await?;
    app.out.reply(&reply, |list| render(&list.items))
}
