//! The server side of Raft between controllers.
//!
//! Every call is checked before anything of it is looked at: who the certificate says is calling,
//! whether that name owns the Raft id it speaks for, whether it means this fleet, this member and
//! this data directory. A member whose directory is not the one the fleet knows stops here: it has
//! forgotten its vote and what it acknowledged.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use openraft::async_runtime::WatchReceiver;
use openraft::base::BoxStream;
use openraft::raft::{TransferLeaderError, TransferLeaderRequest, VoteRequest};
use openraft::{Membership, Snapshot};
use prost::Message;
use tokio::sync::Semaphore;
use tonic::{Extensions, Request, Response, Status, Streaming};
use trireme_proto::wire;
use trireme_proto::wire::raft_server;
use trireme_proto::wire::raft_snapshot_part::Part;

use super::ENVELOPE;
use super::disk::Identity;
use super::failure::{Failure, Fatal};
use super::log_store::LogReader;
use super::machine::Machine;
use super::place::blocking;
use super::snapshot::{Incoming, Snapshots};
use super::state_machine::StateMachine;
use super::types::{
    AppendRequest, Malformed, Meta, Record, Types, Vote, append_from_wire, appended_to_wire,
    id_from_wire, id_to_wire, meta_from_wire, vote_from_wire, vote_to_wire,
};

/// Silence of a sender of a snapshot after which what arrived is thrown away.
const SNAPSHOT_SILENCE: Duration = Duration::from_secs(20);

/// Snapshots received at once: one, and another when a new leader begins before the old is silent.
const SNAPSHOTS_MAX: usize = 2;

/// Who a certificate says is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Name of the controller.
    pub name: String,
}

/// Reads the caller's identity from its connection; whatever is not a controller is refused.
pub trait Authorize: Send + Sync + 'static {
    /// Returns who is calling, or the refusal to send.
    fn authorize(&self, connection: &Extensions) -> Result<PeerIdentity, Status>;
}

impl<F> Authorize for F
where
    F: Fn(&Extensions) -> Result<PeerIdentity, Status> + Send + Sync + 'static,
{
    fn authorize(&self, connection: &Extensions) -> Result<PeerIdentity, Status> {
        self(connection)
    }
}

/// Serves the members of the group.
pub struct Service<M: Machine> {
    pub(super) library: openraft::Raft<Types, StateMachine<M>>,
    pub(super) identity: Arc<Identity>,
    pub(super) dir: PathBuf,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) log: LogReader,
    pub(super) failure: Failure,
    pub(super) authorize: Box<dyn Authorize>,
    pub(super) receiving: Semaphore,
}

impl<M: Machine> std::fmt::Debug for Service<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl From<Malformed> for Status {
    fn from(error: Malformed) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("this controller has stopped: {error}"))
}

impl<M: Machine> Service<M> {
    pub(super) fn receiving() -> Semaphore {
        Semaphore::new(SNAPSHOTS_MAX)
    }

