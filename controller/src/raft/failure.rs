//! Why a member cannot start, and why a running one stopped for good.
//!
//! The first cause wins and is never cleared: after an error of the disk nothing is acknowledged,
//! nothing is tried again, and the process has to end. A restart begins from what is on disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::disk::DiskError;

/// Why a member stopped for good.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fatal {
    /// A write or an fsync failed.
    #[error(
        "writing {} failed, so nothing more is acknowledged (what was, is on disk): \
         check the disk, then start the controller again", path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The file system is full.
    #[error(
        "no space is left for {}, so nothing more is acknowledged (what was, is on disk): \
         free some, then start the controller again", path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A file could not be read, or does not hold what was written.
    #[error("reading {} failed: check the disk, or replace this controller", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What was found.
        source: Arc<io::Error>,
    },
    /// The data directory was emptied or exchanged under a controller that the fleet knows.
    #[error(
        "data directory {} (disk {found}) is new, but the fleet knows controller {id} on disk \
         {known}: put the old directory back, or replace the controller with a new id",
        dir.display()
    )]
    NewDisk {
        /// The directory.
        dir: PathBuf,
        /// Raft id of this controller.
        id: u64,
        /// The disk the fleet knows.
        known: String,
        /// The disk that is here.
        found: String,
    },
    /// The state machine panicked.
    #[error("applying entry {index} of the log failed: {reason}; report this, with the log")]
    Apply {
        /// Index of the entry.
        index: u64,
        /// The panic's message.
        reason: String,
    },
    /// The library stopped by itself.
    #[error("the raft core stopped: {0}")]
    Core(String),
}

impl Fatal {
    /// Classifies an error met while writing `path`.
    pub(super) fn write(path: &Path, source: io::Error) -> Self {
        let (path, source) = (path.to_owned(), Arc::new(source));
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path, source }
            }
            _ => Self::Write { path, source },
        }
    }

    /// Classifies an error met while reading `path`.
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source: Arc::new(source) }
    }
}

/// Why a member could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is impossible.
    #[error("raft configuration is refused: {0}")]
    Config(String),
    /// The data directory is not ours, or not usable.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What is on disk cannot be used.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// The first fatal error of a member, shared by everything that may meet one.
#[derive(Debug, Clone)]
pub(super) struct Failure(Arc<watch::Sender<Option<Fatal>>>);

impl Failure {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Records an error unless another came first.
    pub(super) fn report(&self, fatal: Fatal) {
        self.0.send_if_modified(|seen| {
            let first = seen.is_none();
            if first {
                tracing::error!(cause = %fatal, "the controller stops");
                *seen = Some(fatal);
            }
            first
        });
    }

    /// Records an error and returns it in the form the library passes on.
    pub(super) fn fail(&self, fatal: Fatal) -> io::Error {
        let error = io::Error::other(fatal.to_string());
        self.report(fatal);
        error
    }

    pub(super) fn get(&self) -> Option<Fatal> {
        self.0.borrow().clone()
    }

    /// Waits for the error; for ever, while there is none.
    pub(super) async fn reported(&self) -> Fatal {
        let mut reported = self.0.subscribe();
        let found = reported.wait_for(Option::is_some).await.ok().and_then(|f| f.clone());
        match found {
            Some(fatal) => fatal,
            None => std::future::pending().await,
        }
    }
}

/// Turns any error of the store into the system's own, where there is one.
pub(super) fn io_error(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(source) => source,
        other => io::Error::other(other.to_string()),
    }
}
