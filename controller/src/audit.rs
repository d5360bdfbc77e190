//! The audit log on disk: one row for each applied command, in the order of the chain.
//!
//! Rows follow from the Raft log, so they need no fsync of their own: after a crash the log is
//! applied again from the last snapshot and writes the same rows. Only a snapshot, after which the
//! log may go, has them fsynced before. It does not carry them: they only grow. One that is sent to
//! another controller does.
//!
//! For the same reason rows may wait in memory until some hundred of them share one transaction:
//! one for each batch of commands cost as much as applying them. Whoever reads has them written
//! first, so nobody sees less than what was applied.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable as _,
    ReadableTableMetadata as _, TableDefinition,
};
use trireme_proto::audit::{Checkpoint, Filter};
use trireme_proto::view::AuditEntry;

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");
const CHECKPOINTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("checkpoints");

/// Checkpoints that are kept here; at one a minute a week of them. About 20 MB.
const CHECKPOINTS_MAX: u64 = 10_000;

/// Entries that one search looks at; the next one goes on from there.
const SEARCH_MAX: usize = 200_000;

/// Memory that the database may use for pages; the log is written once and read rarely.
const CACHE_BYTES: usize = 2 << 20;

/// Most entries that one read returns.
pub const PAGE_MAX: usize = 1000;

/// Rows that wait in memory for a transaction they share. About 200 KB.
const WAITING: usize = 256;

/// Rows that may wait while others are fsynced, which takes as long as the disk likes; who has more
/// waits for it. About 13 MB.
const WAITING_MAX: usize = 16 << 10;

/// Tells why the audit log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The database refuses.
    #[error("audit log cannot be used")]
    Database(#[source] Box<redb::Error>),
    /// A row is not an entry.
    #[error("audit row {seq} is damaged")]
    Row {
        /// Number of the row.
        seq: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Rows that a snapshot counts on are not there.
    #[error(
        "audit log ends at entry {found}, but the snapshot was taken after entry {wanted}: put \
         audit.redb back as it was, or replace this controller"
    )]
    Short {
        /// Number of its last row.
        found: u64,
        /// Number of the last that was applied.
        wanted: u64,
    },
}

impl<E: Into<redb::Error>> From<E> for AuditError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// The audit log of one controller.
#[derive(Debug)]
pub struct AuditLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    database: Database,
    waiting: Mutex<Waiting>,
    /// Tells that an fsync has ended.
    synced: Condvar,
}

/// Rows that are not in the database yet; held while they are written, so that a reader who comes
/// meanwhile finds them there.
#[derive(Debug, Default)]
struct Waiting {
    rows: Vec<(u64, Vec<u8>)>,
    /// Whether somebody has the database to himself for as long as an fsync takes.
    syncing: bool,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A panic while rows are written leaves them waiting, to be written again alike.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all rows that wait, once nobody has the database to himself.
    fn write<'s>(
        &'s self,
        waiting: MutexGuard<'s, Waiting>,
    ) -> Result<MutexGuard<'s, Waiting>, AuditError> {
        let mut waiting = self
            .synced
            .wait_while(waiting, |waiting| waiting.syncing)
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.rows.is_empty() {
            return Ok(waiting);
        }
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::None)?;
        {
            let mut table = write.open_table(ENTRIES)?;
            for (seq, row) in &waiting.rows {
                table.insert(seq, row.as_slice())?;
            }
        }
        write.commit()?;
        waiting.rows.clear();
        Ok(waiting)
    }
}

