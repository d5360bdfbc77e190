//! A disk in memory that can refuse, hold back and forget: what was written but not synced is lost
//! in a crash, or worse, some of it is not.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use redb::{Database, StorageBackend};

use crate::raft::journal;
use crate::raft::store::{Files, Store};

/// Bytes of a journal, few so that it fills up often.
const JOURNAL_BYTES: u64 = 8 << 10;

/// One file.
#[derive(Debug, Default)]
struct Content {
    /// As a running process sees it.
    seen: Vec<u8>,
    /// As of the last sync.
    durable: Vec<u8>,
    /// Written since, in order.
    unsynced: Vec<(u64, Vec<u8>)>,
}

impl Content {
    /// Returns what a power cut leaves of it.
    fn after_crash(&self, kept: &mut impl FnMut() -> bool) -> Self {
        let mut bytes = self.durable.clone();
        for (offset, data) in self.unsynced.iter().filter(|_| kept()) {
            put(&mut bytes, *offset, data);
        }
        Self { seen: bytes.clone(), durable: bytes, unsynced: Vec::new() }
    }
}

/// What is on the disk, and what it does next.
#[derive(Debug, Default)]
struct Platter {
    /// The store and its journal.
    files: [Content; 2],
    syncs: usize,
    held: bool,
    /// Syncs that still succeed.
    syncs_left: Option<usize>,
    /// Size beyond which a write finds no space.
    capacity: Option<usize>,
    /// Sync errors are of this kind.
    kind: Option<io::ErrorKind>,
}

/// A handle on the disk; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct FaultyDisk(Arc<(Mutex<Platter>, Condvar)>);

/// One of its files.
#[derive(Debug)]
struct File {
    disk: FaultyDisk,
    number: usize,
}

impl FaultyDisk {
    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.0.lock().expect("no panic")
    }

    /// Lets syncs wait, or lets them go on.
    pub(super) fn hold(&self, held: bool) {
        self.platter().held = held;
        self.0.1.notify_all();
    }

    /// Lets this many more syncs succeed.
    pub(super) fn fail_after(&self, syncs: usize, kind: io::ErrorKind) {
        let mut platter = self.platter();
        (platter.syncs_left, platter.kind) = (Some(syncs), Some(kind));
    }

    /// Leaves no space beyond what is used.
    pub(super) fn fill(&self) {
        let mut platter = self.platter();
        platter.capacity = platter.files.iter().map(|file| file.seen.len()).max();
    }

    /// Works again from now on.
    pub(super) fn heal(&self) {
        let mut platter = self.platter();
        (platter.syncs_left, platter.kind, platter.capacity) = (None, None, None);
    }

    pub(super) fn syncs(&self) -> usize {
        self.platter().syncs
    }

    /// Returns the disk as found after a power cut: of the unsynced writes only those survive for
    /// which `kept` says so.
    pub(super) fn after_crash(&self, mut kept: impl FnMut() -> bool) -> Self {
        let platter = self.platter();
        let files = [0, 1].map(|number| platter.files[number].after_crash(&mut kept));
        Self(Arc::new((Mutex::new(Platter { files, ..Platter::default() }), Condvar::new())))
    }

    fn file(&self, number: usize) -> File {
        File { disk: self.clone(), number }
    }

    fn open_database(&self) -> Result<Database, redb::DatabaseError> {
        Database::builder().create_with_backend(self.file(0))
    }

    /// Opens what a log lies on.
    pub(super) fn open(&self) -> Store {
        let database = self.open_database().expect("a readable store");
        Store::open(database, Path::new("raft.redb"), self).expect("a readable journal")
    }
}

impl Files for FaultyDisk {
    /// Opens itself in place of a file, and leaves an empty one so that the name exists.
    fn database(&self, path: &Path) -> Result<Database, redb::DatabaseError> {
        fs::File::create(path)?;
        self.open_database()
    }

    fn journal(&self, _path: &Path) -> io::Result<journal::File> {
        Ok(Box::new(self.file(1)))
    }

    fn journal_bytes(&self) -> u64 {
        JOURNAL_BYTES
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let start = usize::try_from(offset).expect("a small file");
    if bytes.len() < start + data.len() {
        bytes.resize(start + data.len(), 0);
    }
    bytes[start..start + data.len()].copy_from_slice(data);
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.platter().files[self.number].seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.disk.platter();
        let start = usize::try_from(offset).expect("a small file");
        let found = platter.files[self.number].seen.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.disk.platter();
        let length = len;
        let len = usize::try_from(len).expect("a small file");
        if platter.capacity.is_some_and(|capacity| len > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // Sizes are taken to be durable at once: the store does not rely on it either way.
        let file = &mut platter.files[self.number];
        file.unsynced.retain(|(offset, data)| offset + data.len() as u64 <= length);
        file.seen.resize(len, 0);
        file.durable.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let waiting = &self.disk.0.1;
        let mut platter = waiting.wait_while(self.disk.platter(), |p| p.held).expect("no panic");
        match &mut platter.syncs_left {
            Some(0) => return Err(platter.kind.unwrap_or(io::ErrorKind::Other).into()),
            Some(left) => *left -= 1,
            None => {}
        }
        platter.syncs += 1;
        let file = &mut platter.files[self.number];
        file.durable = file.seen.clone();
        file.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.disk.platter();
        let end = usize::try_from(offset).expect("a small file") + data.len();
        if platter.capacity.is_some_and(|capacity| end > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = &mut platter.files[self.number];
        put(&mut file.seen, offset, data);
        file.unsynced.push((offset, data.to_vec()));
        Ok(())
    }
}
