//! Lines that a service wrote: the newest, those that match, and those to come.
//!
//! ```text
//!  question ──▶ where do the wanted lines begin? (backwards from the end) ──▶ read on from there
//!                                                          ▲                        │
//!                     the file grew, was cut, was replaced └──── nothing more ◀─────┘
//! ```
//!
//! Units of systemd write to the journal instead of a file (`journal.rs`).
//!
//! Reading is done off the runtime's only thread, a bounded piece at a time, so that whoever asked
//! can leave in between and a heartbeat is never late.

mod journal;
mod open;
mod reader;
pub(super) mod stamp;
mod tail;

pub(crate) use stamp::stamp as any_stamp;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::sleep;
use trireme_proto::id::ServiceId;
use trireme_proto::query::{GrepError, LogPiece, LogsQuestion};

use super::blocking;
use journal::Journal;
use reader::{Reader, State};

/// Time between looks at a file that is followed: a person does not notice it, nor does the host.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// Pieces read at once: the journal and artifacts need threads too.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Tells why lines cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// Nobody declared such a file.
    #[error("service {service} declares no file `{file}` on this node: add it to `logs`")]
    Undeclared {
        /// The service.
        service: ServiceId,
        /// What was asked for.
        file: String,
    },
    /// The file is not there.
    #[error("{path} does not exist", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what it should be.
    #[error("{path} is not read: it {why}", path = path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What it is.
        why: &'static str,
    },
    /// The pattern cannot be searched for.
    #[error(transparent)]
    Grep(#[from] GrepError),
    /// The template of the path cannot be filled in.
    #[error("the path of `{file}` cannot be filled in: {why}")]
    Template {
        /// What was asked for.
        file: String,
        /// Why.
        why: String,
    },
    /// The journal cannot be read.
    #[error("cannot read the journal of unit {unit}: {why}")]
    Journal {
        /// The unit.
        unit: String,
        /// Why.
        why: String,
    },
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Does a piece of reading when it is its turn.
async fn reading<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
    let _turn = TURNS.acquire().await;
    blocking(read).await
}

/// Lines of one source, as they are asked for.
#[derive(Debug)]
pub struct Lines(Source);

#[derive(Debug)]
enum Source {
    File(FileLines),
    Journal(Box<Journal>),
}

impl Lines {
    /// Finds the first wanted line of the file at `path`.
    ///
    /// What was written before the file was last moved aside is looked for in `path.1`.
    pub(super) async fn open(path: PathBuf, question: LogsQuestion) -> Result<Self, LinesError> {
        FileLines::open(path, question).await.map(Source::File).map(Self)
    }

    /// Finds the first wanted line that a unit of systemd wrote.
    pub(super) async fn of_unit(unit: String, question: &LogsQuestion) -> Result<Self, LinesError> {
        let journal = Journal::open(unit, question).await?;
        Ok(Self(Source::Journal(Box::new(journal))))
    }

    /// Returns what comes next, `None` at the end; while following it waits for it.
    pub async fn next(&mut self) -> Result<Option<LogPiece>, LinesError> {
        match &mut self.0 {
            Source::File(lines) => lines.next().await,
            Source::Journal(journal) => journal.next().await,
        }
    }
}

/// Lines of one file.
#[derive(Debug)]
struct FileLines {
    /// `None` once there is nothing more to come.
    reader: Option<Box<Reader>>,
    follow: bool,
    /// Whether it was said that there is nothing more at present.
    idle: bool,
}

impl FileLines {
    async fn open(path: PathBuf, question: LogsQuestion) -> Result<Self, LinesError> {
        let follow = question.follow;
        let reader = reading(move || Reader::open(path, &question)).await?;
        Ok(Self { reader: Some(Box::new(reader)), follow, idle: false })
    }

    async fn next(&mut self) -> Result<Option<LogPiece>, LinesError> {
        loop {
            let Some(mut reader) = self.reader.take() else { return Ok(None) };
            let (reader, read) = reading(move || {
                let read = reader.read();
                (reader, read)
            })
            .await;
            let (mut piece, state) = read?;
            let ended = state == State::Idle && !self.follow;
            if !ended {
                self.reader = Some(reader);
            }
            let idle = state == State::Idle;
            let news = piece.notice.is_some() || !piece.lines.is_empty();
            let first = idle && !std::mem::replace(&mut self.idle, idle);
            if news || first {
                piece.caught_up = idle;
                return Ok(Some(piece));
            }
            if idle && !ended {
                sleep(LOOK_EVERY).await;
            }
        }
    }
}
