//! From text to objects: every document read, every flaw found, nothing half accepted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{FINDINGS_KEPT_MAX, Finding, ManifestError, Source};
use super::shape;
use super::tree::{self, Content, Document, Flaw, Mark, Node};
use super::validate::{self, Known};
use super::{Fault, TEXT_LEN_MAX};
use crate::model::Object;

/// Longest key below which places are remembered: every place repeats the keys above it.
const KEY_LEN_MAX: usize = 256;

/// A value that knows where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    source: Arc<Source>,
    marks: BTreeMap<String, Mark>,
}

/// A place in a manifest, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column in characters.
    pub column: usize,
}

impl<T> Located<T> {
    /// Returns where the field at `path` is written, or the nearest thing around it.
    pub fn position(&self, path: &str) -> Position {
        let Mark { line, column, .. } = self.mark(path);
        Position { line, column }
    }

    fn mark(&self, mut path: &str) -> Mark {
        loop {
            if let Some(mark) = self.marks.get(path) {
                return *mark;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.marks.get("").copied().unwrap_or(Mark::START),
            }
        }
    }

    fn finding(&self, fault: &Fault) -> Finding {
        Finding::new(&self.source, self.mark(&fault.path), fault)
    }
}

/// Reads a manifest of one or more documents; `name` is what messages call the text.
///
/// Refuses what contradicts itself; what depends on the fleet is for [`check_set`].
pub fn parse(name: &str, text: &str) -> Result<Vec<Located<Object>>, ManifestError> {
    // A mark of the byte order takes no column, so that positions are those an editor shows.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > TEXT_LEN_MAX {
        let message = format!("{} bytes are more than a manifest may hold", text.len());
        let help = format!("split it into manifests of at most {TEXT_LEN_MAX} bytes");
        return Err(whole(name, message, help));
    }
    let source = Source::new(name, text);
    let mut findings = Vec::new();
    let mut objects = Vec::new();
    let documents = tree::read(text);
    let empty = documents.iter().all(|one| one.root.is_none() && one.flaws.is_empty());
    for (index, document) in documents.into_iter().enumerate() {
        if findings.len() < FINDINGS_KEPT_MAX {
            objects.extend(object(&source, index, document, &mut findings));
        }
    }
    if empty {
        let help = "write at least one document, beginning with `kind:`".into();
        return Err(whole(name, "there is nothing in it".into(), help));
    }
    for (index, fault) in validate::duplicates(objects.iter().map(|object| &object.value)) {
        findings.push(objects[index].finding(&fault));
    }
    ManifestError::check(findings).map(|()| objects)
}

/// Reads a manifest from bytes, which must be UTF-8.
pub fn parse_bytes(name: &str, bytes: &[u8]) -> Result<Vec<Located<Object>>, ManifestError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(name, text),
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let column = good.lines().last().filter(|_| !good.ends_with('\n'));
            let mark = Mark {
                offset: good.len(),
                len: 0,
                line: good.matches('\n').count() + 1,
                column: column.map_or(0, |line| line.chars().count()) + 1,
            };
            let good: String = good.chars().take(TEXT_LEN_MAX).collect();
            let flaw = Flaw {
                mark,
                path: String::new(),
                message: "this is not UTF-8".into(),
                help: "save the manifest as UTF-8".into(),
            };
            let finding = Finding::of_flaw(&Source::new(name, &good), "", flaw);
            Err(ManifestError::check(vec![finding]).expect_err("there is a finding"))
        }
    }
}

/// Checks parsed objects together against what the fleet knows already.
pub fn check_set(objects: &[Located<Object>], known: &Known) -> Result<(), ManifestError> {
    let values: Vec<_> = objects.iter().map(|object| &object.value).collect();
    let faults = validate::set_faults(&values, known);
    ManifestError::check(
        faults.into_iter().map(|(index, fault)| objects[index].finding(&fault)).collect(),
    )
}

/// Returns an error about the text as a whole.
fn whole(name: &str, message: String, help: String) -> ManifestError {
    let flaw = Flaw { mark: Mark::START, path: String::new(), message, help };
    let finding = Finding::of_flaw(&Source::new(name, ""), "", flaw);
    ManifestError::check(vec![finding]).expect_err("there is a finding")
}

fn object(
    source: &Arc<Source>,
    index: usize,
    document: Document,
    findings: &mut Vec<Finding>,
) -> Option<Located<Object>> {
    let Document { root, mut flaws } = document;
    let value = root.as_ref().and_then(|root| shape::read(root, &mut flaws));
    let label = root.as_ref().map_or_else(String::new, |root| label(root, index));
    let sound = flaws.is_empty();
    findings.extend(flaws.into_iter().map(|flaw| Finding::of_flaw(source, &label, flaw)));
    let (root, value) = (root?, value?);
    let mut marks = BTreeMap::new();
    collect(&root, String::new(), &mut marks);
    // Flaws leave holes; where the rest still makes an object, its contradictions are told too.
    match serde_json::from_value::<Object>(value) {
        Ok(value) => {
            let located = Located { value, source: Arc::clone(source), marks };
            let faults = validate::validate_object(&located.value);
            findings.extend(faults.iter().map(|fault| located.finding(fault)));
            sound.then_some(located)
        }
        Err(error) => {
            if sound {
                let help = "correct this document".into();
                let flaw =
                    Flaw { mark: root.mark, path: String::new(), message: error.to_string(), help };
                findings.push(Finding::of_flaw(source, &label, flaw));
            }
            None
        }
    }
}

/// Returns what to call a document that may not be an object yet.
fn label(root: &Node, index: usize) -> String {
    let text = |key: &str| match &root.content {
        Content::Map(fields) => fields.iter().find(|field| field.key == key).and_then(|field| {
            match &field.value.content {
                Content::Scalar { text, .. } => Some(text.clone()),
                Content::List(_) | Content::Map(_) => None,
            }
        }),
        Content::Scalar { .. } | Content::List(_) => None,
    };
    match (text("kind"), text("name"), text("service"), text("version")) {
        (Some(kind), Some(name), ..) => format!("{kind} {name}"),
        (Some(kind), None, Some(service), Some(version)) => format!("{kind} {service}@{version}"),
        _ => format!("document {}", index + 1),
    }
}

fn collect(node: &Node, path: String, marks: &mut BTreeMap<String, Mark>) {
    match &node.content {
        Content::Scalar { .. } => {}
        Content::List(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{path}[{index}]"), marks);
            }
        }
        Content::Map(fields) => {
            for field in fields.iter().filter(|field| field.key.len() <= KEY_LEN_MAX) {
                collect(&field.value, shape::child(&path, &field.key), marks);
            }
        }
    }
    marks.insert(path, node.mark);
}
