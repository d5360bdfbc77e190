//! What lies under the log: the store, `raft.redb`, and the journal before it.
//!
//! ```text
//!  batch ─▶ one record of raft.journal, fsynced ─▶ acknowledged
//!                    └─ full? ─▶ all of it in one transaction of raft.redb ─▶ the next generation
//! ```
//!
//! A transaction of the store costs several pages and much work; it is worth it for hundreds of
//! batches and not for each. What is read of the store is therefore older than what is durable:
//! whoever reads keeps the rest in memory until [`Kept::Stored`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use redb::{Database, Durability, ReadableDatabase, TableDefinition, WriteTransaction};
use trireme_proto::wire;
use trireme_proto::wire::raft_operation::Operation;

use super::failure::{Fatal, io_error};
use super::journal::{File, JOURNAL_BYTES, Journal};

/// The log: index to encoded entry.
pub(super) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// Single values, by the keys below.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
pub(super) const VOTE: &str = "vote";
pub(super) const COMMITTED: &str = "committed";
pub(super) const PURGED: &str = "purged";
/// Generation of the journal whose records are not in the store.
const GENERATION: &str = "generation";

/// Pages kept by the store; the newest entries are cached apart.
const PAGE_CACHE_BYTES: usize = 4 << 20;

/// How the files of a log are opened; tests put faulty disks here.
pub trait Files: Send + Sync {
    /// Opens the store, or makes it.
    fn database(&self, path: &Path) -> Result<Database, redb::DatabaseError>;

    /// Opens the file of the journal, or makes an empty one.
    fn journal(&self, path: &Path) -> io::Result<File>;

    /// Returns the size of a journal that is made.
    fn journal_bytes(&self) -> u64 {
        JOURNAL_BYTES
    }
}

/// The files of a controller.
#[derive(Debug)]
pub(super) struct System;

impl Files for System {
    fn database(&self, path: &Path) -> Result<Database, redb::DatabaseError> {
        Database::builder().set_cache_size(PAGE_CACHE_BYTES).create(path)
    }

    fn journal(&self, path: &Path) -> io::Result<File> {
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Box::new(redb::backends::FileBackend::new(file).map_err(io_error)?))
    }
}

/// How a batch is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// In the journal; the store does not show it yet.
    Journaled,
    /// In the store, with everything before it.
    Stored,
}

/// The store and its journal.
pub(super) struct Store {
    database: Arc<Database>,
    journal: Journal,
    /// Batches of the journal that are not in the store.
    pending: Vec<wire::RaftBatch>,
    database_path: PathBuf,
    journal_path: PathBuf,
}

impl Store {
    /// Opens the journal of a store, and brings into the store what only the journal has.
    ///
    /// A store that has never had a journal gets one.
    pub(super) fn open(database: Database, path: &Path, files: &dyn Files) -> io::Result<Self> {
        let journal_path = path.with_extension("journal");
        let file = files.journal(&journal_path)?;
        let known = generation(&database)?;
        if known.is_none() {
            Journal::format(&file, files.journal_bytes())?;
        }
        let (journal, records) = Journal::open(file, known.unwrap_or(0))?;
        let decode = |bytes: Vec<u8>| Ok(wire::RaftBatch::decode(Bytes::from(bytes))?);
        let batches = records.into_iter().map(decode).collect::<io::Result<Vec<_>>>()?;
        commit(&database, &batches, journal.generation())?;
        let (database, database_path) = (Arc::new(database), path.to_owned());
        Ok(Self { database, journal, pending: Vec::new(), database_path, journal_path })
    }

    /// Returns the store, to read it.
    pub(super) fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database)
    }

    /// Returns where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.database_path
    }

    /// Makes a batch durable.
    pub(super) fn write(&mut self, batch: wire::RaftBatch) -> Result<Kept, Fatal> {
        let appended = self.journal.append(&batch.encode_to_vec());
        let appended = appended.map_err(|error| Fatal::write(&self.journal_path, error))?;
        self.pending.push(batch);
        if appended {
            return Ok(Kept::Journaled);
        }
        let next = self.journal.generation() + 1;
        commit(&self.database, &self.pending, next)
            .map_err(|error| Fatal::write(&self.database_path, error))?;
        self.pending.clear();
        self.journal.begin(next);
        Ok(Kept::Stored)
    }
}

fn generation(database: &Database) -> io::Result<Option<u64>> {
    let transaction = database.begin_read().map_err(io_error)?;
    let meta = match transaction.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        meta => meta.map_err(io_error)?,
    };
    let found = meta.get(GENERATION).map_err(io_error)?;
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(io::Error::other);
    found.map(|guard| number(guard.value())).transpose()
}

/// Brings batches into the store, in order, and has it remember the generation after them.
fn commit(database: &Database, batches: &[wire::RaftBatch], next: u64) -> io::Result<()> {
    let mut transaction = database.begin_write().map_err(io_error)?;
    transaction.set_durability(Durability::Immediate).map_err(io_error)?;
    fill(&transaction, batches, next)?;
    transaction.commit().map_err(io_error)
}

fn fill(transaction: &WriteTransaction, batches: &[wire::RaftBatch], next: u64) -> io::Result<()> {
    let mut log = transaction.open_table(LOG).map_err(io_error)?;
    let mut meta = transaction.open_table(META).map_err(io_error)?;
    let mut set =
        |key, value: Vec<u8>| meta.insert(key, value.as_slice()).map(drop).map_err(io_error);
    for batch in batches {
        for operation in batch.operations.iter().filter_map(|o| o.operation.as_ref()) {
            match operation {
                Operation::Vote(vote) => set(VOTE, vote.encode_to_vec())?,
                Operation::Entry(entry) => {
                    let index = entry.id.map_or(0, |id| id.index);
                    let mut place =
                        log.insert_reserve(index, entry.encoded_len()).map_err(io_error)?;
                    entry.encode(&mut place.as_mut()).map_err(io::Error::other)?;
                }
                Operation::Truncate(truncation) => {
                    let from = truncation.after.map_or(0, |id| id.index.saturating_add(1));
                    log.retain_in(from.., |_, _| false).map_err(io_error)?;
                }
                Operation::Purge(upto) => {
                    log.retain_in(..=upto.index, |_, _| false).map_err(io_error)?;
                    set(PURGED, upto.encode_to_vec())?;
                }
            }
        }
        if let Some(committed) = &batch.committed {
            set(COMMITTED, committed.encode_to_vec())?;
        }
    }
    set(GENERATION, next.to_be_bytes().to_vec())
}
