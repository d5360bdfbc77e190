//! The types that the Raft library is instantiated with, and their form on the wire and on disk.
//!
//! The library's own serialisation is not even compiled in: everything that leaves memory is a
//! message of `raft.proto`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use openraft::type_config::alias as of;
use openraft::{EntryPayload, LogId, Membership, SnapshotMeta, StoredMembership};
use trireme_proto::wire;

use super::runtime::Runtime;

openraft::declare_raft_types!(
    /// The library, as this crate uses it.
    pub(super) Types:
        D = Command,
        R = Bytes,
        NodeId = u64,
        Node = Record,
        AsyncRuntime = Runtime
);

pub(super) type Vote = of::VoteOf<Types>;
pub(super) type LeaderId = of::LeaderIdOf<Types>;
pub(super) type Id = of::LogIdOf<Types>;
pub(super) type Entry = of::EntryOf<Types>;
pub(super) type Meta = of::SnapshotMetaOf<Types>;
pub(super) type Stored = of::StoredMembershipOf<Types>;
pub(super) type AppendRequest = AppendEntriesRequest<Types>;
pub(super) type AppendResult = StreamAppendResult<Types>;

/// A command as bytes; its meaning is the machine's.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Command(pub Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A member of the group, as recorded in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Raft id, bound to one data directory for ever.
    pub id: u64,
    /// Name of the controller, as in its certificate.
    pub name: String,
    /// Region it runs in.
    pub region: String,
    /// `host:port` of its listener for other controllers.
    pub addr: String,
    /// `host:port` of its listener for agents and operators.
    pub api: String,
    /// Mark of its data directory.
    pub disk: String,
}

/// What the log records of a member besides its id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Record {
    pub name: String,
    pub region: String,
    pub addr: String,
    pub api: String,
    pub disk: String,
}

impl Record {
    pub(super) fn member(&self, id: u64) -> Member {
        let Self { name, region, addr, api, disk } = self.clone();
        Member { id, name, region, addr, api, disk }
    }
}

impl From<Member> for (u64, Record) {
    fn from(member: Member) -> Self {
        let Member { id, name, region, addr, api, disk } = member;
        (id, Record { name, region, addr, api, disk })
    }
}