    /// Admits a call, or says why not.
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        if let Some(fatal) = self.failure.get() {
            return Err(stopped(fatal));
        }
        let caller = self.authorize.authorize(request.extensions())?;
        let envelope = request
            .metadata()
            .get_bin(ENVELOPE)
            .and_then(|value| value.to_bytes().ok())
            .and_then(|bytes| wire::RaftEnvelope::decode(bytes).ok())
            .ok_or(Malformed("envelope"))?;
        let own = &self.identity;
        if envelope.fleet != own.fleet {
            return Err(Status::permission_denied(format!(
                "this is controller {} of fleet {}, not of fleet {}",
                own.name, own.fleet, envelope.fleet
            )));
        }
        if envelope.to != own.raft_id {
            return Err(Status::failed_precondition(format!(
                "this is controller {} with raft id {}, not {}",
                own.name, own.raft_id, envelope.to
            )));
        }
        let config = Arc::clone(&self.library.metrics().borrow_watched().membership_config);
        check_sender(config.membership(), &caller, &envelope)?;
        self.check_disk(config.membership(), &envelope.to_disk)
    }

    fn check_disk(&self, membership: &Membership<u64, Record>, known: &str) -> Result<(), Status> {
        let own = &self.identity;
        if known == own.disk {
            return Ok(());
        }
        let fatal = Fatal::NewDisk {
            dir: self.dir.clone(),
            id: own.raft_id,
            known: known.to_owned(),
            found: own.disk.clone(),
        };
        let refusal = Status::failed_precondition(fatal.to_string());
        // With our own disk in our own log, it is the caller who is wrong.
        let vouched = membership.get_node(&own.raft_id).is_some_and(|r| r.disk == own.disk);
        if !vouched {
            self.failure.report(fatal);
        }
        Err(refusal)
    }

    async fn receive(
        &self,
        parts: &mut Streaming<wire::RaftSnapshotPart>,
    ) -> Result<(Vote, Meta, Incoming), Status> {
        let Some(Part::Head(head)) = next_part(parts).await? else {
            return Err(Malformed("snapshot head").into());
        };
        let vote = vote_from_wire(head.vote)?;
        let meta = meta_from_wire(head.meta.ok_or(Malformed("snapshot meta"))?)?;
        let mut incoming = self.snapshots.receive(head.size).map_err(|e| self.unwritten(e))?;
        while let Some(part) = next_part(parts).await? {
            let Part::Data(data) = part else { return Err(Malformed("second head").into()) };
            incoming = blocking(move || incoming.write(&data).map(|()| incoming))
                .await
                .map_err(|e| self.unwritten(e))?;
        }
        Ok((vote, meta, incoming))
    }

    /// A snapshot that cannot be stored is the end of this member; a broken one is the sender's.
    fn unwritten(&self, error: std::io::Error) -> Status {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        if matches!(error.kind(), InvalidData | UnexpectedEof) {
            return Status::data_loss(error.to_string());
        }
        stopped(self.failure.fail(Fatal::write(self.snapshots.dir(), error)))
    }
}

async fn next_part(parts: &mut Streaming<wire::RaftSnapshotPart>) -> Result<Option<Part>, Status> {
    let next = tokio::time::timeout(SNAPSHOT_SILENCE, parts.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the sender of the snapshot fell silent"))??;
    next.map(|part| part.part.ok_or_else(|| Malformed("snapshot part").into())).transpose()
}

/// Ends the stream at what cannot be understood; the sender then begins another.
fn readable(message: Result<wire::RaftAppendRequest, Status>) -> Option<AppendRequest> {
    let read = message.map_err(|s| s.to_string());
    match read.and_then(|message| append_from_wire(message).map_err(|e| e.to_string())) {
        Ok(request) => Some(request),
        Err(error) => {
            tracing::debug!(error, "a stream of appends ends");
            None
        }
    }
}

/// A name speaks for its own Raft id and data directory only.
///
/// An id that is not a member yet may be that of a leader whose membership has not reached us, so
/// it is let through unless its name belongs to another id.
fn check_sender(
    membership: &Membership<u64, Record>,
    caller: &PeerIdentity,
    envelope: &wire::RaftEnvelope,
) -> Result<(), Status> {
    let owner = membership.nodes().find(|(_, record)| record.name == caller.name);
    let allowed = match (membership.get_node(&envelope.from), owner) {
        (Some(record), _) => record.name == caller.name && record.disk == envelope.from_disk,
        (None, Some(_)) => false,
        (None, None) => true,
    };
    if allowed {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "controller {} may not speak for raft id {} on disk {}",
        caller.name, envelope.from, envelope.from_disk
    )))
}

#[tonic::async_trait]
impl<M: Machine> raft_server::Raft for Service<M> {
    async fn identify(
        &self,
        request: Request<wire::IdentifyRequest>,
    ) -> Result<Response<wire::IdentifyReply>, Status> {
        self.authorize.authorize(request.extensions())?;
        let Identity { fleet, raft_id, name, disk } = self.identity.as_ref().clone();
        let initialized = self.library.is_initialized().await.map_err(stopped)?;
        Ok(Response::new(wire::IdentifyReply { fleet, name, raft_id, disk, initialized }))
    }

