//! Help about what a manifest may say, from the doc comments of the model itself.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::schema::{self, Shape};
use super::shape::{child, expected};
use super::suggest::{listed, nearest};

/// What a kind or field means and takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Path as it is known, such as `Service.checks.http`; empty for the list of kinds.
    pub path: String,
    /// What it takes.
    #[serde(rename = "type")]
    pub takes: String,
    /// What it means.
    pub doc: String,
    /// What stands below it, in alphabetical order, required ones first.
    pub fields: Vec<ExplainedField>,
}

/// One field, word or kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedField {
    /// Name as it is written.
    pub name: String,
    /// What it takes; empty for words and kinds.
    #[serde(rename = "type")]
    pub takes: String,
    /// Whether it must be there.
    pub required: bool,
    /// What holds when it is left out, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// What it means.
    pub doc: String,
}

/// Tells that there is nothing of that name to explain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no `{name}` in {within}")]
pub struct ExplainError {
    name: String,
    within: String,
    /// What to ask instead.
    pub help: String,
}

/// Explains a path such as `service.checks.http`; the empty path lists the kinds.
///
/// Kinds are found whatever their case; lists and maps are looked through.
pub fn explain(path: &str) -> Result<Explained, ExplainError> {
    let kinds = schema::kinds();
    let mut names = path.split('.').filter(|name| !name.is_empty());
    let Some(first) = names.next() else {
        return Ok(list_kinds(&kinds));
    };
    let Some((kind, schema)) = kinds.iter().find(|(kind, _)| kind.eq_ignore_ascii_case(first))
    else {
        let known = kinds.iter().map(|(kind, _)| *kind);
        return Err(unknown(first, "manifests", known, ""));
    };
    let (mut place, mut schema, mut doc) = ((*kind).to_owned(), *schema, schema::doc(schema));
    for name in names {
        let Some(Shape::Fields(fields)) = entry(schema) else {
            return Err(unknown(name, &place, [], &place));
        };
        let name = name.split('[').next().unwrap_or(name);
        schema = fields.get(name).ok_or_else(|| unknown(name, &place, fields.names(), &place))?;
        place = child(&place, name);
        doc = schema::doc(schema);
    }
    let takes = takes(schema);
    Ok(Explained { path: place, takes, doc: flow(doc), fields: below(schema) })
}

fn list_kinds(kinds: &[(&'static str, &'static Value)]) -> Explained {
    let field = |(kind, schema): &(&str, &'static Value)| ExplainedField {
        name: (*kind).to_owned(),
        takes: String::new(),
        required: false,
        default: None,
        doc: flow(schema::doc(schema)),
    };
    Explained {
        path: String::new(),
        takes: "one of these kinds per document".into(),
        doc: flow(schema::doc(schema::schema())),
        fields: kinds.iter().map(field).collect(),
    }
}

fn unknown<'k>(
    name: &str,
    within: &str,
    known: impl IntoIterator<Item = &'k str>,
    path: &str,
) -> ExplainError {
    let known: Vec<_> = known.into_iter().collect();
    let help = match nearest(name, known.iter().copied()) {
        Some(guess) => format!("did you mean `{}`?", child(path, guess)),
        None if known.is_empty() => format!("`{within}` has no fields"),
        None => format!("there are {}", listed(known)),
    };
    ExplainError { name: name.to_owned(), within: within.to_owned(), help }
}

/// Returns the shape of what stands in a list or map, or of the thing itself.
fn entry(schema: &'static Value) -> Option<Shape> {
    match schema::shape(schema)? {
        Shape::List(inner) | Shape::Map(inner) => entry(inner),
        shape => Some(shape),
    }
}

fn takes(schema: &'static Value) -> String {
    match schema::shape(schema) {
        Some(Shape::List(inner)) => match takes(inner) {
            inner if inner.starts_with("fields") => format!("a list of {inner}"),
            inner => format!("a list, each {inner}"),
        },
        Some(Shape::Fields(fields)) if fields.one_of.is_empty() => "fields".into(),
        Some(Shape::Fields(fields)) => {
            format!("fields, exactly one of {}", listed(fields.one_of.iter().copied()))
        }
        Some(shape) => expected(&shape),
        None => String::new(),
    }
}

fn below(schema: &'static Value) -> Vec<ExplainedField> {
    let mut fields: Vec<_> = match entry(schema) {
        Some(Shape::Fields(fields)) => fields
            .properties
            .iter()
            .map(|(name, schema)| ExplainedField {
                name: (*name).to_owned(),
                takes: takes(schema),
                required: fields.required.contains(name),
                default: schema.get("default").filter(|value| !value.is_object()).cloned(),
                doc: flow(schema::doc(schema)),
            })
            .collect(),
        Some(Shape::Choice(words)) => words
            .into_iter()
            .map(|(word, doc)| ExplainedField {
                name: word.to_owned(),
                takes: String::new(),
                required: false,
                default: None,
                doc: flow(doc),
            })
            .collect(),
        _ => Vec::new(),
    };
    fields.sort_by(|a, b| (!a.required, &a.name).cmp(&(!b.required, &b.name)));
    fields
}

/// Returns a doc comment as one line.
fn flow(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            writeln!(f, "{}: {}", self.path, self.takes)?;
        }
        writeln!(f, "{}", self.doc)?;
        let width = self.fields.iter().map(|field| field.name.len()).max().unwrap_or(0);
        for (index, field) in self.fields.iter().enumerate() {
            if index == 0 {
                writeln!(f)?;
            }
            let ExplainedField { name, takes, required, default, doc } = field;
            write!(f, "  {name:width$}  {doc}")?;
            let default = default.as_ref().map(|value| match value {
                Value::String(text) => format!("default {text}"),
                other => format!("default {other}"),
            });
            let required = required.then(|| "required".to_owned());
            let takes = (!takes.is_empty()).then(|| takes.clone());
            let notes: Vec<_> = [takes, required, default].into_iter().flatten().collect();
            if !notes.is_empty() {
                write!(f, " ({})", notes.join("; "))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
