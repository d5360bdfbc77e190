//! The JSON schema of all kinds, and the few shapes in it that reading and help need to tell apart.
//!
//! Only what the types of [`crate::model`] derive to is understood; a test walks the whole schema,
//! so a new construct in the model cannot slip through unread.

use std::sync::LazyLock;

use serde_json::Value;

use crate::decimal::Decimal;
use crate::digest::Digest;
use crate::id::{
    ChannelId, ChecklistId, ControllerId, ItemId, NodeId, RegionId, RuleId, ServiceId, Version,
};
use crate::model::{ClockTime, Image, Object, Zone};
use crate::time::{Date, Span};

static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(Object).as_value().clone());

/// Returns the JSON schema of one document of a manifest, for editors and other tools.
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// How a text of a named type is checked; the error says what to write.
type TextCheck = fn(&str) -> Result<(), String>;

/// Types that are written as text with a grammar of their own.
const TEXTS: [(&str, TextCheck); 16] = [
    ("Span", text::<Span>),
    ("Date", text::<Date>),
    ("Decimal", text::<Decimal>),
    ("Digest", text::<Digest>),
    ("Image", text::<Image>),
    ("Version", text::<Version>),
    ("RegionId", text::<RegionId>),
    ("ServiceId", text::<ServiceId>),
    ("NodeId", text::<NodeId>),
    ("ControllerId", text::<ControllerId>),
    ("RuleId", text::<RuleId>),
    ("ChannelId", text::<ChannelId>),
    ("ChecklistId", text::<ChecklistId>),
    ("ItemId", text::<ItemId>),
    ("ClockTime", text::<ClockTime>),
    ("Zone", text::<Zone>),
];

fn text<T: std::str::FromStr<Err: std::fmt::Display>>(value: &str) -> Result<(), String> {
    value.parse::<T>().map(drop).map_err(|error| error.to_string())
}

/// One type as people write it.
#[derive(Debug)]
pub(super) enum Shape {
    /// A text; with a name if it has a grammar of its own.
    Text(Option<TextKind>),
    /// A whole number within bounds.
    Number { min: u64, max: u64 },
    /// `true` or `false`.
    Flag,
    /// One of a few words, each with its help.
    Choice(Vec<(&'static str, &'static str)>),
    /// A list.
    List(&'static Value),
    /// Texts by name.
    Map(&'static Value),
    /// Fields known by name.
    Fields(Fields),
}

/// A text with a grammar of its own.
#[derive(Clone, Copy)]
pub(super) struct TextKind {
    /// Name of the type.
    pub name: &'static str,
    /// Its check.
    pub check: TextCheck,
}

impl std::fmt::Debug for TextKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A type whose fields are known by name.
#[derive(Debug)]
pub(super) struct Fields {
    /// Name of the type.
    pub title: &'static str,
    /// Fields with their schemas.
    pub properties: Vec<(&'static str, &'static Value)>,
    /// Fields that must be there.
    pub required: Vec<&'static str>,
    /// Fields of which exactly one must be there; empty if there is no such choice.
    pub one_of: Vec<&'static str>,
}

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&'static Value> {
        self.properties.iter().find(|(known, _)| *known == name).map(|(_, schema)| *schema)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.properties.iter().map(|(name, _)| *name)
    }
}

/// Returns every kind with its fields' schema.
pub(super) fn kinds() -> Vec<(&'static str, &'static Value)> {
    list(&SCHEMA, "oneOf")
        .iter()
        .filter_map(|kind| Some((kind.pointer("/properties/kind/const")?.as_str()?, kind)))
        .collect()
}

