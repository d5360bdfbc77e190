//! The journal on disk: what the agent has promised and done, safe over a crash at any moment.
//!
//! The state is a snapshot with the records since folded in. A record is on disk when
//! [`Journal::append`] returns; when it fails nothing more may be written, acknowledged or begun,
//! and the agent ends: a journal that cannot be trusted to remember must not be acted upon.
//! What else has to outlive a crash (who this data directory is, which boot the times in it count
//! from, what to check) lies beside it in the same file. It decides nothing.

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, StorageBackend};
use redb::{TableDefinition, TableError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use trireme_proto::action::Assignment;
use trireme_proto::id::ServiceId;

use crate::plan::{Record, State};

/// Name of the file inside the data directory.
pub const FILE_NAME: &str = "journal.redb";

/// Pages kept in memory, in bytes. The journal is a few pages; the default would be a gigabyte.
const CACHE_BYTES: usize = 256 * 1024;

/// Records after which they are folded into the snapshot: a start reads at most so many.
const RECORDS_MAX: u64 = 512;

/// Format of what is inside; a later one is refused rather than misread.
const FORMAT: u32 = 1;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

/// Tells why the journal cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No space left.
    #[error(
        "disk is full: cannot write {path}; nothing was acknowledged and services keep running: \
         free some space and start the agent again", path = path.display()
    )]
    Full {
        /// The journal.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<redb::Error>,
    },
    /// Another agent holds it.
    #[error(
        "{path} is in use: another trireme-agent runs with this data directory; stop that one \
         first", path = path.display()
    )]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// The disk refused, or the file is no journal.
    #[error("cannot {what} journal {path}", path = path.display())]
    Storage {
        /// What was tried.
        what: &'static str,
        /// The journal.
        path: PathBuf,
        /// What the store said.
        #[source]
        source: Box<redb::Error>,
    },
    /// An entry cannot be understood.
    #[error(
        "{entry} in journal {path} cannot be read: start the version of trireme-agent that wrote \
         it; if that fails too, remove the node (`trictl node remove NODE --reason WHY --confirm \
         NODE`) and join it under a new name",
        path = path.display()
    )]
    Unreadable {
        /// Which entry.
        entry: String,
        /// The journal.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A later version wrote it.
    #[error(
        "journal {path} has format {found}, this version knows up to {FORMAT}: start the newer \
         trireme-agent", path = path.display()
    )]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// What the journal says when it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The folded state.
    pub state: State,
    /// Name of this data directory, given when it was made.
    pub incarnation: String,
    /// Boot in which the agent last ran.
    pub boot_id: Option<String>,
    /// What to check.
    pub assignments: Vec<Assignment>,
    /// Address at which clients reach the node, once a controller has told.
    pub address: Option<String>,
    /// Services that were last seen to serve.
    pub serving: Vec<ServiceId>,
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    database: Database,
    path: PathBuf,
    /// The state as it is on disk.
    state: State,
    /// Number of the next record.
    next: u64,
    /// Number of the oldest record.
    first: u64,
}

