//! The service that is upgraded: its manifest, its artifacts, and its own record of every start.
//!
//! It is the one that `trictl demo` shows; its artifact says how a release behaves, so a release
//! that answers its health check with 500 is a file of one line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;
use trireme_proto::digest::Digest;

use super::rig::{Rig, program};

/// Port of the service on every node.
pub(crate) const PORT: u16 = 8080;
/// Name of the service.
pub(crate) const WEB: &str = "web";
/// Release that never becomes healthy.
pub(crate) const BAD: &str = "6.6.6";

/// What the manifest of the service says.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// Regions that must serve.
    pub(crate) at_least: u32,
    /// Passes, 150 ms apart, that make it healthy: how long a switch stands at its gate.
    pub(crate) rise: u32,
    /// Watching after each region.
    pub(crate) bake: &'static str,
    /// Limit of one step on one node.
    pub(crate) step: &'static str,
    /// Time to stop; part of what runs, so another value is another thing to run.
    pub(crate) stop_timeout: &'static str,
}

impl Default for Spec {
    fn default() -> Self {
        Self { at_least: 2, rise: 2, bake: "300ms", step: "10s", stop_timeout: "2s" }
    }
}

impl Spec {
    /// Returns the manifest of the service.
    pub(crate) fn manifest(&self) -> String {
        let Self { at_least, rise, bake, step, stop_timeout } = self;
        format!(
            "\
kind: Service
name: {WEB}
nodes: {{labels: {{role: web}}}}
driver:
  process: {{stop_signal: TERM, stop_timeout: {stop_timeout}, restart: always}}
serving: {{at_least: {at_least}, nodes: 1}}
checks:
  - name: health
    http: {{url: \"http://{{address}}:{PORT}/health\"}}
    every: 150ms
    timeout: 150ms
    rise: {rise}
    fall: 5
traffic:
  dns: {{port: {PORT}, ttl: 1s}}
  drain: 1s
  in_flight: \"http://{{address}}:{PORT}/in-flight\"
upgrade:
  order: [aws, aliyun, gcp]
  bake: {{region: {bake}}}
  deadline: {{step: {step}, fleet: 5m}}
"
        )
    }
}

/// Returns a release whose artifact has the digest that the manifest says.
pub(crate) fn release(rig: &Rig, version: &str) -> String {
    let health = if version == BAD { 500 } else { 200 };
    let content = json!({ "version": version, "health": health, "work_ms": 5 }).to_string();
    let artifact = rig.file(&format!("{WEB}-{version}.json"), &content);
    release_of(version, &artifact, &Digest::of(content.as_bytes()).to_string())
}

/// Returns a release as a manifest says it.
pub(crate) fn release_of(version: &str, artifact: &Path, sha256: &str) -> String {
    let (artifact, trictl) = (artifact.display(), program("trictl").display().to_string());
    format!(
        "\
kind: Release
service: {WEB}
version: {version}
artifact: {{url: \"file://{artifact}\", sha256: \"{sha256}\"}}
argv: [\"{trictl}\", demo-service, --release, \"{{artifact}}\", --listen, \"{{address}}:{PORT}\"]
"
    )
}

/// Declares the service and these releases.
pub(crate) async fn declare(rig: &Rig, spec: &Spec, versions: &[&str]) {
    let mut documents = vec![spec.manifest()];
    documents.extend(versions.iter().map(|version| release(rig, version)));
    let file = rig.file("web.yaml", documents.join("---\n"));
    rig.apply(&file).await.exits(0);
}

/// Declares the service and these releases, and brings the first one up everywhere.
pub(crate) async fn run(rig: &Rig, spec: &Spec, versions: &[&str]) {
    declare(rig, spec, versions).await;
    rig.upgrade_to(WEB, versions[0]).await;
}

/// One start of the service, as it recorded it itself before it listened.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Start {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) node: String,
    pub(crate) action: String,
    pub(crate) restart: String,
}

/// Returns the working directory of a service on a node.
pub(crate) fn working_dir(rig: &Rig, node: &str, service: &str) -> PathBuf {
    let agent = rig.fleet.agents().iter().find(|agent| agent.node.as_str() == node).unwrap();
    agent.data.join("services").join(service).join("data")
}

/// Returns all starts of the service on one node, oldest first.
pub(crate) fn starts(rig: &Rig, node: &str) -> Vec<Start> {
    let file = working_dir(rig, node, WEB).join("starts.jsonl");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Returns the versions that every node has started, oldest first.
pub(crate) fn versions_started(rig: &Rig) -> BTreeMap<String, Vec<String>> {
    let agents = rig.fleet.agents().iter();
    agents
        .map(|agent| {
            let starts = starts(rig, agent.node.as_str());
            let versions = starts.into_iter().map(|start| start.version).collect();
            (agent.node.to_string(), versions)
        })
        .collect()
}

/// Fails unless every node has started exactly these versions, each once, in this order.
#[track_caller]
pub(crate) fn assert_started(rig: &Rig, versions: &[&str]) {
    for (node, started) in versions_started(rig) {
        assert_eq!(started, versions, "what {node} started");
    }
}

/// Returns whether a process runs.
pub(crate) fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().chars().next());
    state.flatten().is_some_and(|state| !matches!(state, 'Z' | 'X'))
}
