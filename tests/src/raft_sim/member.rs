//! One member through all its incarnations: started on a disk, crashed, and started again on what
//! the crash left of it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;
use tonic::{Extensions, Status};
use trireme_controller::raft::{self, Member as Listed, PeerIdentity, Profile, Raft, simulation};

use super::config::Config;
use super::disk::{Disk, Loss};
use super::line::Lines;
use super::net::{End, Net};
use super::registers::{Facts, Registers};
use super::world::spawn;
use crate::sim::rng::Rng;

/// Folder of the snapshots in a data directory.
const SNAPSHOTS: &str = "snapshots";
/// File of the log.
const LOG: &str = "raft.redb";

/// A running incarnation, as clients reach it.
#[derive(Debug, Clone)]
pub struct Running {
    /// The member.
    pub raft: Raft<Registers>,
    /// Goes with its power.
    pub power: CancellationToken,
}

/// A member.
#[derive(Debug)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// The incarnation that runs.
    pub running: Option<Running>,
    /// What was done to its machine.
    pub facts: Facts,
    /// Its disk.
    pub disk: Disk,
    /// Whether its end was brought about.
    pub doomed: bool,
    root: PathBuf,
    incarnation: u64,
}

impl Member {
    /// Returns one that has never run; its files are somewhere below `root`.
    pub fn new(id: u64, root: &Path) -> Self {
        Self {
            id,
            running: None,
            facts: Facts::default(),
            disk: Disk::new(CancellationToken::new()),
            doomed: false,
            root: root.to_owned(),
            incarnation: 0,
        }
    }

    fn dir(&self) -> PathBuf {
        self.root.join(format!("{}.{}", self.id, self.incarnation))
    }

    /// Returns whose file lies at `path`.
    pub fn of_path(path: &Path) -> u64 {
        let dir = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        let id = dir.and_then(|dir| dir.split('.').next()).and_then(|id| id.parse().ok());
        id.expect("files lie in directories named after members")
    }

    /// Starts it on its disk.
    pub async fn start(&mut self, config: &Config, net: &Arc<Net>) -> Result<()> {
        let settings = raft::Config {
            fleet: "simulated".to_owned(),
            id: self.id,
            name: format!("c{}", self.id),
            dir: self.dir(),
            profile: Profile::Lan,
            snapshot_every: config.snapshot_every,
        };
        let power = if self.incarnation == 0 {
            let power = CancellationToken::new();
            self.disk = Disk::new(power.clone());
            power
        } else {
            self.disk.power()
        };
        let lines = Lines { net: Arc::clone(net), from: self.id, power: power.clone() };
        self.facts = Facts::default();
        self.doomed = false;
        let machine = Registers::new(Arc::clone(&self.facts));
        let raft = simulation::start(settings, Arc::new(lines), machine, &self.disk)
            .await
            .with_context(|| format!("member {} does not start", self.id))?;
        let authorize = |connection: &Extensions| {
            let identity = connection.get::<PeerIdentity>().cloned();
            identity.ok_or_else(|| Status::unauthenticated("nobody"))
        };
        let server = raft.service(authorize);
        net.connect(self.id, Some(End { server, power: power.clone() }));
        self.running = Some(Running { raft, power });
        Ok(())
    }

    /// Returns how others know it.
    pub fn listed(&self) -> Option<Listed> {
        let identity = self.running.as_ref()?.raft.identity();
        Some(Listed {
            id: self.id,
            name: identity.name.clone(),
            region: "here".to_owned(),
            addr: format!("c{}:1", self.id),
            api: format!("c{}:2", self.id),
            disk: identity.disk.clone(),
        })
    }

    /// Takes its power away. What ran is cut off from disk and network, and ends by itself.
    pub fn crash(&mut self, net: &Net, rng: &mut Rng) -> Result<Loss> {
        let Some(running) = self.running.take() else { return Ok(Loss::default()) };
        running.power.cancel();
        net.connect(self.id, None);
        let (disk, loss) = self.disk.after_crash(rng, CancellationToken::new());
        self.disk = disk;
        let from = self.dir();
        self.incarnation += 1;
        copy(&from, &self.dir()).context("the files of a crashed member")?;
        if rng.chance(200) {
            // A snapshot on its way, of which only the beginning had reached the disk.
            fs::write(self.dir().join(SNAPSHOTS).join("0.tmp"), b"TRSNAP01")?;
        }
        spawn(async move { running.raft.shutdown().await });
        Ok(loss)
    }

    /// Returns the index of the newest snapshot on its disk.
    pub fn newest_snapshot(&self) -> io::Result<Option<u64>> {
        let mut newest = None;
        for item in fs::read_dir(self.dir().join(SNAPSHOTS))? {
            let path = item?.path();
            let is_whole = path.extension().is_some_and(|extension| extension == "snap");
            let name = path.file_name().filter(|_| is_whole).and_then(OsStr::to_str);
            let index = name.and_then(|name| name.split('-').next()?.parse().ok());
            newest = newest.max(index);
        }
        Ok(newest)
    }
}

/// Copies what is durable of a data directory; the log's content lies on the simulated disk.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.join(SNAPSHOTS))?;
    fs::write(to.join(LOG), b"")?;
    for item in fs::read_dir(from.join(SNAPSHOTS))? {
        let path = item?.path();
        if path.extension().is_some_and(|extension| extension == "snap") {
            let name = path.file_name().context("a file has a name")?;
            fs::copy(&path, to.join(SNAPSHOTS).join(name))?;
        }
    }
    Ok(())
}
