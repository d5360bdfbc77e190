//! Reads one document against the schema of its kind: fields, types, and texts with a grammar.
//!
//! Nothing is guessed and nothing is skipped in silence: an unknown field, a null and a text where
//! a number belongs are all refused, each with what to write instead. Reading goes on after a
//! flaw, so that one run finds them all.

use std::collections::BTreeSet;

use serde_json::Value;

use super::error::FINDINGS_KEPT_MAX;
use super::schema::{self, Fields, Shape};
use super::suggest::{listed, nearest};
use super::tree::{Content, Field, Flaw, Mark, Node};
use crate::placeholders;

/// Fields of features that this version does not have, by the type they would stand in.
///
/// Ignoring them would promise a protection that is not there, and calling them unknown would
/// send people looking for a slip of the pen.
const LATER: [(&str, &str); 10] = [
    ("Service", "backups"),
    ("Traffic", "etcd"),
    ("Traffic", "haproxy"),
    ("UpgradePolicy", "canary"),
    ("UpgradePolicy", "failures"),
    ("UpgradePolicy", "before"),
    ("UpgradePolicy", "window"),
    ("Bake", "canary"),
    ("Bake", "wave"),
    ("Bake", "fleet"),
];

/// Longest piece of a wrong value that a message repeats, in characters.
const QUOTED_LEN_MAX: usize = 60;

/// Reads the document `root`; the value lacks what `flaws` tells of.
pub(super) fn read(root: &Node, flaws: &mut Vec<Flaw>) -> Option<Value> {
    let Content::Map(fields) = &root.content else {
        let message = format!("a document is a map of fields, not {}", found(root));
        flaws.push(flaw(root.mark, "", message, kinds_help()));
        return None;
    };
    let Some(kind) = fields.iter().find(|field| field.key == "kind") else {
        flaws.push(flaw(root.mark, "kind", "`kind` is missing".into(), kinds_help()));
        return None;
    };
    let Content::Scalar { text: name, .. } = &kind.value.content else {
        let message = format!("`kind` must be a text, not {}", found(&kind.value));
        flaws.push(flaw(kind.value.mark, "kind", message, kinds_help()));
        return None;
    };
    let kinds = schema::kinds();
    let Some((_, schema)) = kinds.iter().find(|(known, _)| known == name) else {
        let message = format!("there is no kind {}", quoted(name));
        let help = nearest(name, kinds.iter().map(|(known, _)| *known))
            .map_or_else(kinds_help, |known| format!("did you mean `{known}`?"));
        flaws.push(flaw(kind.value.mark, "kind", message, help));
        return None;
    };
    Some(Reader { flaws }.value(root, schema, ""))
}

/// Returns the path of a field within `path`.
pub(super) fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Returns what a field takes, as help says it.
pub(super) fn expected(shape: &Shape) -> String {
    match shape {
        Shape::Text(None) => "a text".into(),
        Shape::Text(Some(kind)) => match kind.name {
            "Span" => "a span of time, such as 500ms, 2s or 1m30s".into(),
            "Image" => "an image by its digest, such as registry.example/web@sha256:…".into(),
            "Digest" => "a SHA-256 digest of 64 hexadecimal digits".into(),
            "Version" => "an exact version, such as 1.4.2".into(),
            "Date" => "a day, such as 2027-06-30".into(),
            "ClockTime" => "a time of day, such as 09:00".into(),
            "Zone" => "a time zone, such as Asia/Shanghai or UTC".into(),
            "Decimal" => "a number, such as 100 or 79.5".into(),
            _ => "a name of a-z, 0-9 and -".into(),
        },
        Shape::Number { min, max } if *max >= u64::from(u32::MAX) => {
            format!("a whole number, {min} or more")
        }
        Shape::Number { min, max } => format!("a whole number from {min} to {max}"),
        Shape::Flag => "true or false".into(),
        Shape::Choice(words) => match words.as_slice() {
            [(word, _)] => format!("`{word}`"),
            words => format!("one of {}", listed(words.iter().map(|(word, _)| *word))),
        },
        Shape::List(_) => "a list".into(),
        Shape::Map(_) => "a map of names to texts".into(),
        Shape::Fields(fields) => format!("a map with the fields {}", listed(fields.names())),
    }
}

/// Returns how to write a value, where a wrong one stands.
fn example(shape: &Shape) -> String {
    match shape {
        Shape::Number { min, .. } => format!("write a number, such as {}", min.max(&1)),
        Shape::Map(_) => "write `NAME: TEXT` for each".into(),
        Shape::Fields(fields) => {
            let first = fields.required.first().or(fields.one_of.first()).copied();
            let first = first.or_else(|| fields.names().next()).unwrap_or_default();
            format!("write its fields below it, such as `{first}: …`")
        }
        shape => format!("write {}", expected(shape)),
    }
}

