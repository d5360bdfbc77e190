//! What tests of the host share: releases made of small scripts, and care that none stays behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use trireme_proto::action::RunSpec;
use trireme_proto::digest::Digest;
use trireme_proto::id::{ActionId, ServiceId};
use trireme_proto::model::{
    Artifact, ComposeDriver, Driver, ProcessDriver, Release, Restart, StopSignal,
};
use trireme_proto::time::Span;

use crate::host::record::{RunRecord, Stage};
use crate::host::{Drivers, Host as _, Machine, NodeFacts, RunState, procfs};
use crate::http::Client;

/// Longest wait for a condition; only a broken test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns a specification of service `web`.
pub(crate) fn spec(version: &str, url: &str, sha256: Digest, argv: &[&str]) -> RunSpec {
    RunSpec {
        release: Release {
            service: web(),
            version: version.parse().unwrap(),
            artifact: Some(Artifact { url: url.to_owned(), sha256 }),
            images: BTreeMap::new(),
            argv: argv.iter().map(|&arg| arg.to_owned()).collect(),
            env: BTreeMap::new(),
        },
        driver: Driver::Process(ProcessDriver::default()),
    }
}

/// Returns a specification of the compose project `dvn`; each digit of its digests is `digit`.
pub(crate) fn project(version: &str, digit: u8) -> RunSpec {
    let digest = digit.to_string().repeat(64);
    let image = |name: &str| format!("registry.example/{name}@sha256:{digest}").parse().unwrap();
    RunSpec {
        release: Release {
            service: "dvn".parse().unwrap(),
            version: version.parse().unwrap(),
            artifact: None,
            images: ["api", "relay"].map(|name| (name.to_owned(), image(name))).into(),
            argv: Vec::new(),
            env: BTreeMap::new(),
        },
        driver: Driver::Compose(ComposeDriver {
            project: "dvn".to_owned(),
            file: "/opt/dvn/docker-compose.yml".to_owned(),
            stop_timeout: Span::secs(10),
        }),
    }
}

/// Returns the specification with another driver.
pub(crate) fn driven(spec: RunSpec, restart: Restart, stop_timeout: u64) -> RunSpec {
    let driver = Driver::Process(ProcessDriver {
        stop_signal: StopSignal::Term,
        stop_timeout: Span(stop_timeout),
        restart,
    });
    RunSpec { driver, ..spec }
}

/// Returns the name of the one service of these tests.
pub(crate) fn web() -> ServiceId {
    "web".parse().unwrap()
}

/// Returns what the node of these tests is.
pub(crate) fn node() -> NodeFacts {
    NodeFacts {
        node: "aws-1".parse().unwrap(),
        region: "aws".parse().unwrap(),
        address: "127.1.0.1".to_owned(),
    }
}

/// Opens a directory of services as an agent does when it starts.
pub(crate) async fn open(dir: &Path) -> Machine {
    open_with(dir, Drivers::default()).await
}

/// As [`open`], by an agent whose configuration allows what `drivers` says.
pub(crate) async fn open_with(dir: &Path, drivers: Drivers) -> Machine {
    Machine::open(&dir.join("agent"), node(), Arc::new(Client::new()), drivers).await.unwrap()
}

/// A directory with an agent's services; whatever runs from it is killed with it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// Opens the directory as an agent does when it starts.
    pub(crate) async fn open(&self) -> Machine {
        open(self.dir.path()).await
    }

    /// Returns a release whose artifact is a shell script, run by sh.
    pub(crate) fn script(&self, version: &str, text: &str) -> RunSpec {
        let path = self.dir.path().join(format!("{version}.sh"));
        fs::write(&path, text).unwrap();
        let url = format!("file://{}", path.display());
        spec(version, &url, Digest::of(text.as_bytes()), &["/bin/sh", "{artifact}"])
    }

    fn service_dir(&self) -> PathBuf {
        self.dir.path().join("agent/services/web")
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.service_dir().join("data").join(name)
    }

    /// Returns the record of the process as it is on disk.
    pub(in crate::host) fn record(&self) -> RunRecord {
        serde_json::from_slice(&fs::read(self.run_json()).unwrap()).unwrap()
    }

    pub(in crate::host) fn write_record(&self, record: &RunRecord) {
        fs::write(self.run_json(), serde_json::to_vec(record).unwrap()).unwrap();
    }

    fn run_json(&self) -> PathBuf {
        self.service_dir().join("run.json")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Ok(text) = fs::read(self.run_json()) else { return };
        let Ok(record) = serde_json::from_slice::<RunRecord>(&text) else { return };
        if let Stage::Running(id) | Stage::Stopping(id) = record.stage
            && procfs::stat(id.pid).is_some_and(|stat| stat.id == id)
            && let Some(pid) = rustix::process::Pid::from_raw(id.pid.try_into().unwrap())
        {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Stages the release, points at it and starts it; returns the process.
pub(crate) async fn run(machine: &Machine, spec: &RunSpec, action: u64) -> u32 {
    machine.fetch(spec).await.unwrap();
    machine.point(&web(), Some(spec)).await.unwrap();
    let started = machine.start(&web(), ActionId(action), false).await.unwrap();
    assert!(matches!(started, super::Started::Now { .. }), "{started:?}");
    pid(machine).unwrap()
}

/// Returns the process that runs.
pub(crate) fn pid(machine: &Machine) -> Option<u32> {
    match machine.observe(&web()).state {
        RunState::Running { pid } | RunState::Stopping { pid } => Some(pid),
        _ => None,
    }
}

/// Returns whether there is a process of that number that has not ended.
pub(crate) fn lives(pid: u32) -> bool {
    procfs::stat(pid).is_some_and(|stat| !stat.is_zombie)
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain until {what}");
}

/// Returns the lines of a file that may not exist yet; a line is counted when it is whole.
pub(crate) fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}
