//! The other controllers, and what this one asks of them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code as RpcCode, Status};
use tracing::warn;
use trireme_proto::channel::{ChannelOptions, channel};
use trireme_proto::id::ControllerId;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::tls::{Credentials, Server, TlsError};
use trireme_proto::wire::peer_client::PeerClient;
use trireme_proto::wire::{DescribeRequest, DigestReply, DigestRequest, ReadIndexRequest};

use crate::forward::{Forwards, Outbox, forwards};
use crate::raft::Member;
use crate::state::Reply;
use crate::state::fleet::Controller;
use crate::submit::Submission;

/// A peer that does not answer a question within this is silent for now.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time for the leader to commit what was forwarded; as long as it may itself take.
pub(crate) const FORWARD_TIMEOUT: Duration = Duration::from_secs(6);

/// Time between two looks at whether connections to the others are open.
const OPEN_EVERY: Duration = Duration::from_secs(2);

/// Rounds in a row in which most others deny this controller, until it believes them.
const DENIED_ROUNDS: u32 = 3;

/// Largest answer: a digest of ten thousand nodes.
const ANSWER_MAX: usize = 16 << 20;

/// Where another controller is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Number in the Raft group.
    pub raft_id: u64,
    /// host:port of its listener for peers.
    pub peer: String,
}

/// What a controller tells others of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Its name.
    pub name: ControllerId,
    /// How others reach it, by its own configuration.
    pub record: Controller,
    /// Mark of its data directory.
    pub disk: String,
    /// Whether it belongs to a group.
    pub initialized: bool,
    /// Version of its program.
    pub version: String,
    /// Index of the last entry of its log.
    pub last: u64,
    /// Index up to which it has applied the log.
    pub applied: u64,
    /// Agents connected to it.
    pub agents: u32,
}

/// The other controllers: at first those of the configuration, and then the members of the group.
#[derive(Debug, Clone)]
pub struct Peers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    credentials: Credentials,
    own: Own,
    known: RwLock<Known>,
    changes: watch::Sender<u64>,
    /// Whether most others say that this controller was removed.
    shut_out: watch::Sender<bool>,
}

/// How others reach this controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Its name.
    pub name: ControllerId,
    /// The rest.
    pub record: Controller,
}

#[derive(Debug, Default)]
struct Known {
    names: BTreeMap<u64, ControllerId>,
    others: BTreeMap<ControllerId, Other>,
}

/// How another controller is asked.
#[derive(Debug, Clone)]
struct Other {
    address: Address,
    channel: Channel,
    forwards: Forwards,
    /// Ends what sends submissions to it.
    stop: CancellationToken,
}

/// What has to be run for submissions to reach others.
#[derive(Debug)]
pub struct Outboxes(Vec<(ControllerId, Outbox, CancellationToken)>);

impl Peers {
    /// Prepares a channel to each of the configuration; nothing is dialled yet.
    pub fn new(
        own: Own,
        configured: BTreeMap<ControllerId, Address>,
        credentials: &Credentials,
    ) -> Result<(Self, Outboxes), TlsError> {
        let peers = Self(Arc::new(Shared {
            credentials: credentials.clone(),
            own,
            known: RwLock::default(),
            changes: watch::Sender::new(0),
            shut_out: watch::Sender::new(false),
        }));
        let names = configured.iter().map(|(name, at)| (at.raft_id, name.clone())).collect();
        let outboxes = peers.set(names, configured)?;
        Ok((peers, outboxes))
    }

    fn known<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.0.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn other(&self, name: &ControllerId) -> Result<Other, Problem> {
        self.known(|known| known.others.get(name).cloned()).ok_or_else(|| unknown(name))
    }