/// Splits what a parser says into what is wrong and what to write.
fn advice(why: &str, shape: &Shape) -> (String, String) {
    match why.rsplit_once(": ").filter(|(_, help)| !help.contains('`')) {
        Some((why, help)) => (why.to_owned(), help.to_owned()),
        None => (why.to_owned(), format!("write {}", expected(shape))),
    }
}

struct Reader<'f> {
    flaws: &'f mut Vec<Flaw>,
}

impl Reader<'_> {
    fn value(&mut self, node: &Node, schema: &'static Value, path: &str) -> Value {
        let Some(shape) = schema::shape(schema) else {
            let message = format!("`{path}` cannot be read by this version");
            return self.refuse(node.mark, path, message, "leave it out".into());
        };
        if node.is_null() {
            let message = format!("`{path}` has no value");
            let help = format!("write {}, or leave the field out", expected(&shape));
            return self.refuse(node.mark, path, message, help);
        }
        match (&shape, &node.content) {
            (Shape::Fields(fields), Content::Map(written)) => {
                self.fields(node.mark, fields, written, path)
            }
            (Shape::List(inner), Content::List(items)) => {
                let read = |(index, item)| self.value(item, inner, &format!("{path}[{index}]"));
                Value::Array(items.iter().enumerate().map(read).collect())
            }
            (Shape::Map(inner), Content::Map(written)) => Value::Object(
                written
                    .iter()
                    .map(|field| {
                        let path = child(path, &field.key);
                        (field.key.clone(), self.value(&field.value, inner, &path))
                    })
                    .collect(),
            ),
            (_, Content::Scalar { text, plain }) => {
                self.scalar(node.mark, &shape, text, *plain, path)
            }
            _ => self.mismatch(node, &shape, path),
        }
    }

    fn scalar(&mut self, mark: Mark, shape: &Shape, text: &str, plain: bool, path: &str) -> Value {
        match shape {
            Shape::Text(None) => return Value::from(text),
            Shape::Text(Some(kind)) => match (kind.check)(text) {
                Ok(()) => return Value::from(text),
                Err(why) => {
                    let (why, help) = advice(&why, shape);
                    return self.refuse(mark, path, why, help);
                }
            },
            Shape::Choice(words) if words.iter().any(|(word, _)| *word == text) => {
                return Value::from(text);
            }
            Shape::Choice(words) => {
                let message = format!("`{path}` cannot be {}", quoted(text));
                let help = match nearest(text, words.iter().map(|(word, _)| *word)) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => format!("write {}", expected(shape)),
                };
                return self.refuse(mark, path, message, help);
            }
            Shape::Flag if plain && matches!(text, "true" | "false") => {
                return Value::from(text == "true");
            }
            Shape::Number { min, max } if plain => {
                if let Some(number) = text.parse::<u64>().ok().filter(|n| (*min..=*max).contains(n))
                {
                    return Value::from(number);
                }
            }
            Shape::Number { .. }
            | Shape::Flag
            | Shape::List(_)
            | Shape::Map(_)
            | Shape::Fields(_) => {}
        }
        let written =
            if plain { quoted(text) } else { format!("the quoted text {}", quoted(text)) };
        let message = format!("`{path}` must be {}, not {written}", expected(shape));
        let help = match shape {
            Shape::List(_) => format!("write [{text}], or one line `- {text}` for each"),
            Shape::Number { .. } | Shape::Flag if !plain => "leave the quotes out".into(),
            _ => example(shape),
        };
        self.refuse(mark, path, message, help)
    }

    fn mismatch(&mut self, node: &Node, shape: &Shape, path: &str) -> Value {
        let message = format!("`{path}` must be {}, not {}", expected(shape), found(node));
        let help = match (shape, &node.content) {
            // `[{artifact}, --verbose]` is a map to YAML, and people write it all the time.
            (Shape::Text(_), Content::Map(fields)) if is_placeholder(fields) => {
                format!("put it in quotes: \"{{{}}}…\"", fields[0].key)
            }
            (Shape::Fields(_) | Shape::Map(_), Content::List(_)) => {
                "leave out the `-` in front of the fields".into()
            }
            (Shape::List(_), Content::Map(_)) => "put a `-` in front of each item".into(),
            _ => example(shape),
        };
        self.refuse(node.mark, path, message, help)
    }

    fn fields(&mut self, mark: Mark, known: &Fields, written: &[Field], path: &str) -> Value {
        let mut read = serde_json::Map::new();
        let mut meant = BTreeSet::new();
        for field in written {
            let place = child(path, &field.key);
            match known.get(&field.key) {
                // The kind was looked up to get here.
                Some(_) if path.is_empty() && field.key == "kind" => {
                    read.insert("kind".into(), known.title.into());
                }
                Some(schema) => {
                    let value = self.value(&field.value, schema, &place);
                    read.insert(field.key.clone(), value);
                }
                None => meant.extend(self.unknown(field, known, &place)),
            }
        }
        let has = |name: &str| written.iter().any(|field| field.key == name);
        let thing = thing(known);
        for name in &known.required {
            if !has(name) && !meant.contains(name) {
                let help =
                    known.get(name).map_or_else(String::new, |schema| missing_help(name, schema));
                self.refuse(mark, &child(path, name), format!("{thing} needs `{name}`"), help);
            }
        }
        self.one_of(mark, known, written, path, !meant.is_empty());
        Value::Object(read)
    }

    /// Refuses a field that is not known; returns the field it was probably meant to be, or itself.
    fn unknown(&mut self, field: &Field, known: &Fields, path: &str) -> Option<&'static str> {
        let name = field.key.as_str();
        if let Some((_, later)) = LATER.iter().find(|(t, f)| *t == known.title && *f == name) {
            let message =
                format!("{} field `{name}` is not supported by this version", thing(known));
            let help = format!("leave it out; supported are {}", listed(known.names()));
            self.refuse(field.mark, path, message, help);
            return Some(later);
        }
        let message = format!("{} has no field {}", thing(known), quoted(name));
        let missing: Vec<_> = known.names().collect();
        let guess = nearest(name, missing.iter().copied());
        let help = match guess {
            Some(guess) => format!("did you mean `{guess}`?"),
            None => format!("its fields are {}", listed(missing.iter().copied())),
        };
        self.refuse(field.mark, path, message, help);
        guess
    }

    fn one_of(&mut self, mark: Mark, known: &Fields, written: &[Field], path: &str, meant: bool) {
        let chosen: Vec<_> =
            written.iter().filter(|field| known.one_of.contains(&field.key.as_str())).collect();
        let all = listed(known.one_of.iter().copied());
        match chosen.as_slice() {
            [] if known.one_of.is_empty() || meant => {}
            [] if known.one_of.len() == 1 => {
                let message = format!("{} needs {all}", thing(known));
                self.refuse(mark, path, message, format!("write `{}: {{}}`", known.one_of[0]));
            }
            [] => {
                let message = format!("{} needs one of {all}", thing(known));
                self.refuse(mark, path, message, "write exactly one of them".into());
            }
            [_] => {}
            [first, others @ ..] => {
                for other in others {
                    let message =
                        format!("{} has both `{}` and `{}`", thing(known), first.key, other.key);
                    let help = format!("keep exactly one of {all}");
                    self.refuse(other.mark, &child(path, &other.key), message, help);
                }
            }
        }
    }

    fn refuse(&mut self, mark: Mark, path: &str, message: String, help: String) -> Value {
        if self.flaws.len() < FINDINGS_KEPT_MAX {
            self.flaws.push(flaw(mark, path, message, help));
        }
        Value::Null
    }
}

