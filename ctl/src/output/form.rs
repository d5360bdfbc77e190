//! The form of what is printed: text for people, documents for programs, names for `xargs`.

use std::ffi::{OsStr, OsString};

use clap::ValueEnum;
use serde_json::Value;

/// Form of what is printed on stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Text that fits the terminal
    #[default]
    Table,
    /// Text with more columns, of which none is cut
    Wide,
    /// One JSON document, or one a line while watching
    Json,
    /// The same as YAML, documents set apart by --- while watching
    Yaml,
    /// Names alone, one a line
    Name,
}

impl Form {
    /// Returns whether people read it.
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }

    /// Returns whether it is a document, with problems and notes as JSON on stderr.
    pub const fn is_document(self) -> bool {
        matches!(self, Self::Json | Self::Yaml)
    }

    /// Returns the form that a command line asks for, also where the rest cannot be parsed.
    pub fn asked(args: &[OsString]) -> Self {
        let mut words = args.iter().take_while(|arg| *arg != OsStr::new("--"));
        let mut found = Self::default();
        while let Some(word) = words.next() {
            let Some(word) = word.to_str() else { continue };
            let value = match word {
                "--json" => return Self::Json,
                "-o" | "--output" => words.next().and_then(|value| value.to_str()),
                _ => word.strip_prefix("--output=").or_else(|| {
                    let short = word.strip_prefix("-o")?;
                    Some(short.strip_prefix('=').unwrap_or(short))
                }),
            };
            let form = value.and_then(|value| Self::from_str(value, false).ok());
            found = form.unwrap_or(found);
        }
        found
    }
}

/// Returns the names in a document, as the other commands take them.
///
/// A list has those of its items, a set of changes those of what was changed; a document about
/// one object has its own. There may be none: a version has no name.
pub fn names(document: &Value) -> Vec<String> {
    if let Some(name) = name(document) {
        return vec![name];
    }
    if let Some(object) = document.get("object").filter(|object| object.is_object()) {
        return name(object).into_iter().collect();
    }
    match (document.get("items"), document.get("objects")) {
        (Some(Value::Array(items)), _) => items.iter().filter_map(name).collect(),
        // Objects of several kinds are told apart by kind.
        (None, Some(Value::Array(objects))) => {
            let full = |one: &Value| Some(format!("{}/{}", one["kind"].as_str()?, name(one)?));
            objects.iter().filter_map(full).map(|full| lower_kind(&full)).collect()
        }
        (None, Some(Value::Object(changes))) => changes.keys().map(|key| lower_kind(key)).collect(),
        _ => Vec::new(),
    }
}

/// Returns `Kind/name` with the kind as commands write it.
fn lower_kind(text: &str) -> String {
    match text.split_once('/') {
        Some((kind, name)) => format!("{}/{name}", kind.to_lowercase()),
        None => text.to_owned(),
    }
}

/// Returns what one object is called.
fn name(object: &Value) -> Option<String> {
    if let Value::String(path) = object {
        return Some(path.clone());
    }
    let text = |field: &str| object.get(field).and_then(Value::as_str).map(str::to_owned);
    if let (Some(service), Some(version)) = (text("service"), text("version")) {
        return Some(format!("{service}@{version}"));
    }
    let called = ["name", "id", "place", "plan", "target"].into_iter().find_map(text);
    // A note and an explanation are of an object; an entry of the audit has a number.
    let called = called.or_else(|| text("object"));
    called.or_else(|| object.get("seq").filter(|seq| seq.is_u64()).map(Value::to_string))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(text: &str) -> Form {
        Form::asked(&text.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_form_is_known_where_the_rest_cannot_be_parsed() {
        assert_eq!(asked("trictl nonsense"), Form::Table);
        assert_eq!(asked("trictl --json nonsense"), Form::Json);
        for line in ["-o yaml", "-oyaml", "-o=yaml", "--output yaml", "--output=yaml"] {
            assert_eq!(asked(&format!("trictl {line} nonsense")), Form::Yaml, "{line}");
        }
        assert_eq!(asked("trictl get -o nonsense"), Form::Table);
        assert_eq!(asked("trictl note x -- --json"), Form::Table);
    }

    #[test]
    fn names_are_what_the_other_commands_take() {
        let list = |item: Value| names(&json!({ "items": [item] }));
        assert_eq!(list(json!({"name": "aws-1", "id": "x"})), ["aws-1"]);
        assert_eq!(list(json!({"service": "web", "version": "1.0.0"})), ["web@1.0.0"]);
        assert_eq!(list(json!({"id": "upgrade-7", "service": "web", "plan": "p"})), ["upgrade-7"]);
        assert_eq!(list(json!({"place": "node/aws-1", "state": "drained"})), ["node/aws-1"]);
        assert_eq!(list(json!({"object": "service/web", "text": "x"})), ["service/web"]);
        assert_eq!(list(json!({"seq": 3, "actor": "ann"})), ["3"]);
        assert_eq!(names(&json!({"items": []})), [""; 0]);
        assert_eq!(names(&json!({"version": "0.3.0", "protocol": "fleet.v1"})), [""; 0]);
    }

    #[test]
    fn objects_of_several_kinds_are_told_apart() {
        let all = json!({"revision": 4, "objects": [
            {"kind": "Region", "name": "aws"},
            {"kind": "Release", "service": "web", "version": "1.0.0"},
        ]});
        assert_eq!(names(&all), ["region/aws", "release/web@1.0.0"]);
        let applied = json!({"revision": 5, "objects": {"Service/web": "changed"}});
        assert_eq!(names(&applied), ["service/web"]);
        let one = json!({"kind": "node", "object": {"name": "aws-1"}, "why": null});
        assert_eq!(names(&one), ["aws-1"]);
    }
}
