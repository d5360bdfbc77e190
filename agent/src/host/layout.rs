//! Where a service's files lie, and which release is current.
//!
//! ```text
//! services/<service>/
//!   current.json          what the next start runs, and what ran before, newest first
//!   run.json              the process (record.rs), or in place of it
//!   project.json          the project of the Docker engine (compose/record.rs), or
//!   unit.json             the unit of systemd (systemd/record.rs)
//!   releases/<digest>/    spec.json and artifact; <digest> is of the whole specification
//!   data/                 working directory of the service, never touched
//!   log/                  its output
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use trireme_proto::action::RunSpec;
use trireme_proto::digest::Digest;
use trireme_proto::id::ServiceId;
use trireme_proto::model::Driver;

use super::facts::{Facts, NodeFacts};
use super::record::RunRecord;
use super::unit::{KINDS, Kind};
use super::{HostError, compose, durable, release_name};

/// Releases kept of those that once were current, and again as many that never were: enough to
/// go back several times without fetching.
const RELEASES_KEPT: usize = 5;

/// The content of `current.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pointer {
    /// What the next start runs.
    current: Option<Digest>,
    /// What was current, newest first, without repetition; holds `current` too.
    history: Vec<Digest>,
}

/// The files of one service.
#[derive(Debug, Clone)]
pub(super) struct ServiceDir {
    service: ServiceId,
    root: PathBuf,
}

impl ServiceDir {
    /// Names the files of `service` below `services`; makes nothing.
    pub(super) fn new(services: &Path, service: ServiceId) -> Self {
        Self { root: services.join(service.as_str()), service }
    }

    /// Returns the service.
    pub(super) fn service(&self) -> &ServiceId {
        &self.service
    }

    /// Makes the directories and sweeps what a crash left unfinished.
    pub(super) fn prepare(&self) -> Result<(), HostError> {
        for dir in [self.releases(), self.data(), self.log()] {
            fs::create_dir_all(&dir).map_err(HostError::io("make", dir))?;
        }
        durable::sweep(&self.root).map_err(HostError::io("sweep", &self.root))?;
        for release in self.on_disk()? {
            let dir = self.release(&release);
            durable::sweep(&dir).map_err(HostError::io("sweep", dir))?;
        }
        durable::sync_dir(&self.root).map_err(HostError::io("flush", &self.root))
    }

    fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    fn release(&self, spec: &Digest) -> PathBuf {
        self.releases().join(spec.to_string())
    }

    fn pointer(&self) -> PathBuf {
        self.root.join("current.json")
    }

    /// Returns the path of what a supervisor of that kind remembers.
    pub(super) fn record(&self, kind: Kind) -> PathBuf {
        self.file(kind.record())
    }

    /// Returns the path of a file of the service's own.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Returns the path of a file that is kept with a release.
    pub(super) fn in_release(&self, spec: &Digest, name: &str) -> PathBuf {
        self.release(spec).join(name)
    }

    /// Returns the working directory of the service.
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Returns the directory of its output.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Returns the path of a release's file.
    pub(super) fn artifact(&self, spec: &Digest) -> PathBuf {
        self.in_release(spec, "artifact")
    }

    /// Returns what placeholders stand for when `spec` runs, or nothing does.
    pub(super) fn facts(&self, node: &NodeFacts, spec: Option<&RunSpec>) -> Facts {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        Facts {
            artifact: spec.map(|spec| text(self.artifact(&spec.digest()))).unwrap_or_default(),
            address: node.address.clone(),
            node: node.node.to_string(),
            region: node.region.to_string(),
            service: self.service.to_string(),
            version: spec.map(|spec| spec.release.version.to_string()).unwrap_or_default(),
            data: text(self.data()),
        }
    }

    /// Makes room for a release and records its specification.
    pub(super) fn add(&self, spec: &RunSpec) -> Result<(), HostError> {
        let digest = spec.digest();
        let dir = self.release(&digest);
        fs::create_dir_all(&dir).map_err(HostError::io("make", &dir))?;
        if self.spec(&digest)?.is_none() {
            durable::write_json(&dir.join("spec.json"), spec)?;
            let releases = self.releases();
            durable::sync_dir(&releases).map_err(HostError::io("flush", releases))?;
        }
        Ok(())
    }

    /// Returns the specification with that digest, if it was added.
    pub(super) fn spec(&self, digest: &Digest) -> Result<Option<RunSpec>, HostError> {
        durable::read_json(&self.release(digest).join("spec.json"))
    }

    /// Returns the specification with that digest, which must have been added.
    pub(super) fn load(&self, digest: &Digest) -> Result<RunSpec, HostError> {
        self.spec(digest)?.ok_or_else(|| HostError::NotStaged {
            release: format!("{} with digest {}", self.service, digest.short()),
        })
    }

    /// Returns what the service is pointed at, or else what was staged last.
    pub(super) fn newest(&self) -> Result<Option<RunSpec>, HostError> {
        if let Some(digest) = self.current()? {
            return self.spec(&digest);
        }
        let mut staged: Vec<(SystemTime, Digest)> = Vec::new();
        for digest in self.on_disk()? {
            staged.push((self.added(&digest)?, digest));
        }
        staged.iter().max().map_or(Ok(None), |(_, digest)| self.spec(digest))
    }

    /// Returns which supervisor looks after the service, if that was ever said.
    pub(super) fn kind(&self) -> Result<Option<Kind>, HostError> {
        let recorded = KINDS.into_iter().find(|kind| self.record(*kind).exists());
        let staged = || Ok(self.newest()?.map(|spec| Kind::of(&spec.driver)));
        recorded.map_or_else(staged, |kind| Ok(Some(kind)))
    }

