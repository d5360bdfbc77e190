//! The client side of Raft between controllers.
//!
//! Each peer gets a channel for appends and votes, one for heartbeats, one for snapshots, so that
//! a heartbeat never waits behind data, and one for reads, which lives where reads are asked for.
//! They are made once, shared by every client of the library, and kept open even while nothing is
//! said: a vote should not have to wait for a handshake. One that timed out repeatedly is dialled
//! anew. A peer that cannot be reached, or that refuses us, is `Unreachable`: the library then backs
//! off instead of trying again at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::errors::{NetworkError, RPCError, Unreachable};
use openraft::network::{
    Backoff, NetAppend, NetBackoff, NetTransferLeader, NetVote, RPCOption, RPCTypes,
    RaftNetworkFactory,
};
use openraft::raft::{
    AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use prost::Message;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::metadata::{Binary, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use trireme_proto::wire;
use trireme_proto::wire::raft_client::RaftClient;

use super::confirm::Questions;
use super::disk::Identity;
use super::types::{
    AppendRequest, Malformed, Member, Record, Types, append_to_wire, appended_from_wire,
    id_from_wire, id_to_wire, vote_from_wire, vote_to_wire,
};
use super::{ENVELOPE, MESSAGE_BYTES_MAX};

/// Timeouts in a row after which a channel is thought dead and dialled anew.
const TIMEOUTS_MAX: u32 = 3;

/// Tells why no channel to a member can be made.
pub type DialError = Box<dyn std::error::Error + Send + Sync>;

/// A way to a member: a channel, or what stands for one.
pub type Line = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Status>;

/// Returns the line that a channel is.
pub fn line(channel: Channel) -> Line {
    Line::new(channel.map_err(|error| Status::from_error(Box::new(error))))
}

/// Makes lines to members; TLS and identity are its business.
///
/// A line connects when first used, with a connect timeout around a second and HTTP/2 pings on
/// idle connections, or a silent loss goes unnoticed. It is called several times for each member.
pub trait Dial: Send + Sync + 'static {
    /// Returns a new line to a member.
    fn line(&self, member: &Member) -> Result<Line, DialError>;
}

/// What a channel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    Log,
    Heartbeat,
    Snapshot,
    Read,
}

/// Links by member and purpose, each with the record that it was made for.
type Known = HashMap<(u64, Purpose), (Record, Arc<Link>)>;

/// The links to all members, shared by all clients.
#[derive(Clone)]
pub(super) struct Links {
    identity: Arc<Identity>,
    dial: Arc<dyn Dial>,
    known: Arc<Mutex<Known>>,
}

impl Links {
    pub(super) fn new(identity: Arc<Identity>, dial: Arc<dyn Dial>) -> Self {
        Self { identity, dial, known: Arc::default() }
    }

    pub(super) fn link(&self, id: u64, record: &Record, purpose: Purpose) -> Arc<Link> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(&(id, purpose)).filter(|(known, _)| known == record);
        if let Some((_, link)) = found {
            return Arc::clone(link);
        }
        let link = Arc::new(Link::new(&self.identity, &self.dial, record.member(id)));
        known.insert((id, purpose), (record.clone(), Arc::clone(&link)));
        link
    }

    /// Sees to it that a vote, and the word of a new leader, find an open connection to a member.
    pub(super) async fn open(&self, id: u64, record: &Record, limit: Duration) {
        for purpose in [Purpose::Log, Purpose::Heartbeat] {
            let Ok(mut client) = self.link(id, record, purpose).client() else { continue };
            // Who does not answer is asked again later.
            let asked = client.identify(wire::IdentifyRequest {});
            let _ = tokio::time::timeout(limit, asked).await;
        }
    }
}

/// Makes the library's clients.
pub(super) struct Network {
    links: Links,
    /// No activity on a stream for this long, with replies due, ends it.
    patience: Duration,
}

impl Network {
    pub(super) fn new(links: Links, patience: Duration) -> Self {
        Self { links, patience }
    }

