//! What a simulation needs of a member beyond what a controller does: a disk of its own making, a
//! look at the log as it stands, and elections out of turn. Nothing here runs in a controller.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::storage::RaftLogReader;
use openraft::{EntryPayload, Membership, ServerState};

pub use super::journal::File;
pub use super::place::{Syncing, simulate};
pub use super::store::Files;

use super::config::Config;
use super::failure::StartError;
use super::machine::{Machine, Position};
use super::network::Dial;
use super::node::Raft;
use super::types::{Id, Record};

/// Voters: one set, or two while a change is under way.
pub type Voters = Vec<BTreeSet<u64>>;

/// An entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its identity.
    pub at: Position,
    /// What it says.
    pub content: Content,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: a leader begins with it.
    Blank,
    /// A command.
    Command(Bytes),
    /// Who votes from here on.
    Voters(Voters),
}

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// Whether it believes that it leads.
    pub leads: bool,
    /// Whether its core works.
    pub runs: bool,
    /// Term and candidate of its vote, and whether a quorum granted it.
    pub vote: (u64, u64, bool),
    /// Index of the last entry.
    pub last: Option<u64>,
    /// Last entry known to be committed.
    pub committed: Option<Position>,
    /// Last entry applied.
    pub applied: Option<Position>,
    /// Last entry of the newest snapshot.
    pub snapshot: Option<Position>,
    /// Last entry purged.
    pub purged: Option<Position>,
    /// Who votes, by the newest entry that says so.
    pub voters: Voters,
    /// The other members.
    pub learners: BTreeSet<u64>,
}

fn position(id: Id) -> Position {
    Position { index: id.index, term: id.leader_id.term, leader: id.leader_id.node_id }
}

fn voters(membership: &Membership<u64, Record>) -> Voters {
    membership.get_joint_config().clone()
}

/// Starts a member whose log lies in these files.
pub async fn start<M: Machine>(
    config: Config,
    dial: Arc<dyn Dial>,
    machine: M,
    files: &dyn Files,
) -> Result<Raft<M>, StartError> {
    Raft::start_on(config, dial, machine, files).await
}

impl<M: Machine> Raft<M> {
    /// Looks at what the member says of itself.
    pub fn glance(&self) -> Glance {
        let metrics = self.inner.library.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        Glance {
            leads: metrics.state == ServerState::Leader,
            runs: metrics.running_state.is_ok() && self.inner.failure.get().is_none(),
            vote: (
                metrics.vote.leader_id.term,
                metrics.vote.leader_id.node_id,
                metrics.vote.committed,
            ),
            last: metrics.last_log_index,
            committed: metrics.local_committed.map(position),
            applied: metrics.last_applied.map(position),
            snapshot: metrics.snapshot.map(position),
            purged: metrics.purged.map(position),
            voters: voters(membership),
            learners: membership.learner_ids().collect(),
        }
    }

    /// Reads entries of the log, those that are not purged.
    pub async fn entries(&self, range: std::ops::Range<u64>) -> std::io::Result<Vec<LogEntry>> {
        let entries = self.inner.closer.reader().try_get_log_entries(range).await?;
        let seen = |entry: super::types::Entry| LogEntry {
            at: position(entry.log_id),
            content: match entry.payload {
                EntryPayload::Blank => Content::Blank,
                EntryPayload::Normal(command) => Content::Command(command.0),
                EntryPayload::Membership(membership) => Content::Voters(voters(&membership)),
            },
        };
        Ok(entries.into_iter().map(seen).collect())
    }

    /// Stands for election now, with or without asking first.
    pub async fn elect(&self, pre_vote: bool) {
        // A core that has ended stands for nothing.
        drop(self.inner.library.trigger().elect(pre_vote).await);
    }
}