    /// Knows these from now on; who is where it was before keeps its connections.
    fn set(
        &self,
        names: BTreeMap<u64, ControllerId>,
        addresses: BTreeMap<ControllerId, Address>,
    ) -> Result<Outboxes, TlsError> {
        let mut fresh = Vec::new();
        let mut others = BTreeMap::new();
        for (name, address) in addresses {
            let same = self.other(&name).ok().filter(|other| other.address == address);
            let other = if let Some(other) = same {
                other
            } else {
                let (forwards, outbox) = forwards();
                let stop = CancellationToken::new();
                fresh.push((name.clone(), outbox, stop.clone()));
                let channel = self.dial(&name, &address.peer)?;
                Other { address, channel, forwards, stop }
            };
            others.insert(name, other);
        }
        let before = {
            let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, Known { names, others })
        };
        for (name, gone) in before.others {
            if self.other(&name).is_ok_and(|other| other.address == gone.address) {
                continue;
            }
            gone.stop.cancel();
        }
        self.0.changes.send_modify(|count| *count += 1);
        Ok(Outboxes(fresh))
    }

    fn dial(&self, name: &ControllerId, peer: &str) -> Result<Channel, TlsError> {
        let server = Server::Controller(name.clone());
        channel(peer, &server, &self.0.credentials, &ChannelOptions::default())
    }

    /// Returns how others reach this controller.
    pub fn own(&self) -> &Own {
        &self.0.own
    }

    /// Returns the names of the others.
    pub fn names(&self) -> Vec<ControllerId> {
        self.known(|known| known.others.keys().cloned().collect())
    }

    /// Tells whenever the others become different ones.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Waits until most others say that this controller was removed.
    pub async fn shut_out(&self) {
        let mut told = self.0.shut_out.subscribe();
        // The sender lives as long as this value.
        let _told = told.wait_for(|out| *out).await;
    }

    /// Returns the name of the controller with this number.
    pub fn name_of(&self, raft_id: u64) -> Option<ControllerId> {
        self.known(|known| known.names.get(&raft_id).cloned())
    }

    /// Returns the number of another controller.
    pub fn raft_id_of(&self, name: &ControllerId) -> Option<u64> {
        self.known(|known| Some(known.others.get(name)?.address.raft_id))
    }

    fn client(&self, name: &ControllerId) -> Result<PeerClient<Channel>, Problem> {
        Ok(client(self.other(name)?.channel))
    }

    /// Asks a controller what it is, at an address or where it is known to be; it need not be a
    /// member.
    pub async fn describe(&self, name: &ControllerId, peer: &str) -> Result<Described, Problem> {
        let known = self.other(name);
        let same = |other: &Other| peer.is_empty() || other.address.peer == peer;
        let channel = match known {
            Ok(other) if same(&other) => other.channel,
            Err(problem) if peer.is_empty() => return Err(problem),
            Ok(_) | Err(_) => self.dial(name, peer).map_err(|error| {
                Problem::new(Code::Usage, format!("{peer} cannot be asked: {error}"))
            })?,
        };
        let mut client = client(channel);
        let reply = within(ASK_TIMEOUT, name, client.describe(DescribeRequest {})).await?;
        serde_json::from_slice(&reply.into_inner().described).map_err(|error| {
            Problem::new(Code::Failed, format!("controller {name} tells of itself: {error}"))
        })
    }

    /// Hands a submission to `leader`.
    pub async fn forward(
        &self,
        leader: &ControllerId,
        submission: &Submission,
    ) -> Result<Reply, Problem> {
        self.other(leader)?.forwards.hand(leader, submission).await
    }

    /// Follows the members of the group, sends submissions to them, and keeps connections to all
    /// of them open, until cancelled.
    pub async fn run(
        self,
        mut outboxes: Outboxes,
        own: u64,
        mut members: watch::Receiver<Vec<Member>>,
        stop: CancellationToken,
    ) {
        let mut sending = JoinSet::new();
        sending.spawn(self.clone().keep_open(stop.clone()));
        loop {
            let now = members.borrow_and_update().clone();
            if !now.is_empty() {
                match self.follow(own, &now) {
                    Ok(fresh) => outboxes.0.extend(fresh.0),
                    Err(error) => warn!(%error, "the other controllers cannot be dialled"),
                }
            }
            for (name, outbox, gone) in outboxes.0.drain(..) {
                // One without an address is never handed anything.
                let Ok(client) = self.client(&name) else { continue };
                let stop = stop.clone();
                sending.spawn(async move {
                    tokio::select! {
                        () = outbox.run(name, client, stop) => {}
                        () = gone.cancelled() => {}
                    }
                });
            }
            while sending.try_join_next().is_some() {}
            let changed = stop.run_until_cancelled(members.changed()).await;
            let Some(Ok(())) = changed else { break };
        }
        while sending.join_next().await.is_some() {}
    }

    /// Knows the members of the group.
    fn follow(&self, own: u64, members: &[Member]) -> Result<Outboxes, TlsError> {
        let mut names = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        // In the order of their ids: of one that is repaired the newer one is asked.
        for member in members {
            let Ok(name) = member.name.parse::<ControllerId>() else { continue };
            names.insert(member.id, name.clone());
            if member.id != own && name != self.0.own.name {
                let address = Address { raft_id: member.id, peer: member.addr.clone() };
                addresses.insert(name, address);
            }
        }
        self.set(names, addresses)
    }

    /// Asks `leader` for an index that a linearizable read may be served at.
    pub async fn read_index(&self, leader: &ControllerId) -> Result<u64, Problem> {
        let mut client = self.client(leader)?;
        let answer = within(ASK_TIMEOUT, leader, client.read_index(ReadIndexRequest {})).await?;
        Ok(answer.into_inner().index)
    }

    /// Asks another controller something, and returns whether it refuses to listen to this one.
    async fn is_denied_by(&self, name: &ControllerId) -> bool {
        let Ok(mut client) = self.client(name) else { return false };
        let asked = client.read_index(ReadIndexRequest {});
        let answer = tokio::time::timeout(ASK_TIMEOUT, asked).await;
        answer.is_ok_and(|answer| {
            answer.is_err_and(|status| status.code() == RpcCode::PermissionDenied)
        })
    }

    /// Keeps connections to all of them open until cancelled: a new leader asks them at once, and
    /// one whose wall clock has jumped could not make a new one.
    async fn keep_open(self, stop: CancellationToken) {
        let mut every = tokio::time::interval(OPEN_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rounds = 0;
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            let names = self.names();
            // What is answered does not matter, unless they say that this one is no controller.
            let answers = join_all(names.iter().map(|name| self.is_denied_by(name))).await;
            let denying = answers.iter().filter(|denied| **denied).count();
            rounds = if denying > names.len() / 2 { rounds + 1 } else { 0 };
            if rounds >= DENIED_ROUNDS {
                self.0.shut_out.send_replace(true);
            }
        }
    }

    /// Asks `peer` what it sees of the agents connected to it.
    pub async fn digest(
        &self,
        peer: &ControllerId,
        request: DigestRequest,
    ) -> Result<DigestReply, Problem> {
        let mut client = self.client(peer)?;
        Ok(within(ASK_TIMEOUT, peer, client.digest(request)).await?.into_inner())
    }
}