    /// Returns the digest of what the next start runs.
    pub(super) fn current(&self) -> Result<Option<Digest>, HostError> {
        Ok(self.read_pointer()?.current)
    }

    /// Makes `spec` what the next start runs and forgets the oldest releases.
    ///
    /// `running` is never forgotten.
    pub(super) fn point(
        &self,
        spec: Option<&RunSpec>,
        running: Option<&Digest>,
    ) -> Result<(), HostError> {
        let digest = spec.map(RunSpec::digest);
        self.require_staged(spec)?;
        if let Some(spec) = spec {
            self.add(spec)?;
        }
        let mut pointer = self.read_pointer()?;
        pointer.current = digest;
        if let Some(digest) = digest {
            pointer.history.retain(|other| *other != digest);
            pointer.history.insert(0, digest);
        }
        pointer.history.truncate(RELEASES_KEPT);
        durable::write_json(&self.pointer(), &pointer)?;
        self.forget(&pointer, running)
    }

    /// Removes releases beyond those kept: the last that were current, the newest that were not.
    fn forget(&self, pointer: &Pointer, running: Option<&Digest>) -> Result<(), HostError> {
        let kept: BTreeSet<&Digest> = pointer.history.iter().chain(running).collect();
        let mut others: Vec<(SystemTime, Digest)> = Vec::new();
        for digest in self.on_disk()? {
            if !kept.contains(&digest) {
                others.push((self.added(&digest)?, digest));
            }
        }
        others.sort_unstable();
        others.reverse();
        for (_, digest) in others.iter().skip(RELEASES_KEPT) {
            let dir = self.release(digest);
            fs::remove_dir_all(&dir).map_err(HostError::io("remove", dir))?;
        }
        Ok(())
    }

    /// Refuses what was not staged.
    pub(super) fn require_staged(&self, spec: Option<&RunSpec>) -> Result<(), HostError> {
        match spec.filter(|spec| !self.is_staged(spec, &spec.digest())) {
            Some(spec) => Err(HostError::NotStaged { release: release_name(spec) }),
            None => Ok(()),
        }
    }

    fn is_staged(&self, spec: &RunSpec, digest: &Digest) -> bool {
        match spec.driver {
            Driver::Process(_) | Driver::Systemd(_) => self.artifact(digest).is_file(),
            Driver::Compose(_) => compose::is_staged(self, spec),
        }
    }

    /// Returns when a release was added.
    fn added(&self, digest: &Digest) -> Result<SystemTime, HostError> {
        let dir = self.release(digest);
        let metadata = fs::metadata(&dir).and_then(|metadata| metadata.modified());
        metadata.map_err(HostError::io("look at", dir))
    }

    /// Returns the digests of all releases that are kept.
    pub(super) fn on_disk(&self) -> Result<Vec<Digest>, HostError> {
        let releases = self.releases();
        let entries = match fs::read_dir(&releases) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(HostError::io("list", releases)(error)),
        };
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
    }

    fn read_pointer(&self) -> Result<Pointer, HostError> {
        Ok(durable::read_json(&self.pointer())?.unwrap_or_default())
    }

    /// Returns what is recorded of the process; `None` if nothing was ever started.
    pub(super) fn read_run(&self) -> Result<Option<RunRecord>, HostError> {
        durable::read_json(&self.record(Kind::Process))
    }

    /// Records the process.
    pub(super) fn write_run(&self, record: &RunRecord) -> Result<(), HostError> {
        durable::write_json(&self.record(Kind::Process), record)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::support;
    use super::*;

    fn staged(dir: &ServiceDir, number: usize) -> RunSpec {
        let spec = support::spec(&format!("1.0.{number}"), "file:///x", Digest::of(b""), &["x"]);
        dir.add(&spec).unwrap();
        fs::write(dir.artifact(&spec.digest()), "").unwrap();
        spec
    }

    #[test]
    fn keeps_the_last_releases_and_whatever_runs() {
        let root = tempfile::tempdir().unwrap();
        let dir = ServiceDir::new(root.path(), "web".parse().unwrap());
        dir.prepare().unwrap();
        let specs: Vec<RunSpec> = (0..20)
            .map(|number| {
                let spec = staged(&dir, number);
                let running = staged(&dir, 0).digest();
                dir.point(Some(&spec), Some(&running)).unwrap();
                spec
            })
            .collect();
        let running = specs[0].digest();
        let on_disk: BTreeSet<Digest> = dir.on_disk().unwrap().into_iter().collect();
        assert_eq!(dir.current().unwrap(), Some(specs[19].digest()));
        assert!(on_disk.contains(&running));
        assert!(specs[15..].iter().all(|spec| on_disk.contains(&spec.digest())));
        assert!(on_disk.len() <= 2 * RELEASES_KEPT + 1, "{}", on_disk.len());

        dir.point(None, None).unwrap();
        assert_eq!(dir.current().unwrap(), None);
        assert!(dir.on_disk().unwrap().contains(&specs[19].digest()));
    }

    #[test]
    fn refuses_to_point_at_what_was_not_staged() {
        let root = tempfile::tempdir().unwrap();
        let dir = ServiceDir::new(root.path(), "web".parse().unwrap());
        dir.prepare().unwrap();
        let spec = support::spec("1.0.0", "file:///x", Digest::of(b""), &["x"]);
        let error = dir.point(Some(&spec), None).unwrap_err();
        assert_eq!(error.to_string(), "release web@1.0.0 is not on this node: stage it first");
        assert_eq!(dir.current().unwrap(), None);
    }
}