impl AuditLog {
    /// Opens the log, making it if it does not exist.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let write = database.begin_write()?;
        write.open_table(ENTRIES)?;
        write.open_table(CHECKPOINTS)?;
        write.commit()?;
        let (waiting, synced) = (Mutex::default(), Condvar::new());
        Ok(Self { shared: Arc::new(Shared { database, waiting, synced }) })
    }

    /// Adds an entry; it is written with a later [`flush`](Self::flush), or when somebody reads.
    pub fn push(&mut self, entry: &AuditEntry) {
        // Room for most entries, so that it need not grow.
        let mut row = Vec::with_capacity(512);
        serde_json::to_writer(&mut row, entry).expect("an entry is plain strings and numbers");
        self.shared.waiting().rows.push((entry.seq, row));
    }

    /// Writes what was added, once it is enough for a transaction.
    pub fn flush(&mut self) -> Result<(), AuditError> {
        let waiting = self.shared.waiting();
        let enough = if waiting.syncing { WAITING_MAX } else { WAITING };
        if waiting.rows.len() >= enough {
            drop(self.shared.write(waiting)?);
        }
        Ok(())
    }

    /// Returns a reader that sees the log as it is now.
    pub fn reader(&self) -> AuditReader {
        AuditReader { shared: Arc::clone(&self.shared) }
    }

    /// Replaces all rows, as a snapshot brings them.
    pub fn restore(
        &mut self,
        rows: impl Iterator<Item = std::io::Result<(u64, Vec<u8>)>>,
    ) -> Result<(), AuditError> {
        self.shared.waiting().rows.clear();
        let write = self.shared.database.begin_write()?;
        write.delete_table(ENTRIES)?;
        {
            let mut table = write.open_table(ENTRIES)?;
            for row in rows {
                let (seq, row) = row.map_err(redb::StorageError::Io)?;
                table.insert(seq, row.as_slice())?;
            }
        }
        write.commit()?;
        Ok(())
    }
}

/// Reads the audit log beside the one who writes it.
#[derive(Debug, Clone)]
pub struct AuditReader {
    shared: Arc<Shared>,
}

impl AuditReader {
    /// Begins to read all that was applied.
    fn begin(&self) -> Result<ReadTransaction, AuditError> {
        let _waiting = self.shared.write(self.shared.waiting())?;
        Ok(self.shared.database.begin_read()?)
    }

    /// Has all that was applied on disk.
    pub fn sync(&self) -> Result<(), AuditError> {
        let mut waiting = self.shared.write(self.shared.waiting())?;
        waiting.syncing = true;
        drop(waiting);
        // Whoever applies goes on: only the database is held, and rows may wait.
        let synced = self.commit();
        self.shared.waiting().syncing = false;
        self.shared.synced.notify_all();
        synced
    }

    /// Commits nothing of its own, and with it, on disk, everything that was committed in memory.
    fn commit(&self) -> Result<(), AuditError> {
        Ok(self.shared.database.begin_write()?.commit()?)
    }

    /// Fails unless there are rows up to number `wanted`.
    pub fn reaches(&self, wanted: u64) -> Result<(), AuditError> {
        let last = self.begin()?.open_table(ENTRIES)?.last()?.map(|(seq, _)| seq.value());
        let found = last.unwrap_or(0);
        if found < wanted { Err(AuditError::Short { found, wanted }) } else { Ok(()) }
    }