fn flaw(mark: Mark, path: &str, message: String, help: String) -> Flaw {
    Flaw { mark, path: path.to_owned(), message, help }
}

fn kinds_help() -> String {
    format!("kinds are {}", listed(schema::kinds().iter().map(|(name, _)| *name)))
}

/// Returns a type's name as a sentence begins with it: `upgrade policy`.
fn thing(fields: &Fields) -> String {
    let mut words = String::new();
    for (index, letter) in fields.title.char_indices() {
        if letter.is_uppercase() && index > 0 {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

fn missing_help(name: &str, schema: &'static Value) -> String {
    let doc = schema::doc(schema).replace('\n', " ");
    match schema::shape(schema) {
        Some(shape) => format!("add `{name}`, {}: {doc}", expected(&shape)),
        None => format!("add `{name}`: {doc}"),
    }
}

fn is_placeholder(fields: &[Field]) -> bool {
    matches!(fields, [only] if only.value.is_null()
        && placeholders::NAMES.contains(&only.key.as_str()))
}

fn found(node: &Node) -> String {
    match &node.content {
        Content::Scalar { text, .. } => format!("the text {}", quoted(text)),
        Content::List(_) => "a list".into(),
        Content::Map(_) => "a map".into(),
    }
}

/// Returns a value as messages repeat it: short, in backquotes.
fn quoted(text: &str) -> String {
    let mut letters = text.chars();
    let start: String = letters.by_ref().take(QUOTED_LEN_MAX).collect();
    let dots = if letters.next().is_some() { "…" } else { "" };
    format!("`{start}{dots}`")
}
