//! A disk in memory that can refuse, hold back and forget: what was written but not synced is lost
//! in a crash, or worse, some of it is not.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use redb::{Database, StorageBackend};

/// What is on the disk, and what it does next.
#[derive(Debug, Default)]
struct Platter {
    /// As a running process sees it.
    seen: Vec<u8>,
    /// As of the last sync.
    durable: Vec<u8>,
    /// Written since, in order.
    unsynced: Vec<(u64, Vec<u8>)>,
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
        platter.capacity = Some(platter.seen.len());
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
        let mut bytes = platter.durable.clone();
        for (offset, data) in platter.unsynced.iter().filter(|_| kept()) {
            put(&mut bytes, *offset, data);
        }
        let found = Platter { seen: bytes.clone(), durable: bytes, ..Platter::default() };
        Self(Arc::new((Mutex::new(found), Condvar::new())))
    }

    pub(super) fn open(&self) -> Result<Database, redb::DatabaseError> {
        Database::builder().create_with_backend(self.clone())
    }

    /// Opens itself in place of a file, and leaves an empty one so that the name exists.
    pub(super) fn open_at(&self, path: &Path) -> Result<Database, redb::DatabaseError> {
        File::create(path)?;
        self.open()
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let start = usize::try_from(offset).expect("a small file");
    if bytes.len() < start + data.len() {
        bytes.resize(start + data.len(), 0);
    }
    bytes[start..start + data.len()].copy_from_slice(data);
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.platter();
        let start = usize::try_from(offset).expect("a small file");
        let found = platter.seen.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.platter();
        platter.unsynced.retain(|(offset, data)| offset + data.len() as u64 <= len);
        let len = usize::try_from(len).expect("a small file");
        if platter.capacity.is_some_and(|capacity| len > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // Sizes are taken to be durable at once: the store does not rely on it either way.
        platter.seen.resize(len, 0);
        platter.durable.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.1.wait_while(self.platter(), |p| p.held).expect("no panic");
        match &mut platter.syncs_left {
            Some(0) => return Err(platter.kind.unwrap_or(io::ErrorKind::Other).into()),
            Some(left) => *left -= 1,
            None => {}
        }
        platter.syncs += 1;
        platter.durable = platter.seen.clone();
        platter.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.platter();
        let end = usize::try_from(offset).expect("a small file") + data.len();
        if platter.capacity.is_some_and(|capacity| end > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        put(&mut platter.seen, offset, data);
        platter.unsynced.push((offset, data.to_vec()));
        Ok(())
    }
}
