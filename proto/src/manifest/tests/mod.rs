//! Manifests as people get them wrong and right; a release and a service that tests begin from.

mod alerts;
mod bad;
mod checklists;
mod contradictions;
mod drivers;
mod good;
mod properties;
mod set;

use super::{Located, ManifestError, parse};
use crate::model::Object;

/// A service that says as little as possible.
const SERVICE: &str = "\
kind: Service
name: web
nodes: {labels: {role: web}}
driver: {process: {}}
";

/// A release of it.
const RELEASE: &str = "\
kind: Release
service: web
version: 1.0.0
artifact:
  url: file:///srv/web-1.0.0
  sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
argv: [\"{artifact}\"]
";

fn objects(yaml: &str) -> Vec<Object> {
    parse("m.yaml", yaml)
        .unwrap_or_else(|error| panic!("{yaml}\n{error}"))
        .into_iter()
        .map(|located: Located<Object>| located.value)
        .collect()
}

fn object(yaml: &str) -> Object {
    let mut objects = objects(yaml);
    assert_eq!(objects.len(), 1);
    objects.remove(0)
}

/// Asserts everything an error says, one line for each finding.
fn assert_says(yaml: &str, error: &ManifestError, says: &[&str]) {
    let said = error.to_string().replace("m.yaml:", "");
    assert_eq!(said.lines().collect::<Vec<_>>(), says, "in\n{yaml}");
}

/// Asserts that reading fails and says exactly this.
fn assert_refused(yaml: &str, says: &[&str]) {
    match parse("m.yaml", yaml) {
        Ok(objects) => panic!("passed: {objects:?}\n{yaml}"),
        Err(error) => assert_says(yaml, &error, says),
    }
}

/// Returns the service with more lines, from line 5 on.
fn service(more: &str) -> String {
    format!("{SERVICE}{more}")
}

/// Returns the release with more lines, from line 8 on.
fn release(more: &str) -> String {
    format!("{RELEASE}{more}")
}
