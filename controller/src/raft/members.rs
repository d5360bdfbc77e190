//! Who belongs to the group and how far each has come, and the ways to change that.
//!
//! ```text
//!  admit ──▶ copies the log ──▶ vote_in ──▶ votes ──▶ vote_in ──▶ copies on ──▶ dismiss
//! ```
//!
//! One step at a time, each on the group that was seen before it: after another change in between,
//! nothing happens. Voters are exchanged in one joint change, which whoever leads can finish; one
//! who votes no more copies on, so that it hears of that, until it is dismissed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::Precondition;
use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;

use super::failure::Fatal;
use super::machine::Machine;
use super::node::{Library, Raft, hint, leader};
use super::types::{Id, Member, Record, Types};

/// Longest wait for one step: two entries committed by a quorum, after a change of leader too.
const STEP_LIMIT: Duration = Duration::from_secs(10);

/// A member and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Who it is.
    pub member: Member,
    /// Whether it votes now.
    pub votes: bool,
    /// Whether it votes once the change under way is finished.
    pub will_vote: bool,
    /// Highest index known to be on its disk; told by a leader only.
    pub matched: Option<u64>,
    /// Since it last answered; told by a leader only.
    pub heard: Option<Duration>,
}

/// The group, as one member knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Whether no change is under way: one set of voters, and it is committed.
    pub settled: bool,
    /// Index of the last entry of this member's log.
    pub last: Option<u64>,
    /// Its members, in the order of their ids.
    pub members: Vec<Standing>,
    /// The entry that says so.
    at: Option<Id>,
}

/// Why members were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Only the leader can, as long as it votes itself.
    #[error("this controller does not lead{}", hint(leader.as_ref()))]
    NotLeader {
        /// The leader, if known.
        leader: Option<Member>,
    },
    /// The library refuses: another change came first, or is under way.
    #[error("members were not changed: {0}")]
    Refused(String),
    /// It may have happened or happen yet: look at the group.
    #[error("it is not known whether members were changed")]
    Unknown,
    /// This controller has stopped.
    #[error(transparent)]
    Stopped(#[from] Fatal),
}

impl Group {
    fn of(metrics: &RaftMetrics<Types>) -> Self {
        let config = &metrics.membership_config;
        let membership = config.membership();
        let sets = membership.get_joint_config();
        let leads = metrics.state == ServerState::Leader;
        let standing = |(id, record): (&u64, &Record)| {
            let own = leads && *id == metrics.id;
            let heard = metrics.heartbeat.as_ref().and_then(|beats| beats.get(id)?.as_ref());
            let matched = metrics.replication.as_ref().and_then(|known| known.get(id)?.as_ref());
            Standing {
                member: record.member(*id),
                votes: sets.iter().any(|set| set.contains(id)),
                will_vote: sets.last().is_some_and(|set| set.contains(id)),
                matched: if own { metrics.last_log_index } else { matched.map(|at| at.index) },
                heard: if own {
                    Some(Duration::ZERO)
                } else {
                    heard.map(|at| openraft::Instant::elapsed(&**at))
                },
            }
        };
        let committed = metrics.committed_membership_config.log_id() == config.log_id();
        Self {
            settled: sets.len() == 1 && committed,
            last: metrics.last_log_index,
            members: membership.nodes().map(standing).collect(),
            at: *config.log_id(),
        }
    }

    /// Returns the ids of those who vote once the change under way is finished.
    pub fn voters(&self) -> BTreeSet<u64> {
        self.members.iter().filter(|one| one.will_vote).map(|one| one.member.id).collect()
    }
}

impl<M: Machine> Raft<M> {
    /// Returns the group as this member knows it.
    pub fn group(&self) -> Group {
        // Copied at once: holding the borrow blocks the core.
        let metrics = self.inner.library.metrics().borrow_watched().clone();
        Group::of(&metrics)
    }

    /// Tells who belongs to the group, whenever that changes; nobody before there is one.
    pub fn watch_members(&self) -> watch::Receiver<Vec<Member>> {
        self.inner.members.clone()
    }

    /// Returns whether this member belongs to a group.
    pub async fn is_initialized(&self) -> Result<bool, Fatal> {
        self.inner.library.is_initialized().await.map_err(|error| self.fatal(&error))
    }

    /// On the leader, lets a newcomer copy the log; it does not vote.
    pub async fn admit(&self, member: Member, seen: &Group) -> Result<(), ChangeError> {
        let (id, record) = member.into();
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(id, record)])), seen).await
    }

    /// On the leader, makes these members the voters; the others copy on.
    pub async fn vote_in(&self, ids: BTreeSet<u64>, seen: &Group) -> Result<(), ChangeError> {
        self.change(ChangeMembers::ReplaceAllVoters(ids), seen).await
    }

    /// On the leader, sends a member away that does not vote.
    pub async fn dismiss(&self, id: u64, seen: &Group) -> Result<(), ChangeError> {
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id])), seen).await
    }

    async fn change(
        &self,
        changes: ChangeMembers<u64, Record>,
        seen: &Group,
    ) -> Result<(), ChangeError> {
        // A leader that was voted out goes on for a while; the library must not be asked for
        // another change then, and asserts that it is not.
        let id = self.inner.identity.raft_id;
        let group = self.group();
        if !group.members.iter().any(|one| one.member.id == id && one.votes && one.will_vote) {
            return Err(ChangeError::NotLeader { leader: None });
        }
        let seen = Precondition::LastMembershipLogId { last_membership_log_id: seen.at };
        let changing = self.inner.library.change_membership_if(changes, true, [seen]);
        match tokio::time::timeout(STEP_LIMIT, changing).await {
            Err(_) => Err(ChangeError::Unknown),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::Fatal(fatal))) => Err(self.fatal(&fatal).into()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                Err(ChangeError::NotLeader { leader: leader(to) })
            }
            Ok(Err(RaftError::APIError(other))) => Err(ChangeError::Refused(other.to_string())),
        }
    }
}

/// Passes on each change of members until the core ends.
pub(super) async fn follow<M: Machine>(library: Library<M>, out: watch::Sender<Vec<Member>>) {
    // These change with leadership and members alone, so that nobody is woken for every entry.
    let mut metrics = library.server_metrics();
    loop {
        let now: Vec<Member> = {
            let metrics = metrics.borrow_and_update();
            let nodes = metrics.membership_config.membership().nodes();
            nodes.map(|(id, record)| record.member(*id)).collect()
        };
        out.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        if metrics.changed().await.is_err() {
            return;
        }
    }
}
