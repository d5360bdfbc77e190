//! `trictl delete`: takes an alert rule, a channel or a checklist out of the manifests.

use clap::ValueEnum;
use trireme_proto::view::Manifests;
use trireme_proto::wire::{Consistency, DeleteRequest, GetRequest};

use super::apply;
use crate::App;
use crate::error::{Failure, Outcome};

/// Delete an alert rule, a channel or a checklist
///
/// Incidents of a deleted rule are over; a built-in rule that it replaced is there again. A channel
/// that rules name stays until they do not; the runs of a checklist are deleted with it, and stay in
/// the audit. Nothing else can be deleted: plans and the audit refer
/// to it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kind of the object
    #[arg(value_enum)]
    kind: Kind,

    /// Name of the object
    name: String,

    /// Revision that was looked at; refused if the manifests have changed since
    #[arg(long, value_name = "REVISION")]
    base: Option<u64>,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Kinds that can be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// What somebody is told of
    #[value(alias = "alertrules")]
    Alertrule,
    /// Where alerts go
    #[value(alias = "channels")]
    Channel,
    /// What is looked at again and again
    #[value(alias = "checklists")]
    Checklist,
}

/// Deletes an object.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let base_revision = if let Some(revision) = args.base {
        revision
    } else {
        let consistency = Consistency::Linearizable.into();
        let request = GetRequest { consistency, ..GetRequest::default() };
        client.get::<Manifests>(request).await?.value.revision
    };
    let kind = match args.kind {
        Kind::Alertrule => "alertrule",
        Kind::Channel => "channel",
        Kind::Checklist => "checklist",
    };
    let reply = client
        .delete(DeleteRequest {
            origin: Some(client.origin()),
            kind: kind.to_owned(),
            name: args.name,
            base_revision,
            dry_run: args.dry_run,
        })
        .await?;
    app.out.reply(&reply, |applied| apply::render(applied, args.dry_run))?;
    Ok(Outcome::Done)
}
