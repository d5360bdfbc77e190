//! Where a service's files lie, and which release is current.
//!
//! ```text
//! services/<service>/
//!   current.json          what the next start runs, and what ran before, newest first
//!   run.json              the process (record.rs)
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

use super::facts::{Facts, NodeFacts};
use super::record::RunRecord;
use super::{HostError, durable, release_name};

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

    fn run(&self) -> PathBuf {
        self.root.join("run.json")
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
        self.release(spec).join("artifact")
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
        if let (Some(spec), Some(digest)) = (spec, &digest) {
            if !self.artifact(digest).is_file() {
                return Err(HostError::NotStaged { release: release_name(spec) });
            }
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
                let dir = self.release(&digest);
                let added = fs::metadata(&dir)
                    .and_then(|metadata| metadata.modified())
                    .map_err(HostError::io("look at", dir))?;
                others.push((added, digest));
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

    fn on_disk(&self) -> Result<Vec<Digest>, HostError> {
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
        durable::read_json(&self.run())
    }

    /// Records the process.
    pub(super) fn write_run(&self, record: &RunRecord) -> Result<(), HostError> {
        durable::write_json(&self.run(), record)
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
