//! A disk in memory that knows which writes were synced: it forgets and tears the others when the
//! power is cut, it fails when told to, and it can be full.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// What a disk writes at once; a torn write ends at such a border.
const SECTOR: usize = 512;

/// A disk; clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct Platter(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What is there after the power was cut.
    synced: Vec<u8>,
    /// Writes since the last sync, in order.
    unsynced: Vec<(usize, Vec<u8>)>,
    full: bool,
    /// Writes and syncs that still succeed; then none does.
    left: Option<u64>,
}

impl Inside {
    fn may_write(&mut self) -> io::Result<()> {
        match &mut self.left {
            None => Ok(()),
            Some(0) => Err(io::Error::other("input/output error")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl Platter {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether it is full.
    pub fn limit(&self, full: bool) {
        self.inside().full = full;
    }

    /// Has every write fail after the next `left` ones.
    pub fn fail_after(&self, left: u64) {
        self.inside().left = Some(left);
    }

    /// Has writes succeed again.
    pub fn mend(&self) {
        self.inside().left = None;
    }

    /// Returns the disk as the next process finds it: without power, of the unsynced sectors those
    /// that `lucky` picks have arrived; with it, all of them.
    #[must_use]
    pub fn after_crash(&self, power: bool, mut lucky: impl FnMut() -> bool) -> Self {
        let inside = self.inside();
        let mut bytes = inside.synced.clone();
        for (at, data) in &inside.unsynced {
            for (index, sector) in data.chunks(SECTOR).enumerate() {
                if !power || lucky() {
                    let from = at + index * SECTOR;
                    bytes.resize(bytes.len().max(from + sector.len()), 0);
                    bytes[from..from + sector.len()].copy_from_slice(sector);
                }
            }
        }
        // The length is metadata, which file systems journal by themselves.
        bytes.resize(bytes.len().max(inside.seen.len()), 0);
        let inside = Inside { seen: bytes.clone(), synced: bytes, ..Inside::default() };
        Self(Arc::new(Mutex::new(inside)))
    }
}

/// Returns a place in memory for one on disk.
fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inside().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = place(offset)?;
        out.copy_from_slice(&self.inside().seen[from..from + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (len, mut inside) = (place(len)?, self.inside());
        inside.may_write()?;
        if inside.full && len > inside.seen.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inside.seen.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inside = self.inside();
        inside.may_write()?;
        let Inside { seen, synced, unsynced, .. } = &mut *inside;
        synced.resize(seen.len(), 0);
        for (at, data) in unsynced.drain(..) {
            // A file cut shorter since then has no place for it.
            let end = (at + data.len()).min(synced.len());
            if at < end {
                synced[at..end].copy_from_slice(&data[..end - at]);
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (from, mut inside) = (place(offset)?, self.inside());
        inside.may_write()?;
        if inside.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inside.seen[from..from + data.len()].copy_from_slice(data);
        inside.unsynced.push((from, data.to_vec()));
        Ok(())
    }
}
