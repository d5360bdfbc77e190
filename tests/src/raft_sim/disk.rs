//! A disk in memory under a log's store and journal: what was written and not synced is lost at a
//! crash, or torn, or some of it is not. It can refuse, be full, and lose power in the middle of a
//! sync.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, DatabaseError, StorageBackend};
use tokio_util::sync::CancellationToken;
use trireme_controller::raft::simulation::{File, Files};

use crate::sim::rng::Rng;

/// What a disk writes at once even while the power fails.
const SECTOR: usize = 512;

/// Pages that redb keeps.
const CACHE_BYTES: usize = 1 << 20;

/// Bytes of a journal: few, so that its records go into the store many times in a history.
const JOURNAL_BYTES: u64 = 12 << 10;

/// How the next sync, or one after it, ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The power fails in its middle.
    PowerLoss,
    /// It reports an error.
    Error,
    /// There is no space for what it writes.
    Full,
}

/// What a crash did to what was not synced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// Writes that were not synced.
    pub unsynced: usize,
    /// Those of which nothing is left.
    pub lost: usize,
    /// Those of which a part is left.
    pub torn: usize,
}

/// What a file holds.
#[derive(Debug, Default)]
struct Content {
    /// As a running process sees it.
    seen: Vec<u8>,
    /// As of the last sync.
    durable: Vec<u8>,
    /// Written since, in order.
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl Content {
    /// Returns what is found when the power is back.
    fn after_crash(&self, kept: u64, torn: u64, rng: &mut Rng, loss: &mut Loss) -> Self {
        let mut bytes = self.durable.clone();
        loss.unsynced += self.unsynced.len();
        for (offset, data) in &self.unsynced {
            if rng.chance(kept) {
                put(&mut bytes, *offset, data);
            } else if rng.chance(torn) {
                loss.torn += 1;
                for (at, sector) in (0..).step_by(SECTOR).zip(data.chunks(SECTOR)) {
                    if rng.chance(500) {
                        put(&mut bytes, offset + at, sector);
                    }
                }
            } else {
                loss.lost += 1;
            }
        }
        Self { seen: bytes.clone(), durable: bytes, unsynced: Vec::new() }
    }
}

#[derive(Debug, Default)]
struct Platter {
    /// The store and its journal.
    files: [Content; 2],
    /// Syncs before the one that ends like this.
    ending: Option<(u64, End)>,
    syncs: u64,
}

/// A handle on the disk of one incarnation of a member; clones share it.
#[derive(Debug, Clone)]
pub struct Disk {
    platter: Arc<Mutex<Platter>>,
    power: CancellationToken,
}

impl Disk {
    /// Returns an empty disk that works as long as there is power.
    pub fn new(power: CancellationToken) -> Self {
        Self { platter: Arc::default(), power }
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a later sync end badly.
    pub fn end_after(&self, syncs: u64, end: End) {
        self.platter().ending = Some((syncs, end));
    }

    /// Works from now on.
    pub fn heal(&self) {
        self.platter().ending = None;
    }

    /// Returns what its power goes with.
    pub fn power(&self) -> CancellationToken {
        self.power.clone()
    }

    /// Returns how it has failed, or will.
    pub fn ending(&self) -> Option<End> {
        self.platter().ending.map(|(_, end)| end)
    }

    /// Returns how often it has synced.
    pub fn syncs(&self) -> u64 {
        self.platter().syncs
    }

    /// Returns the disk that is found when the power is back.
    pub fn after_crash(&self, rng: &mut Rng, power: CancellationToken) -> (Self, Loss) {
        let platter = self.platter();
        let mut loss = Loss::default();
        // Mostly all or nothing of it is gone; the rest is what tests a store.
        let (kept, torn) = match rng.below(4) {
            0 => (0, 0),
            1 => (1000, 0),
            2 => (500, 0),
            _ => (400, 500),
        };
        let files = [0, 1].map(|n| platter.files[n].after_crash(kept, torn, rng, &mut loss));
        let found = Platter { files, ..Platter::default() };
        (Self { platter: Arc::new(Mutex::new(found)), power }, loss)
    }

    fn file(&self, number: usize) -> OnDisk {
        OnDisk { disk: self.clone(), number }
    }

    fn powered(&self) -> io::Result<()> {
        if self.power.is_cancelled() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

impl Files for Disk {
    /// Opens itself in place of a file, and leaves an empty one so that the name exists.
    fn database(&self, path: &Path) -> Result<Database, DatabaseError> {
        fs::File::create(path)?;
        Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(self.file(0))
    }

    fn journal(&self, _path: &Path) -> io::Result<File> {
        Ok(Box::new(self.file(1)))
    }

    fn journal_bytes(&self) -> u64 {
        JOURNAL_BYTES
    }
}

/// One file of a disk.
#[derive(Debug)]
struct OnDisk {
    disk: Disk,
    number: usize,
}

fn put(bytes: &mut Vec<u8>, start: usize, data: &[u8]) {
    let end = start + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[start..end].copy_from_slice(data);
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("the file is small")
}

impl StorageBackend for OnDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.platter().files[self.number].seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.disk.platter();
        let start = index(offset);
        let found = platter.files[self.number].seen.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.powered()?;
        let mut platter = self.disk.platter();
        let len = index(len);
        let file = &mut platter.files[self.number];
        file.unsynced.retain(|(offset, data)| offset + data.len() <= len);
        // Sizes are taken to be durable at once: nobody relies on it either way.
        file.seen.resize(len, 0);
        file.durable.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.powered()?;
        let mut platter = self.disk.platter();
        match &mut platter.ending {
            Some((0, End::PowerLoss)) => {
                self.disk.power.cancel();
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Some((0, End::Error)) => return Err(io::Error::other("the disk is broken")),
            Some((syncs, _)) => *syncs = syncs.saturating_sub(1),
            None => {}
        }
        let file = &mut platter.files[self.number];
        for (offset, data) in file.unsynced.drain(..) {
            put(&mut file.durable, offset, &data);
        }
        platter.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.powered()?;
        let mut platter = self.disk.platter();
        if let Some((0, End::Full)) = platter.ending {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let start = index(offset);
        let file = &mut platter.files[self.number];
        put(&mut file.seen, start, data);
        file.unsynced.push((start, data.to_vec()));
        Ok(())
    }
}
