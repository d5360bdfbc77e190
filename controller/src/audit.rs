//! The audit log on disk: one row for each applied command, in the order of the chain.
//!
//! Rows follow from the Raft log, so they need no fsync of their own: after a crash the log is
//! applied again from the last snapshot and writes the same rows. A snapshot carries them whole.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use trireme_proto::view::AuditEntry;

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");

/// Memory that the database may use for pages; the log is written once and read rarely.
const CACHE_BYTES: usize = 2 << 20;

/// Most entries that one read returns.
pub const PAGE_MAX: usize = 1000;

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
}

impl<E: Into<redb::Error>> From<E> for AuditError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// The audit log of one controller.
#[derive(Debug)]
pub struct AuditLog {
    database: std::sync::Arc<Database>,
    /// Entries applied since the last write.
    pending: Vec<(u64, Vec<u8>)>,
}

impl AuditLog {
    /// Opens the log, making it if it does not exist.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let write = database.begin_write()?;
        write.open_table(ENTRIES)?;
        write.commit()?;
        Ok(Self { database: std::sync::Arc::new(database), pending: Vec::new() })
    }

    /// Adds an entry; it is written with the next [`flush`](Self::flush).
    pub fn push(&mut self, entry: &AuditEntry) {
        let row = serde_json::to_vec(entry).expect("an entry is plain strings and numbers");
        self.pending.push((entry.seq, row));
    }

    /// Writes what was added.
    pub fn flush(&mut self) -> Result<(), AuditError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::None)?;
        {
            let mut table = write.open_table(ENTRIES)?;
            for (seq, row) in self.pending.drain(..) {
                table.insert(seq, row.as_slice())?;
            }
        }
        write.commit()?;
        Ok(())
    }

    /// Returns a reader that sees the log as it is now.
    pub fn reader(&self) -> AuditReader {
        AuditReader { database: std::sync::Arc::clone(&self.database) }
    }

    /// Replaces all rows, as a snapshot brings them.
    pub fn restore(
        &mut self,
        rows: impl Iterator<Item = std::io::Result<(u64, Vec<u8>)>>,
    ) -> Result<(), AuditError> {
        self.pending.clear();
        let write = self.database.begin_write()?;
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
    database: std::sync::Arc<Database>,
}

impl AuditReader {
    /// Returns up to `limit` entries from number `from` up to number `last`.
    pub fn page(&self, from: u64, last: u64, limit: usize) -> Result<Vec<AuditEntry>, AuditError> {
        let mut entries = Vec::new();
        if from > last {
            return Ok(entries);
        }
        let read = self.database.begin_read()?;
        let table = read.open_table(ENTRIES)?;
        for row in table.range(from..=last)?.take(limit.min(PAGE_MAX)) {
            let (seq, row) = row?;
            let entry = serde_json::from_slice(row.value())
                .map_err(|source| AuditError::Row { seq: seq.value(), source })?;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Hands every row up to `last` to `emit`, raw.
    pub fn rows(
        &self,
        last: u64,
        emit: &mut dyn FnMut(u64, &[u8]) -> std::io::Result<()>,
    ) -> Result<(), AuditError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(ENTRIES)?;
        for row in table.range(..=last)? {
            let (seq, row) = row?;
            emit(seq.value(), row.value()).map_err(redb::StorageError::Io)?;
        }
        Ok(())
    }
}