    async fn append(
        &self,
        request: Request<wire::RaftAppendRequest>,
    ) -> Result<Response<wire::RaftAppendReply>, Status> {
        self.admit(&request)?;
        let rpc = append_from_wire(request.into_inner())?;
        let prev = rpc.prev_log_id;
        let last = rpc.entries.last().map(|entry| entry.log_id).or(prev);
        let response = self.library.append_entries(rpc).await.map_err(stopped)?;
        let result = match response {
            openraft::raft::AppendEntriesResponse::Conflict if prev.is_none() => {
                return Err(Status::internal("a conflict before the first entry"));
            }
            other => other.into_stream_result(prev, last),
        };
        Ok(Response::new(appended_to_wire(&result)))
    }

    type StreamAppendStream = BoxStream<'static, Result<wire::RaftAppendReply, Status>>;

    async fn stream_append(
        &self,
        request: Request<Streaming<wire::RaftAppendRequest>>,
    ) -> Result<Response<Self::StreamAppendStream>, Status> {
        self.admit(&request)?;
        let requests =
            request.into_inner().scan((), |(), message| std::future::ready(readable(message)));
        let replies = self.library.stream_append(requests);
        let replies = replies.map(|r| r.map(|it| appended_to_wire(&it)).map_err(stopped));
        Ok(Response::new(Box::pin(replies)))
    }

    async fn vote(
        &self,
        request: Request<wire::RaftVoteRequest>,
    ) -> Result<Response<wire::RaftVoteReply>, Status> {
        self.admit(&request)?;
        let message = request.into_inner();
        let vote = vote_from_wire(message.vote)?;
        let mut rpc = VoteRequest::<Types>::new(vote, message.last.map(id_from_wire));
        rpc.leadership_transfer = message.transfer;
        let answer = if message.pre {
            self.library.pre_vote(rpc).await
        } else {
            self.library.vote(rpc).await
        };
        let answer = answer.map_err(stopped)?;
        Ok(Response::new(wire::RaftVoteReply {
            vote: Some(vote_to_wire(&answer.vote)),
            granted: answer.vote_granted,
            last: answer.last_log_id.as_ref().map(id_to_wire),
        }))
    }

    type ConfirmStream = BoxStream<'static, Result<wire::RaftConfirmReply, Status>>;

    async fn confirm(
        &self,
        request: Request<Streaming<wire::RaftConfirmRequest>>,
    ) -> Result<Response<Self::ConfirmStream>, Status> {
        self.admit(&request)?;
        let (log, failure) = (self.log.clone(), self.failure.clone());
        let replies = request.into_inner().map(move |asked| {
            let number = asked?.number;
            if let Some(fatal) = failure.get() {
                return Err(stopped(fatal));
            }
            let vote = log.vote().as_ref().map(vote_to_wire);
            Ok(wire::RaftConfirmReply { number, vote })
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<wire::RaftSnapshotPart>>,
    ) -> Result<Response<wire::RaftSnapshotReply>, Status> {
        self.admit(&request)?;
        let _turn = self.receiving.acquire().await.map_err(stopped)?;
        let mut parts = request.into_inner();
        let (vote, meta, incoming) = self.receive(&mut parts).await?;
        let announced = meta.clone();
        let snapshot =
            blocking(move || incoming.finish(&announced)).await.map_err(|e| self.unwritten(e))?;
        let snapshot = Snapshot { meta, snapshot };
        let reply = self.library.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(Response::new(wire::RaftSnapshotReply { vote: Some(vote_to_wire(&reply.vote)) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::RaftTransferRequest>,
    ) -> Result<Response<wire::RaftTransferReply>, Status> {
        use wire::raft_transfer_reply::Result as Reply;
        self.admit(&request)?;
        let message = request.into_inner();
        let from = vote_from_wire(message.from)?;
        let rpc = TransferLeaderRequest::new(from, message.to, message.last.map(id_from_wire));
        let answer = self.library.handle_transfer_leader(rpc).await.map_err(stopped)?;
        let result = match answer {
            Ok(()) => Reply::Accepted(wire::RaftTransferAccepted {}),
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                Reply::VoteChanged(wire::RaftTransferVote {
                    expected: Some(vote_to_wire(&expected)),
                    actual: Some(vote_to_wire(&actual)),
                })
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                Reply::LogBehind(wire::RaftTransferLog {
                    expected: expected.as_ref().map(id_to_wire),
                    actual: actual.as_ref().map(id_to_wire),
                })
            }
        };
        Ok(Response::new(wire::RaftTransferReply { result: Some(result) }))
    }
}