impl Journal {
    /// Opens the journal in directory `data`, or makes one with the name `incarnation`.
    pub fn open(data: &Path, incarnation: &str) -> Result<(Self, Recovered), JournalError> {
        let path = data.join(FILE_NAME);
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&path)
            .map_err(|error| failed("open", &path, error.into()))?;
        Self::recover(database, path, incarnation)
    }

    /// Opens a journal on any storage: how simulations crash one.
    pub fn open_on(
        backend: impl StorageBackend,
        incarnation: &str,
    ) -> Result<(Self, Recovered), JournalError> {
        let path = PathBuf::from(FILE_NAME);
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(backend)
            .map_err(|error| failed("open", &path, error.into()))?;
        Self::recover(database, path, incarnation)
    }

    fn recover(
        database: Database,
        path: PathBuf,
        incarnation: &str,
    ) -> Result<(Self, Recovered), JournalError> {
        let mut journal = Self { database, path, state: State::default(), next: 0, first: 0 };
        journal.found(incarnation)?;
        let recovered = journal.read()?;
        Ok((journal, recovered))
    }

    /// Writes the first entries of a new journal; all or none, so a crash in it leaves none.
    fn found(&self, incarnation: &str) -> Result<(), JournalError> {
        let write = || -> Result<Option<u32>, redb::Error> {
            let transaction = self.database.begin_write()?;
            let mut format = None;
            {
                let mut meta = transaction.open_table(META)?;
                transaction.open_table(RECORDS)?;
                if let Some(found) = meta.get("format")? {
                    format = serde_json::from_slice(found.value()).ok();
                } else {
                    meta.insert("format", json(&FORMAT).as_slice())?;
                    meta.insert("incarnation", json(&incarnation).as_slice())?;
                }
            }
            match format {
                Some(_) => transaction.abort()?,
                None => transaction.commit()?,
            }
            Ok(format)
        };
        match write().map_err(|error| failed("write", &self.path, error))? {
            Some(found) if found > FORMAT => {
                Err(JournalError::Newer { path: self.path.clone(), found })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn read(&mut self) -> Result<Recovered, JournalError> {
        let mut records: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut entries: [Option<Vec<u8>>; 6] = Default::default();
        let mut read = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_read()?;
            match transaction.open_table(META) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
                Ok(meta) => {
                    for (entry, name) in entries.iter_mut().zip(ENTRIES) {
                        *entry = meta.get(name)?.map(|value| value.value().to_vec());
                    }
                }
            }
            for entry in transaction.open_table(RECORDS)?.iter()? {
                let (number, value) = entry?;
                records.push((number.value(), value.value().to_vec()));
            }
            Ok(())
        };
        read().map_err(|error| failed("read", &self.path, error))?;
        let [incarnation, boot_id, assignments, address, serving, snapshot] = entries;
        if let Some(snapshot) = snapshot {
            let snapshot: Snapshot = self.parse("snapshot", &snapshot)?;
            (self.state, self.next) = (snapshot.state, snapshot.next);
        }
        self.first = self.next;
        for (number, bytes) in records {
            let record: Record = self.parse(&format!("record {number}"), &bytes)?;
            self.state.apply(&record);
            self.next = number + 1;
        }
        Ok(Recovered {
            state: self.state.clone(),
            incarnation: self.parse("incarnation", &incarnation.unwrap_or_default())?,
            boot_id: boot_id.map(|bytes| self.parse("boot id", &bytes)).transpose()?,
            assignments: assignments
                .map(|bytes| self.parse("assignments", &bytes))
                .transpose()?
                .unwrap_or_default(),
            address: address.map(|bytes| self.parse("address", &bytes)).transpose()?,
            serving: serving
                .map(|bytes| self.parse("serving", &bytes))
                .transpose()?
                .unwrap_or_default(),
        })
    }

    /// Returns the state as it is on disk.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Writes records in order; on disk when this returns, unless each of them may be lost.
    pub fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let lazy = records.iter().all(Record::may_be_lost);
        let durability = if lazy { Durability::None } else { Durability::Immediate };
        let mut state = self.state.clone();
        for record in records {
            state.apply(record);
        }
        let next = self.next + records.len() as u64;
        let fold = next - self.first > RECORDS_MAX;
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(durability)?;
            {
                let mut table = transaction.open_table(RECORDS)?;
                if fold {
                    let snapshot = json(&SnapshotRef { next, state: &state });
                    transaction.open_table(META)?.insert("snapshot", snapshot.as_slice())?;
                    table.retain(|_, _| false)?;
                } else {
                    for (number, record) in (self.next..).zip(records) {
                        table.insert(number, json(record).as_slice())?;
                    }
                }
            }
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| failed("write", &self.path, error))?;
        (self.state, self.next) = (state, next);
        if fold {
            self.first = next;
        }
        Ok(())
    }

    /// Remembers in which boot the agent runs.
    pub fn set_boot_id(&mut self, boot_id: &str) -> Result<(), JournalError> {
        self.set("boot_id", &boot_id)
    }

    /// Remembers what to check, so that it is checked with all controllers gone.
    pub fn set_assignments(&mut self, assignments: &[Assignment]) -> Result<(), JournalError> {
        self.set("assignments", &assignments)
    }

    /// Remembers the node's address, so that services can be started with all controllers gone.
    pub fn set_address(&mut self, address: &str) -> Result<(), JournalError> {
        self.set("address", &address)
    }

    /// Remembers which services serve, so that a restart of the agent is no outage of theirs.
    pub fn set_serving(&mut self, serving: &[ServiceId]) -> Result<(), JournalError> {
        self.set("serving", &serving)
    }

    fn set(&self, name: &str, value: &impl Serialize) -> Result<(), JournalError> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(META)?.insert(name, json(value).as_slice())?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| failed("write", &self.path, error))
    }

    fn parse<T: DeserializeOwned>(&self, entry: &str, bytes: &[u8]) -> Result<T, JournalError> {
        serde_json::from_slice(bytes).map_err(|source| JournalError::Unreadable {
            entry: entry.to_owned(),
            path: self.path.clone(),
            source,
        })
    }
}

/// Entries of the table `meta` besides the format, in the order they are read.
const ENTRIES: [&str; 6] =
    ["incarnation", "boot_id", "assignments", "address", "serving", "snapshot"];

#[derive(serde::Deserialize)]
struct Snapshot {
    next: u64,
    state: State,
}

#[derive(Serialize)]
struct SnapshotRef<'a> {
    next: u64,
    state: &'a State,
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("our values have string keys and no failing parts")
}

/// Tells a full disk and a second agent from all other failures.
fn failed(what: &'static str, path: &Path, error: redb::Error) -> JournalError {
    let path = path.to_owned();
    let full = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    };
    match error {
        redb::Error::DatabaseAlreadyOpen => JournalError::InUse { path },
        redb::Error::Io(ref source) if full(source) => {
            JournalError::Full { path, source: Box::new(error) }
        }
        error => JournalError::Storage { what, path, source: Box::new(error) },
    }
}
