//! `trictl diff`: what `apply` would change, field by field.

use std::path::PathBuf;

use serde::Serialize;
use trireme_proto::manifest::{ObjectDiff, SetDiff, diff_set};
use trireme_proto::view::Manifests;
use trireme_proto::wire::{Consistency, GetRequest};

use crate::App;
use crate::error::{Ending, EndingCode, Failure, Outcome};
use crate::manifest;
use crate::output::{Color, Style};

/// Show what `apply` would change
///
/// Exits with 3 if anything differs, 0 if nothing does.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File, directory of *.yaml, or - for stdin; may be repeated
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Differences between files and fleet.
#[derive(Debug, Serialize)]
struct Diff {
    /// Revision that the files were compared with.
    revision: u64,
    #[serde(flatten)]
    set: SetDiff,
}

/// Compares manifests with the fleet's.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let objects = manifest::load(&args.files)?;
    let consistency = Consistency::Linearizable.into();
    let request = GetRequest { consistency, ..GetRequest::default() };
    let current = app.client()?.get::<Manifests>(request).await?.value;
    let set = diff_set(&current.objects, &objects);
    let diff = Diff { revision: current.revision, set };
    app.out.value(&diff, |diff| render(diff, app.out.style()))?;
    if diff.set.is_empty() {
        return Ok(Outcome::Done);
    }
    let base = diff.revision.to_string();
    let files: Vec<_> = args.files.iter().map(|file| file.display().to_string()).collect();
    let mut words = vec!["apply"];
    words.extend(files.iter().flat_map(|file| ["-f", file.as_str()]));
    words.extend(["--base", &base]);
    let differ = diff.set.added.len() + diff.set.changed.len();
    let message = format!("{differ} of {} objects differ", objects.len());
    Ok(Ending::new(EndingCode::Changes, message).hint(app.command(&words)).into())
}

fn render(diff: &Diff, style: Style) -> String {
    let mut lines = Vec::new();
    let mut all = |sign: &str, color: Color, objects: &[ObjectDiff]| {
        for object in objects {
            let title = format!("{sign} {}/{}", object.kind, object.name);
            lines.push(style.paint(color, &title));
            lines.extend(object.changes.iter().map(|change| format!("    {change}")));
        }
    };
    all("+", Color::Good, &diff.set.added);
    all("~", Color::Busy, &diff.set.changed);
    let unchanged = diff.set.unchanged.len();
    lines.push(format!("{unchanged} unchanged, compared with revision {}", diff.revision));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trireme_proto::model::Object;

    use super::*;

    fn object(value: serde_json::Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn names_the_fields_that_differ_and_nothing_else() {
        let service = |at_least: u32| {
            object(json!({
                "kind": "Service", "name": "web", "nodes": {"labels": {"role": "web"}},
                "driver": {"process": {}}, "serving": {"at_least": at_least},
            }))
        };
        let region = |name: &str| object(json!({"kind": "Region", "name": name}));
        let set =
            diff_set(&[region("aws"), service(2)], &[region("aws"), service(1), region("gcp")]);
        let diff = Diff { revision: 4, set };
        insta::assert_snapshot!(render(&diff, Style::PLAIN), @r"
        + Region/gcp
            + name: gcp
        ~ Service/web
            ~ serving.at_least: 2 -> 1
        1 unchanged, compared with revision 4
        ");
        let json = serde_json::to_value(&diff).unwrap();
        assert_eq!(json["revision"], 4);
        assert_eq!(json["changed"][0]["changes"][0]["path"], "serving.at_least");
    }
}