async fn within<T>(
    limit: Duration,
    peer: &ControllerId,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => Err(problem_of(&status, peer)),
        Err(_) => Err(silent(peer, &format!("did not answer within {limit:?}"))),
    }
}

fn client(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel)
        .max_decoding_message_size(ANSWER_MAX)
        .max_encoding_message_size(ANSWER_MAX)
}

/// Returns the problem of one that is no member as far as is known here; it may be soon.
fn unknown(name: &ControllerId) -> Problem {
    silent(name, "is not known here")
}

/// Returns the problem of a peer that says nothing now.
pub(crate) fn silent(peer: &ControllerId, how: &str) -> Problem {
    let mut problem = Problem::new(Code::Unreachable, format!("controller {peer} {how}"));
    problem.retryable = true;
    problem
}

/// Returns the problem that a status carries, or the one that it is.
///
/// Whom a controller refuses to listen to is this one, never the person whose request is passed on:
/// somebody else can be asked in its place.
pub(crate) fn problem_of(status: &Status, peer: &ControllerId) -> Problem {
    if matches!(status.code(), RpcCode::PermissionDenied | RpcCode::Unauthenticated) {
        return silent(peer, &format!("does not listen to this one: {}", status.message()));
    }
    if let Ok(problem) = serde_json::from_slice(status.details()) {
        return problem;
    }
    silent(peer, &format!("cannot be asked: {}", status.message()))
}