/// Returns the help of a schema: what its type's or field's doc comment says.
pub(super) fn doc(schema: &'static Value) -> &'static str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// Follows references and options to the type itself, with its name.
pub(super) fn resolve(mut schema: &'static Value) -> (Option<&'static str>, &'static Value) {
    let mut name = None;
    loop {
        let inner = list(schema, "anyOf").iter().find(|one| !is(one, "null"));
        let target = inner.unwrap_or(schema);
        let Some(reference) = target.get("$ref").and_then(Value::as_str) else {
            return (name, target);
        };
        name = reference.strip_prefix("#/$defs/");
        match name.and_then(|name| SCHEMA.get("$defs")?.get(name)) {
            Some(found) => schema = found,
            None => return (name, target),
        }
    }
}

/// Returns the shape of a schema; `None` for what no type of the model derives to.
pub(super) fn shape(schema: &'static Value) -> Option<Shape> {
    let (name, schema) = resolve(schema);
    if let Some((title, check)) = name.and_then(|name| TEXTS.iter().find(|(n, _)| *n == name)) {
        return Some(Shape::Text(Some(TextKind { name: title, check: *check })));
    }
    let choices = list(schema, "oneOf");
    if let Some(words) = words(choices) {
        return Some(Shape::Choice(words));
    }
    if is(schema, "array") {
        return schema.get("items").map(Shape::List);
    }
    if is(schema, "string") {
        return Some(Shape::Text(None));
    }
    if is(schema, "boolean") {
        return Some(Shape::Flag);
    }
    if is(schema, "integer") {
        let bound = |key| schema.get(key).and_then(Value::as_u64);
        let widest = match schema.get("format").and_then(Value::as_str) {
            Some("uint8") => u64::from(u8::MAX),
            Some("uint16") => u64::from(u16::MAX),
            Some("uint32") => u64::from(u32::MAX),
            _ => u64::MAX,
        };
        return Some(Shape::Number {
            min: bound("minimum").unwrap_or(0),
            max: bound("maximum").unwrap_or(widest),
        });
    }
    if let Some(values) = schema.get("additionalProperties").filter(|inner| inner.is_object()) {
        return Some(Shape::Map(values));
    }
    fields(name, schema, choices)
}

fn fields(
    name: Option<&'static str>,
    schema: &'static Value,
    choices: &'static [Value],
) -> Option<Shape> {
    let mut fields = Fields {
        title: name.or_else(|| schema.pointer("/properties/kind/const")?.as_str())?,
        properties: properties(schema),
        required: words_of(list(schema, "required")),
        one_of: Vec::new(),
    };
    for choice in choices {
        // A choice is either a name among the fields or a field that exists only there.
        fields.one_of.extend(words_of(list(choice, "required")));
        fields.properties.extend(properties(choice));
    }
    Some(Shape::Fields(fields))
}

fn properties(schema: &'static Value) -> Vec<(&'static str, &'static Value)> {
    let map = schema.get("properties").and_then(Value::as_object);
    map.into_iter().flatten().map(|(name, schema)| (name.as_str(), schema)).collect()
}

fn words_of(values: &'static [Value]) -> Vec<&'static str> {
    values.iter().filter_map(Value::as_str).collect()
}

fn words(choices: &'static [Value]) -> Option<Vec<(&'static str, &'static str)>> {
    let word = |choice: &'static Value| Some((choice.get("const")?.as_str()?, doc(choice)));
    let words: Option<Vec<_>> = choices.iter().map(word).collect();
    words.filter(|words| !words.is_empty())
}

fn list<'v>(schema: &'v Value, key: &str) -> &'v [Value] {
    schema.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn is(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(some)) => some.iter().any(|one| one == name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn walk(schema: &'static Value, place: &str, seen: &mut BTreeSet<&'static str>) {
        match shape(schema).unwrap_or_else(|| panic!("no shape at {place}: {schema}")) {
            Shape::Text(_) | Shape::Number { .. } | Shape::Flag => {}
            Shape::Choice(words) => {
                assert!(words.iter().all(|(_, doc)| !doc.is_empty()), "no help at {place}");
            }
            Shape::List(inner) | Shape::Map(inner) => walk(inner, &format!("{place}[]"), seen),
            Shape::Fields(fields) => {
                if !seen.insert(fields.title) {
                    return;
                }
                assert!(!fields.properties.is_empty(), "no fields at {place}");
                for (name, schema) in &fields.properties {
                    walk(schema, &format!("{place}.{name}"), seen);
                }
            }
        }
    }

    #[test]
    fn every_type_of_the_model_has_a_shape() {
        let mut seen = BTreeSet::new();
        for (kind, schema) in kinds() {
            walk(schema, kind, &mut seen);
        }
        assert!(seen.is_superset(&BTreeSet::from(["Region", "Service", "Release", "Check"])));
    }

    #[test]
    fn every_text_with_a_grammar_is_checked_by_its_own_parser() {
        let defs = SCHEMA["$defs"].as_object().unwrap();
        for (name, def) in defs.iter().filter(|(_, def)| def["type"] == "string") {
            assert!(TEXTS.iter().any(|(known, _)| known == name), "{name} is unknown: {def}");
        }
    }

    #[test]
    fn the_schema_names_every_kind() {
        let names: Vec<_> = kinds().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["Region", "Service", "Release", "AlertRule", "Channel", "Checklist"]);
        assert_eq!(schema()["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
}
