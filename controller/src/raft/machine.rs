//! The replicated application as Raft sees it: bytes in, bytes out, and rows for snapshots.
//!
//! Nothing here knows what a command means. State lives in memory; after a restart it is the last
//! snapshot plus the log, so `apply` must give the same result on every member, every time.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

/// Where a committed command stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Index of the entry.
    pub index: u64,
    /// Term in which the entry was proposed.
    pub term: u64,
    /// Raft id of the leader who proposed it.
    pub leader: u64,
}

/// One record of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which part of the state it belongs to.
    pub table: String,
    /// The application's own encoding; at most [`super::ROW_BYTES_MAX`].
    pub value: Bytes,
}

/// A replicated state machine.
pub trait Machine: Send + Sync + 'static {
    /// Applies one committed command. Deterministic and total: a refusal is a reply.
    fn apply(&mut self, at: Position, command: &[u8]) -> Bytes;

    /// Called after each batch of applied entries with the index of the last one.
    fn batch_applied(&mut self, index: u64);

    /// Takes a consistent copy that can be written out while later commands are applied.
    fn view(&self) -> Box<dyn View>;

    /// Returns what it keeps on this disk itself, beside its snapshots; most keep nothing.
    fn beside(&self) -> Option<Arc<dyn Beside>> {
        None
    }

    /// Replaces the whole state with the rows of a snapshot: one of this member, or one that
    /// [`Beside::complete`] of another made whole.
    fn restore(&mut self, rows: &mut dyn Iterator<Item = io::Result<Row>>) -> io::Result<()>;
}

/// A frozen copy of a machine's state.
pub trait View: Send {
    /// Emits every row, in an order that `restore` accepts. When it returns, whatever belongs to
    /// this state and is kept beside the snapshot is on disk: the log up to here may go.
    fn rows(self: Box<Self>, emit: &mut dyn FnMut(Row) -> io::Result<()>) -> io::Result<()>;
}

/// What a machine keeps on disk itself, because it only ever grows: each snapshot would repeat it.
pub trait Beside: Debug + Send + Sync + 'static {
    /// Emits the rows of a snapshot of this member with those that another member lacks.
    fn complete(
        &self,
        rows: &mut dyn Iterator<Item = io::Result<Row>>,
        emit: &mut dyn FnMut(Row) -> io::Result<()>,
    ) -> io::Result<()>;
}