/// Tells which part of a message is missing or impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("raft message is malformed: {0}")]
pub(super) struct Malformed(pub &'static str);

pub(super) fn vote_to_wire(vote: &Vote) -> wire::RaftVote {
    wire::RaftVote {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(super) fn vote_from_wire(vote: Option<wire::RaftVote>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or(Malformed("vote"))?;
    let leader_id = LeaderId { term: vote.term, node_id: vote.node };
    Ok(Vote { leader_id, committed: vote.committed })
}

pub(super) fn id_to_wire(id: &Id) -> wire::RaftLogId {
    wire::RaftLogId { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

pub(super) fn id_from_wire(id: wire::RaftLogId) -> Id {
    LogId { leader_id: LeaderId { term: id.term, node_id: id.leader }, index: id.index }
}

pub(super) fn membership_to_wire(membership: &Membership<u64, Record>) -> wire::RaftMembership {
    let voters = |ids: &BTreeSet<u64>| wire::RaftVoters { ids: ids.iter().copied().collect() };
    let member = |(id, record): (&u64, &Record)| {
        let Record { name, region, addr, api, disk } = record.clone();
        wire::RaftMember { id: *id, name, region, addr, api, disk }
    };
    wire::RaftMembership {
        configs: membership.get_joint_config().iter().map(voters).collect(),
        members: membership.nodes().map(member).collect(),
    }
}

pub(super) fn membership_from_wire(
    membership: wire::RaftMembership,
) -> Result<Membership<u64, Record>, Malformed> {
    let configs = membership.configs.into_iter().map(|c| c.ids.into_iter().collect()).collect();
    let member = |m: wire::RaftMember| {
        let wire::RaftMember { id, name, region, addr, api, disk } = m;
        (id, Record { name, region, addr, api, disk })
    };
    let members: BTreeMap<u64, Record> = membership.members.into_iter().map(member).collect();
    Membership::new(configs, members).map_err(|_| Malformed("membership"))
}

pub(super) fn entry_to_wire(entry: &Entry) -> wire::RaftEntry {
    use wire::raft_entry::Payload;
    let payload = match &entry.payload {
        EntryPayload::Blank => None,
        EntryPayload::Normal(command) => Some(Payload::Command(command.0.clone())),
        EntryPayload::Membership(m) => Some(Payload::Membership(membership_to_wire(m))),
    };
    wire::RaftEntry { id: Some(id_to_wire(&entry.log_id)), payload }
}

pub(super) fn entry_from_wire(entry: wire::RaftEntry) -> Result<Entry, Malformed> {
    use wire::raft_entry::Payload;
    let log_id = id_from_wire(entry.id.ok_or(Malformed("entry id"))?);
    let payload = match entry.payload {
        None => EntryPayload::Blank,
        Some(Payload::Command(command)) => EntryPayload::Normal(Command(command)),
        Some(Payload::Membership(m)) => EntryPayload::Membership(membership_from_wire(m)?),
    };
    Ok(Entry { log_id, payload })
}

/// Returns about how many bytes an entry takes in memory and in a message.
pub(super) fn entry_size(entry: &Entry) -> usize {
    /// Ids, lengths and the bookkeeping around them.
    const ENTRY_OVERHEAD: usize = 96;
    /// A member's names, addresses and disk.
    const MEMBER_SIZE: usize = 256;
    ENTRY_OVERHEAD
        + match &entry.payload {
            EntryPayload::Blank => 0,
            EntryPayload::Normal(command) => command.0.len(),
            EntryPayload::Membership(m) => m.nodes().count() * MEMBER_SIZE,
        }
}

pub(super) fn append_to_wire(request: &AppendRequest) -> wire::RaftAppendRequest {
    wire::RaftAppendRequest {
        vote: Some(vote_to_wire(&request.vote)),
        prev: request.prev_log_id.as_ref().map(id_to_wire),
        entries: request.entries.iter().map(entry_to_wire).collect(),
        commit: request.leader_commit.as_ref().map(id_to_wire),
    }
}

pub(super) fn append_from_wire(
    request: wire::RaftAppendRequest,
) -> Result<AppendRequest, Malformed> {
    Ok(AppendRequest {
        vote: vote_from_wire(request.vote)?,
        prev_log_id: request.prev.map(id_from_wire),
        entries: request.entries.into_iter().map(entry_from_wire).collect::<Result<_, _>>()?,
        leader_commit: request.commit.map(id_from_wire),
    })
}

pub(super) fn appended_to_wire(result: &AppendResult) -> wire::RaftAppendReply {
    use wire::raft_append_reply::Result as Reply;
    let result = match result {
        Ok(id) => Reply::Matched(wire::RaftMatched { id: id.as_ref().map(id_to_wire) }),
        Err(StreamAppendError::Conflict(id)) => Reply::Conflict(id_to_wire(id)),
        Err(StreamAppendError::HigherVote(vote)) => Reply::Higher(vote_to_wire(vote)),
    };
    wire::RaftAppendReply { result: Some(result) }
}

pub(super) fn appended_from_wire(reply: wire::RaftAppendReply) -> Result<AppendResult, Malformed> {
    use wire::raft_append_reply::Result as Reply;
    Ok(match reply.result.ok_or(Malformed("append reply"))? {
        Reply::Matched(matched) => Ok(matched.id.map(id_from_wire)),
        Reply::Conflict(id) => Err(StreamAppendError::Conflict(id_from_wire(id))),
        Reply::Higher(vote) => Err(StreamAppendError::HigherVote(vote_from_wire(Some(vote))?)),
    })
}

pub(super) fn meta_to_wire(meta: &Meta) -> wire::RaftSnapshotMeta {
    wire::RaftSnapshotMeta {
        last: meta.last_log_id.as_ref().map(id_to_wire),
        membership_at: meta.last_membership.log_id().as_ref().map(id_to_wire),
        membership: Some(membership_to_wire(meta.last_membership.membership())),
    }
}

pub(super) fn meta_from_wire(meta: wire::RaftSnapshotMeta) -> Result<Meta, Malformed> {
    let membership = membership_from_wire(meta.membership.ok_or(Malformed("membership"))?)?;
    Ok(SnapshotMeta {
        last_log_id: meta.last.map(id_from_wire),
        last_membership: StoredMembership::new(meta.membership_at.map(id_from_wire), membership),
    })
}

/// Reads any bytes as what controllers send each other (class B12); what can be read is written and
/// read again alike.
pub(crate) fn any_message(bytes: &[u8]) {
    use prost::Message as _;
    if let Ok(Ok(entry)) = wire::RaftEntry::decode(bytes).map(entry_from_wire) {
        let written = entry_to_wire(&entry);
        assert_eq!(entry_from_wire(written).as_ref(), Ok(&entry), "an entry is read otherwise");
        assert!(entry_size(&entry) > 0, "an entry without size");
    }
    if let Ok(Ok(request)) = wire::RaftAppendRequest::decode(bytes).map(append_from_wire) {
        let again = append_from_wire(append_to_wire(&request));
        assert_eq!(again.map(|again| again.entries), Ok(request.entries));
    }
    if let Ok(reply) = wire::RaftAppendReply::decode(bytes) {
        drop(appended_from_wire(reply));
    }
    if let Ok(Ok(meta)) = wire::RaftSnapshotMeta::decode(bytes).map(meta_from_wire) {
        assert_eq!(meta_from_wire(meta_to_wire(&meta)), Ok(meta));
    }
}
