//! Raft for whatever is replicated: an openraft group on redb, over gRPC.
//!
//! This is the only module that knows the library; the application is a [`Machine`], the way to
//! other members a [`Dial`], the check of who calls an [`Authorize`]. It knows no fleet state.
//!
//! ```text
//!  propose, read ─▶ Raft ─▶ openraft core ─▶ log_store ─▶ log_writer ─▶ store ═ raft.journal, raft.redb
//!                             │      │                    (one fsync a group)
//!    other members ◀─ network ┘      └─▶ state_machine ─▶ Machine (in memory)
//!    other members ─▶ service            └─▶ snapshot ═ snapshots/ (streamed, hashed, renamed)
//! ```
//!
//! Invariants: a vote or entry is fsynced before it is acknowledged; after the first disk error
//! nothing is acknowledged any more ([`Raft::stopped`] tells, a restart loses nothing); the state is
//! the last durable snapshot plus the log, and only what a snapshot covers is purged; a data
//! directory that was emptied can neither vote nor acknowledge under its old id.

mod config;
mod confirm;
mod disk;
mod failure;
mod journal;
mod log_store;
mod log_writer;
mod machine;
mod members;
mod network;
mod node;
mod place;
mod runtime;
mod service;
pub mod simulation;
mod snapshot;
mod state_machine;
mod status;
mod store;
mod streams;
mod types;

#[cfg(test)]
mod tests;

pub use config::{Config, Profile, Timing, UnknownProfile};
pub use disk::{DiskError, Identity};
pub use failure::{Fatal, StartError};
pub use machine::{Beside, Machine, Position, Row, View};
pub use members::{ChangeError, Group, Standing};
pub use network::{Dial, DialError, Identified, Line, identify, line};
pub use node::{Applied, InitializeError, ProposeError, Raft, ReadError, ReadKind, TransferError};
pub use service::{Authorize, PeerIdentity, Service};
pub use snapshot::ROW_BYTES_MAX;
pub use status::{Leadership, Role, Status, Voter};
pub use types::Member;

pub(crate) use snapshot::any_snapshot;
pub(crate) use types::any_message;

/// Largest command: far above any real one, and small enough to share a message with others.
pub const COMMAND_BYTES_MAX: usize = 1 << 20;

/// Largest message between members: what one read of the log may return, one whole command more,
/// and the same again for what goes around them.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Metadata key under which every call says who speaks to whom.
const ENVELOPE: &str = "raft-envelope-bin";