    fn client(&self, id: u64, record: &Record, purpose: Purpose) -> Client {
        let link = self.links.link(id, record, purpose);
        Client { link, purpose, patience: self.patience }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &Record) -> Client {
        self.client(target, node, Purpose::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Record) -> Client {
        self.client(target, node, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Record) -> Client {
        self.client(target, node, Purpose::Snapshot)
    }
}

/// One channel to one member, made when needed.
pub(super) struct Link {
    from: u64,
    pub(super) member: Member,
    envelope: MetadataValue<Binary>,
    dial: Arc<dyn Dial>,
    client: Mutex<Option<RaftClient<Line>>>,
    timeouts: AtomicU32,
    /// Of [`Purpose::Read`] alone.
    pub(super) questions: tokio::sync::Mutex<Option<Questions>>,
}

impl Link {
    fn new(identity: &Identity, dial: &Arc<dyn Dial>, member: Member) -> Self {
        let envelope = wire::RaftEnvelope {
            fleet: identity.fleet.clone(),
            from: identity.raft_id,
            from_disk: identity.disk.clone(),
            to: member.id,
            to_disk: member.disk.clone(),
        };
        Self {
            from: identity.raft_id,
            envelope: MetadataValue::from_bytes(&envelope.encode_to_vec()),
            member,
            dial: Arc::clone(dial),
            client: Mutex::default(),
            timeouts: AtomicU32::new(0),
            questions: tokio::sync::Mutex::default(),
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<RaftClient<Line>>> {
        // Replaced whole, so a panic elsewhere leaves nothing half done.
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn client(&self) -> Result<RaftClient<Line>, Unreachable<Types>> {
        let mut slot = self.slot();
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let line = self
            .dial
            .line(&self.member)
            .map_err(|e| Unreachable::from_string(format!("dialling {}: {e}", self.member.addr)))?;
        let client = RaftClient::new(line)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(slot.insert(client).clone())
    }

    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert_bin(ENVELOPE, self.envelope.clone());
        request
    }

    /// Waits for the answer to a call no longer than the library allows.
    pub(super) async fn call<T>(
        &self,
        action: RPCTypes,
        limit: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, RPCError<Types>> {
        self.within(action, limit, async { call.await.map(tonic::Response::into_inner) }).await
    }

    /// Waits for an answer no longer than the library allows.
    pub(super) async fn within<T>(
        &self,
        action: RPCTypes,
        limit: Duration,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, RPCError<Types>> {
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => {
                self.timeouts.store(0, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(status)) => Err(self.refused(action, limit, &status)),
            Err(_) => Err(self.late(action, limit)),
        }
    }

    pub(super) fn late(&self, action: RPCTypes, timeout: Duration) -> RPCError<Types> {
        if self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS_MAX {
            self.timeouts.store(0, Ordering::Relaxed);
            self.slot().take();
        }
        let (id, target) = (self.from, self.member.id);
        RPCError::Timeout(openraft::errors::Timeout { action, id, target, timeout })
    }

    pub(super) fn refused(
        &self,
        action: RPCTypes,
        limit: Duration,
        status: &Status,
    ) -> RPCError<Types> {
        let text = || format!("{} ({}): {}", self.member.name, self.member.addr, status.message());
        match status.code() {
            Code::DeadlineExceeded | Code::Cancelled => self.late(action, limit),
            Code::Internal | Code::Unknown | Code::ResourceExhausted | Code::OutOfRange => {
                RPCError::Network(NetworkError::from_string(text()))
            }
            // Not there, or there and refusing us: neither gets better by asking at once.
            _ => RPCError::Unreachable(Unreachable::from_string(text())),
        }
    }
}

pub(super) fn malformed(error: &Malformed) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(error))
}

/// The library's client for one member and purpose.
pub(super) struct Client {
    pub link: Arc<Link>,
    pub purpose: Purpose,
    pub patience: Duration,
}

impl NetBackoff<Types> for Client {
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}

impl NetAppend<Types> for Client {
    async fn append_entries(
        &mut self,
        rpc: AppendRequest,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let mut client = self.link.client()?;
        let call = client.append(self.link.request(append_to_wire(&rpc)));
        let reply = self.link.call(RPCTypes::AppendEntries, option.soft_ttl(), call).await?;
        Ok(appended_from_wire(reply).map_err(|e| malformed(&e))?.into())
    }
}

impl NetVote<Types> for Client {
    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_for_vote(&rpc, false, &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_for_vote(&rpc, true, &option).await
    }
}

impl Client {
    async fn ask_for_vote(
        &self,
        rpc: &VoteRequest<Types>,
        pre: bool,
        option: &RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let mut client = self.link.client()?;
        let message = wire::RaftVoteRequest {
            vote: Some(vote_to_wire(&rpc.vote)),
            last: rpc.last_log_id.as_ref().map(id_to_wire),
            transfer: rpc.leadership_transfer,
            pre,
        };
        let call = client.vote(self.link.request(message));
        let reply = self.link.call(RPCTypes::Vote, option.soft_ttl(), call).await?;
        Ok(VoteResponse {
            vote: vote_from_wire(reply.vote).map_err(|e| malformed(&e))?,
            vote_granted: reply.granted,
            last_log_id: reply.last.map(id_from_wire),
        })
    }
}

impl NetTransferLeader<Types> for Client {
    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        use wire::raft_transfer_reply::Result as Reply;
        let mut client = self.link.client()?;
        let call = client.transfer_leader(self.link.request(wire::RaftTransferRequest {
            from: Some(vote_to_wire(req.from_leader())),
            to: *req.to_node_id(),
            last: req.last_log_id().map(id_to_wire),
        }));
        // The target answers when its log is flushed, so it gets all the time there is.
        let reply = self.link.call(RPCTypes::TransferLeader, option.hard_ttl(), call).await?;
        let vote = |v| vote_from_wire(v).map_err(|e| malformed(&e));
        Ok(match reply.result.ok_or(Malformed("transfer reply")).map_err(|e| malformed(&e))? {
            Reply::Accepted(_) => Ok(()),
            Reply::VoteChanged(it) => Err(TransferLeaderError::VoteChanged {
                expected: vote(it.expected)?,
                actual: vote(it.actual)?,
            }),
            Reply::LogBehind(it) => Err(TransferLeaderError::LogNotFlushed {
                expected: it.expected.map(id_from_wire),
                actual: it.actual.map(id_from_wire),
            }),
        })
    }
}

/// What a controller says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    /// Its fleet, id, name and disk.
    pub identity: Identity,
    /// Whether it belongs to a group.
    pub initialized: bool,
}

/// Asks who answers on a line, before there is a group.
pub async fn identify(line: Line, timeout: Duration) -> Result<Identified, Status> {
    let mut client = RaftClient::new(line);
    let reply =
        tokio::time::timeout(timeout, client.identify(wire::IdentifyRequest {})).await.map_err(
            |_| Status::deadline_exceeded("the controller did not say who it is in time"),
        )??;
    let wire::IdentifyReply { fleet, name, raft_id, disk, initialized } = reply.into_inner();
    Ok(Identified { identity: Identity { fleet, raft_id, name, disk }, initialized })
}
