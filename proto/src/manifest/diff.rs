//! What applying a manifest would change, field by field.
//!
//! Compares what objects say, not how they are written. Entries of a list that have names are
//! told apart by name, so that a check put first is one addition rather than a change of all.
//! Applying never removes an object; only fields of one can go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::shape::child;
use crate::model::{Object, Release};

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Field, such as `checks[health].every`.
    pub path: String,
    /// What it was; absent if it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What it becomes; absent if it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// What becomes of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDiff {
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Fields that differ; for an added object all of them.
    pub changes: Vec<Change>,
}

/// What applying a set of objects would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDiff {
    /// Objects that are new.
    pub added: Vec<ObjectDiff>,
    /// Objects that change.
    pub changed: Vec<ObjectDiff>,
    /// Objects that stay as they are, as `Kind name`.
    pub unchanged: Vec<String>,
}

impl SetDiff {
    /// Returns whether applying would change nothing.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty()
    }
}

/// Returns the fields in which two objects differ, in the order of their paths.
pub fn diff(old: &Object, new: &Object) -> Vec<Change> {
    compare(&json(old), &json(new))
}

/// Returns the fields in which two releases differ.
pub(super) fn diff_release(old: &Release, new: &Release) -> Vec<Change> {
    compare(&json(old), &json(new))
}

/// Returns what applying `new` to a fleet that has `old` would do, in the order of `new`.
pub fn diff_set(old: &[Object], new: &[Object]) -> SetDiff {
    let known: BTreeMap<_, _> =
        old.iter().map(|object| ((object.kind(), object.name()), object)).collect();
    let mut set = SetDiff::default();
    for object in new {
        let (kind, name) = (object.kind().to_owned(), object.name());
        match known.get(&(object.kind(), object.name())) {
            None => {
                let changes = compare(&Value::Object(serde_json::Map::new()), &json(object));
                set.added.push(ObjectDiff { kind, name, changes });
            }
            Some(old) => match diff(old, object) {
                changes if changes.is_empty() => set.unchanged.push(format!("{kind} {name}")),
                changes => set.changed.push(ObjectDiff { kind, name, changes }),
            },
        }
    }
    set
}

fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("our values have string keys and no failing parts")
}

fn compare(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    visit("", Some(old), Some(new), &mut changes);
    changes
}

fn visit(path: &str, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    let (before, after) = (parts(path, old), parts(path, new));
    // A field that comes or goes whole is told by its parts too, as far as it has any.
    if old.is_none_or(|_| before.is_some()) && new.is_none_or(|_| after.is_some()) {
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let told = changes.len();
        let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        for path in paths {
            let part = |parts: &BTreeMap<String, &Value>| parts.get(path).copied().cloned();
            visit(path, part(&before).as_ref(), part(&after).as_ref(), changes);
        }
        if changes.len() == told {
            changes.push(change(path, old, new));
        }
    } else {
        changes.push(change(path, old, new));
    }
}

fn change(path: &str, old: Option<&Value>, new: Option<&Value>) -> Change {
    Change { path: path.to_owned(), old: old.cloned(), new: new.cloned() }
}

/// Returns the parts of a map, or of a list whose entries have names; `None` for the rest.
fn parts<'v>(path: &str, value: Option<&'v Value>) -> Option<BTreeMap<String, &'v Value>> {
    match value? {
        Value::Object(fields) => {
            let shown = fields.iter().filter(|(name, _)| !path.is_empty() || *name != "kind");
            Some(shown.map(|(name, value)| (child(path, name), value)).collect())
        }
        Value::Array(items) if !items.is_empty() => {
            let name = |item: &'v Value| Some(format!("{path}[{}]", item.get("name")?.as_str()?));
            let named: Option<BTreeMap<_, _>> =
                items.iter().map(|item| Some((name(item)?, item))).collect();
            named.filter(|named| named.len() == items.len())
        }
        _ => None,
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.old, &self.new) {
            (None, Some(new)) => write!(f, "+ {}: {}", self.path, Plain(new)),
            (Some(old), None) => write!(f, "- {}: {}", self.path, Plain(old)),
            (Some(old), Some(new)) => {
                write!(f, "~ {}: {} -> {}", self.path, Plain(old), Plain(new))
            }
            (None, None) => write!(f, "  {}", self.path),
        }
    }
}

impl fmt::Display for SetDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (sign, objects) in [('+', &self.added), ('~', &self.changed)] {
            for object in objects {
                writeln!(f, "{sign} {} {}", object.kind, object.name)?;
                for change in &object.changes {
                    writeln!(f, "    {change}")?;
                }
            }
        }
        self.unchanged.iter().try_for_each(|name| writeln!(f, "  {name} (unchanged)"))
    }
}

/// A value on one line: plain texts without quotes, all else as JSON.
struct Plain<'v>(&'v Value);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text)
                if !text.is_empty()
                    && text.trim() == text
                    && !text.chars().any(char::is_control) =>
            {
                f.write_str(text)
            }
            other => write!(f, "{other}"),
        }
    }
}
