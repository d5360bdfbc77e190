//! A service that is looked at: it says that it was started, and waits; what stands in its files
//! is up to the test.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;
use trireme_proto::digest::Digest;

use super::rig::{RUN_MAX, Rig, trictl};
use super::web::working_dir;

/// Name of the service.
pub(crate) const APP: &str = "app";
/// Name of the file that its manifest declares.
pub(crate) const ACCESS: &str = "access";

const SCRIPT: &str = "\
#!/bin/sh
echo \"started $TRIREME_VERSION on $TRIREME_NODE, restart $TRIREME_RESTART\"
exec sleep 600
";

/// Returns a service of this name, and its first release.
fn manifest(rig: &Rig, name: &str) -> String {
    let artifact = rig.file(&format!("{name}.sh"), SCRIPT);
    let (artifact, digest) = (artifact.display(), Digest::of(SCRIPT.as_bytes()));
    format!(
        "\
kind: Service
name: {name}
nodes: {{labels: {{role: web}}}}
driver: {{process: {{stop_timeout: 1s}}}}
logs: {{{ACCESS}: \"{{data}}/access.log\", gone: /nowhere/at/all.log}}
upgrade:
  bake: {{region: 100ms}}
  deadline: {{step: 10s, fleet: 5m}}
---
kind: Release
service: {name}
version: 1.0.0
artifact: {{url: \"file://{artifact}\", sha256: \"{digest}\"}}
argv: [\"{{artifact}}\"]
"
    )
}

/// Declares services and brings them up everywhere.
pub(crate) async fn run(rig: &Rig, names: &[&str]) {
    let documents: Vec<_> = names.iter().map(|name| manifest(rig, name)).collect();
    let file = rig.file("app.yaml", documents.join("---\n"));
    rig.apply(&file).await.exits(0);
    for name in names {
        rig.upgrade_to(name, "1.0.0").await;
    }
}

/// Returns the file that the manifest declares.
pub(crate) fn access(rig: &Rig, node: &str, service: &str) -> PathBuf {
    working_dir(rig, node, service).join("access.log")
}

/// Writes lines as the service would.
pub(crate) fn write(rig: &Rig, node: &str, service: &str, text: &str) {
    let path = access(rig, node, service);
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A `trictl` that prints a line of JSON for each event, until it is told to end.
pub(crate) struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Every line so far.
    pub(crate) seen: Vec<Value>,
}

impl Following {
    /// Starts it.
    pub(crate) fn start(rig: &Rig, args: &[&str]) -> Self {
        let mut command = trictl(&rig.fleet.context_file(), args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, seen: Vec::new() }
    }

    /// Returns all texts that were seen.
    pub(crate) fn texts(&self) -> Vec<&str> {
        self.seen.iter().filter_map(|line| line["text"].as_str()).collect()
    }

    /// Reads until a line has this text.
    pub(crate) async fn until(&mut self, text: &str) {
        let reading = async {
            while !self.texts().contains(&text) {
                let line = self.lines.next_line().await.unwrap().expect("it has not ended");
                self.seen.push(serde_json::from_str(&line).unwrap());
            }
        };
        let read = timeout(RUN_MAX, reading).await;
        assert!(read.is_ok(), "`{text}` never came: {:#?}", self.seen);
    }

    /// Reads until there are so many lines.
    pub(crate) async fn lines(&mut self, count: usize) {
        let reading = async {
            while self.seen.len() < count {
                let line = self.lines.next_line().await.unwrap().expect("it has not ended");
                self.seen.push(serde_json::from_str(&line).unwrap());
            }
        };
        assert!(timeout(RUN_MAX, reading).await.is_ok(), "{count} never came: {:#?}", self.seen);
    }

    /// Presses Ctrl-C and returns the exit code.
    pub(crate) async fn interrupt(mut self) -> Option<i32> {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        timeout(RUN_MAX, self.child.wait()).await.expect("it ends").unwrap().code()
    }
}
