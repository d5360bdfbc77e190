//! What a member can tell of itself and of the group, as plain values.

use std::time::Duration;

use openraft::{RaftMetrics, ServerState};

use super::types::{Member, Types};

/// The part a member plays now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Proposes; there is one for each term and id.
    Leader,
    /// Follows a leader, or waits for one.
    Follower,
    /// Stands for election.
    Candidate,
    /// Copies the log without a vote, or belongs to no group yet.
    Learner,
    /// Has ended.
    Stopped,
}

/// Who leads, as far as this member knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    /// Its own term.
    pub term: u64,
    /// Raft id of the leader of that term, once elected.
    pub leader: Option<u64>,
}

/// A voting member and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// Who it is.
    pub member: Member,
    /// Highest index known to be on its disk; told by a leader only.
    pub matched: Option<u64>,
}

/// A member's view of itself and the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its Raft id.
    pub id: u64,
    /// Its term.
    pub term: u64,
    /// The part it plays.
    pub role: Role,
    /// The leader, if known.
    pub leader: Option<Member>,
    /// Index of the last entry of its log.
    pub last_log: Option<u64>,
    /// Highest index known to be committed.
    pub committed: Option<u64>,
    /// Highest index applied to the machine.
    pub applied: Option<u64>,
    /// Index covered by its newest snapshot.
    pub snapshot: Option<u64>,
    /// Index up to which the log was purged.
    pub purged: Option<u64>,
    /// The voting members.
    pub voters: Vec<Voter>,
    /// Since a quorum last acknowledged this leader; told by a leader only.
    pub quorum_age: Option<Duration>,
}

impl Status {
    pub(super) fn from_metrics(metrics: &RaftMetrics<Types>) -> Self {
        let index = |id: &Option<super::types::Id>| id.map(|id| id.index);
        let membership = metrics.membership_config.membership();
        let member = |id: u64| membership.get_node(&id).map(|record| record.member(id));
        let matched = |id: u64| match &metrics.replication {
            Some(_) if id == metrics.id => metrics.last_log_index,
            Some(replication) => replication.get(&id).and_then(index),
            None => None,
        };
        let voters = membership.voter_ids();
        Self {
            id: metrics.id,
            term: metrics.current_term,
            role: match metrics.state {
                _ if metrics.running_state.is_err() => Role::Stopped,
                ServerState::Leader => Role::Leader,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Learner => Role::Learner,
                ServerState::Shutdown => Role::Stopped,
            },
            leader: metrics.current_leader.and_then(member),
            last_log: metrics.last_log_index,
            committed: index(&metrics.local_committed),
            applied: index(&metrics.last_applied),
            snapshot: index(&metrics.snapshot),
            purged: index(&metrics.purged),
            voters: voters
                .filter_map(|id| Some(Voter { member: member(id)?, matched: matched(id) }))
                .collect(),
            quorum_age: metrics
                .last_quorum_acked
                .filter(|_| metrics.state == ServerState::Leader)
                .map(|at| openraft::Instant::elapsed(&at.into_inner())),
        }
    }
}