    /// Returns up to `limit` entries from number `from` up to number `last`.
    pub fn page(&self, from: u64, last: u64, limit: usize) -> Result<Vec<AuditEntry>, AuditError> {
        let mut entries = Vec::new();
        if from > last {
            return Ok(entries);
        }
        let read = self.begin()?;
        let table = read.open_table(ENTRIES)?;
        for row in table.range(from..=last)?.take(limit.min(PAGE_MAX)) {
            let (seq, row) = row?;
            let entry = serde_json::from_slice(row.value())
                .map_err(|source| AuditError::Row { seq: seq.value(), source })?;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Returns up to `limit` of the newest entries from `from` to `last` that fit, oldest first.
    pub fn search(
        &self,
        from: u64,
        last: u64,
        limit: usize,
        filter: &Filter,
    ) -> Result<Vec<AuditEntry>, AuditError> {
        let mut found = Vec::new();
        if from > last {
            return Ok(found);
        }
        let read = self.begin()?;
        let table = read.open_table(ENTRIES)?;
        for row in table.range(from..=last)?.rev().take(SEARCH_MAX) {
            let (seq, row) = row?;
            let entry: AuditEntry = serde_json::from_slice(row.value())
                .map_err(|source| AuditError::Row { seq: seq.value(), source })?;
            if filter.fits(&entry) {
                found.push(entry);
            }
            if found.len() >= limit.min(PAGE_MAX) {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }

    /// Keeps a checkpoint on disk, and forgets the oldest of too many.
    pub fn keep(&self, checkpoint: &Checkpoint) -> Result<(), AuditError> {
        let mut waiting = self.shared.write(self.shared.waiting())?;
        waiting.syncing = true;
        drop(waiting);
        let kept = self.insert(checkpoint);
        self.shared.waiting().syncing = false;
        self.shared.synced.notify_all();
        kept
    }

    fn insert(&self, checkpoint: &Checkpoint) -> Result<(), AuditError> {
        let row = serde_json::to_vec(checkpoint).expect("plain strings and numbers");
        let write = self.shared.database.begin_write()?;
        {
            let mut table = write.open_table(CHECKPOINTS)?;
            table.insert(checkpoint.size, row.as_slice())?;
            if table.len()? > CHECKPOINTS_MAX {
                table.pop_first()?;
            }
        }
        Ok(write.commit()?)
    }

    /// Returns the newest checkpoints of audits longer than `after`, oldest first.
    pub fn checkpoints(&self, after: u64) -> Result<Vec<Checkpoint>, AuditError> {
        let read = self.begin()?;
        let mut found = Vec::new();
        for row in
            read.open_table(CHECKPOINTS)?.range(after.saturating_add(1)..)?.rev().take(PAGE_MAX)
        {
            let (size, row) = row?;
            let checkpoint = serde_json::from_slice(row.value())
                .map_err(|source| AuditError::Row { seq: size.value(), source })?;
            found.push(checkpoint);
        }
        found.reverse();
        Ok(found)
    }

    /// Hands every row up to `last` to `emit`, raw.
    pub fn rows(
        &self,
        last: u64,
        emit: &mut dyn FnMut(u64, &[u8]) -> std::io::Result<()>,
    ) -> Result<(), AuditError> {
        let read = self.begin()?;
        let table = read.open_table(ENTRIES)?;
        for row in table.range(..=last)? {
            let (seq, row) = row?;
            emit(seq.value(), row.value()).map_err(redb::StorageError::Io)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use trireme_proto::time::WallTime;

    use super::*;

    fn entry(seq: u64) -> AuditEntry {
        AuditEntry {
            seq,
            index: seq,
            time: WallTime(seq),
            actor: "user/ann".to_owned(),
            role: "admin".to_owned(),
            action: "note.set".to_owned(),
            target: "node/aws-1".to_owned(),
            result: "done".to_owned(),
            reason: String::new(),
            source: "127.0.0.1:1".to_owned(),
            request_id: String::new(),
            previous: String::new(),
            hash: String::new(),
        }
    }

    #[test]
    fn who_reads_sees_what_was_not_written_yet() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(&dir.path().join("audit.redb")).unwrap();
        let reader = log.reader();
        let mut last = 0;
        // Less than a transaction, exactly one, and some more.
        for count in [3, WAITING as u64, WAITING as u64 + 7] {
            for _ in 0..count {
                last += 1;
                log.push(&entry(last));
                log.flush().unwrap();
            }
            assert!(log.shared.waiting().rows.len() < WAITING);
            let page = reader.page(last - 2, last, 10).unwrap();
            assert_eq!(page.iter().map(|e| e.seq).collect::<Vec<_>>(), [last - 2, last - 1, last]);
        }
        let mut seen = 0;
        let counting = &mut |seq, _: &[u8]| {
            seen += 1;
            assert_eq!(seq, seen);
            Ok(())
        };
        reader.rows(last, counting).unwrap();
        assert_eq!(seen, last, "no row is missing, none is there twice");
    }

    #[test]
    fn a_snapshot_replaces_what_waits_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(&dir.path().join("audit.redb")).unwrap();
        log.push(&entry(1));
        log.push(&entry(2));
        let row = serde_json::to_vec(&entry(1)).unwrap();
        log.restore(std::iter::once(Ok((1, row)))).unwrap();
        assert_eq!(log.reader().page(1, 9, 10).unwrap(), [entry(1)]);
    }
}
