//! `trictl apply`: declares objects, all of them or none.

use std::path::PathBuf;

use trireme_proto::view::{Applied, Change, Manifests};
use trireme_proto::wire::{ApplyRequest, Consistency, GetRequest};

use crate::App;
use crate::error::{Failure, Outcome, failed};
use crate::manifest;
use crate::output::Page;
use crate::output::table::table;

/// Declare regions, services, releases, alert rules, channels and checklists
///
/// All documents are checked before anything is sent, and all are applied or none. Objects that
/// are not in the files stay as they are. A change that would leave too few regions serving is
/// refused like anything else that takes capacity away.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File, directory of *.yaml, or - for stdin; may be repeated
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Revision that was looked at; refused if the manifests have changed since
    #[arg(long, value_name = "REVISION")]
    base: Option<u64>,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Applies manifests.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let objects = manifest::load(&args.files)?;
    let client = app.client()?;
    let base_revision = if let Some(revision) = args.base {
        revision
    } else {
        let consistency = Consistency::Linearizable.into();
        let request = GetRequest { consistency, ..GetRequest::default() };
        client.get::<Manifests>(request).await?.value.revision
    };
    let objects = serde_json::to_vec(&objects)
        .map_err(|error| failed("cannot encode the manifests", &error))?;
    let reply = client
        .apply(ApplyRequest {
            origin: Some(client.origin()),
            objects: objects.into(),
            base_revision,
            dry_run: args.dry_run,
        })
        .await?;
    app.out.reply(&reply, |applied| render(applied, args.dry_run))?;
    Ok(Outcome::Done)
}

/// Returns what happened to each object.
pub(super) fn render(applied: &Applied, dry_run: bool) -> Page {
    let word = |change: &Change| match change {
        Change::Created => "created",
        Change::Changed => "changed",
        Change::Unchanged => "unchanged",
        Change::Deleted => "deleted",
    };
    let rows = applied.objects.iter().map(|(name, change)| [name.clone(), word(change).to_owned()]);
    let rows = table(["NAME", "CHANGE"], rows.collect(), "the files declare nothing");
    let note = if dry_run { " (dry run, nothing was changed)" } else { "" };
    Page::from(rows).line(format!("revision {}{note}", applied.revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_happened_to_each_object() {
        let objects = [("Release/web@1.1.0", Change::Created), ("Service/web", Change::Unchanged)];
        let objects = objects.map(|(name, change)| (name.to_owned(), change)).into();
        let text = render(&Applied { revision: 7, objects }, true);
        insta::assert_snapshot!(text, @r"
        NAME               CHANGE
        Release/web@1.1.0  created
        Service/web        unchanged
        revision 7 (dry run, nothing was changed)
        ");
    }
}
