//! A controller's data directory, tied for ever to one fleet, one Raft id and one random mark.
//!
//! ```text
//! DIR/raft.redb      the log, the vote, and the row that ties the directory
//! DIR/raft.journal   what is not in raft.redb yet
//! DIR/snapshots/     at most two snapshots
//! ```
//!
//! A directory that was emptied would have forgotten its vote and the entries it acknowledged, so
//! it gets another mark, and the others refuse it under the old one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use prost::Message;
use redb::{Database, ReadableDatabase};
use trireme_proto::wire;

use super::config::Config;
use super::failure::io_error;
use super::place;
use super::store::{Files, LOG, META, Store};

/// File of the log, in the data directory.
const LOG_FILE: &str = "raft.redb";
/// Folder of the snapshots.
const SNAPSHOTS: &str = "snapshots";
/// Row that ties the directory.
const IDENTITY: &str = "identity";
/// Whose data a directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The fleet.
    pub fleet: String,
    /// The Raft id.
    pub raft_id: u64,
    /// The controller's name.
    pub name: String,
    /// Random mark, made with the directory.
    pub disk: String,
}

/// Why a data directory is refused.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A file or folder cannot be used.
    #[error("data directory: {} cannot be opened", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("{} is in use: is another controller running on this data directory?", path.display())]
    InUse {
        /// The log.
        path: PathBuf,
    },
    /// The directory is somebody else's.
    #[error(
        "data directory {} belongs to controller {} ({}) of fleet {}, not to {} ({}) of fleet {}: \
         correct data_dir, id or fleet in the configuration",
        dir.display(), found.name, found.raft_id, found.fleet, name, raft_id, fleet
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: Box<Identity>,
        /// The configured fleet.
        fleet: String,
        /// The configured Raft id.
        raft_id: u64,
        /// The configured name.
        name: String,
    },
    /// The log is there, but not the row that says whose it is.
    #[error("{} holds no identity: it was not made by a controller", path.display())]
    Unmarked {
        /// The log.
        path: PathBuf,
    },
    /// The log was removed while the snapshots stayed.
    #[error(
        "{} is missing although {} holds snapshots: restore it, or replace this controller with a \
         new id and an empty directory", path.display(), snapshots.display()
    )]
    LogMissing {
        /// The log.
        path: PathBuf,
        /// The folder.
        snapshots: PathBuf,
    },
}

/// An opened data directory.
pub(super) struct Disk {
    pub identity: Identity,
    pub store: Store,
    pub snapshots: PathBuf,
}

impl Disk {
    /// Opens the directory of `config`, or makes it.
    pub(super) fn open(config: &Config, files: &dyn Files) -> Result<Self, DiskError> {
        let (log, snapshots) = (config.dir.join(LOG_FILE), config.dir.join(SNAPSHOTS));
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| DiskError::Open { path, source }
        };
        fs::create_dir_all(&snapshots).map_err(at(&snapshots))?;
        if !log.try_exists().map_err(at(&log))? {
            let has_snapshot = fs::read_dir(&snapshots).map_err(at(&snapshots))?.any(|item| {
                item.is_ok_and(|file| file.path().extension().is_some_and(|e| e == "snap"))
            });
            if has_snapshot {
                return Err(DiskError::LogMissing { path: log, snapshots });
            }
            make(config, &log, files)?;
            sync_dir(&config.dir).map_err(at(&config.dir))?;
        }
        let database = files.database(&log).map_err(|error| opening(&log, error))?;
        let identity = read_identity(&database)
            .map_err(at(&log))?
            .ok_or_else(|| DiskError::Unmarked { path: log.clone() })?;
        let same = identity.fleet == config.fleet
            && identity.raft_id == config.id
            && identity.name == config.name;
        if !same {
            return Err(DiskError::Foreign {
                dir: config.dir.clone(),
                found: Box::new(identity),
                fleet: config.fleet.clone(),
                raft_id: config.id,
                name: config.name.clone(),
            });
        }
        let store = Store::open(database, &log, files).map_err(at(&log))?;
        sync_dir(&config.dir).map_err(at(&config.dir))?;
        Ok(Self { identity, store, snapshots })
    }
}

/// Makes the log under another name and renames it, so that a crash leaves all of it or nothing.
fn make(config: &Config, log: &Path, files: &dyn Files) -> Result<(), DiskError> {
    let draft = log.with_extension("new");
    let at = |source| DiskError::Open { path: draft.clone(), source };
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(error)),
        _ => {}
    }
    let database = files.database(&draft).map_err(|error| opening(&draft, error))?;
    write_identity(&database, config).map_err(at)?;
    drop(database);
    fs::rename(&draft, log).map_err(at)
}

fn write_identity(database: &Database, config: &Config) -> io::Result<()> {
    let row = wire::RaftIdentity {
        fleet: config.fleet.clone(),
        raft_id: config.id,
        name: config.name.clone(),
        disk: format!("{:016x}{:016x}", place::random(), place::random()),
    };
    let transaction = database.begin_write().map_err(io_error)?;
    {
        transaction.open_table(LOG).map_err(io_error)?;
        let mut meta = transaction.open_table(META).map_err(io_error)?;
        meta.insert(IDENTITY, row.encode_to_vec().as_slice()).map_err(io_error)?;
    }
    transaction.commit().map_err(io_error)
}

fn read_identity(database: &Database) -> io::Result<Option<Identity>> {
    let transaction = database.begin_read().map_err(io_error)?;
    let meta = match transaction.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        meta => meta.map_err(io_error)?,
    };
    let Some(row) = meta.get(IDENTITY).map_err(io_error)? else { return Ok(None) };
    let wire::RaftIdentity { fleet, raft_id, name, disk } =
        wire::RaftIdentity::decode(row.value())?;
    Ok(Some(Identity { fleet, raft_id, name, disk }))
}

fn opening(path: &Path, error: redb::DatabaseError) -> DiskError {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => DiskError::InUse { path: path.to_owned() },
        other => DiskError::Open { path: path.to_owned(), source: io_error(other) },
    }
}

/// Makes renames and removals in a folder durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
