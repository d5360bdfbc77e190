//! The other controllers, and what this one asks of them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code as RpcCode, Status};
use trireme_proto::channel::{ChannelOptions, channel};
use trireme_proto::id::ControllerId;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::tls::{Credentials, Server, TlsError};
use trireme_proto::wire::peer_client::PeerClient;
use trireme_proto::wire::{DigestReply, DigestRequest, ReadIndexRequest};

use crate::forward::{Forwards, Outbox, forwards};
use crate::state::Reply;
use crate::submit::Submission;

/// A peer that does not answer a question within this is silent for now.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time for the leader to commit what was forwarded; as long as it may itself take.
pub(crate) const FORWARD_TIMEOUT: Duration = Duration::from_secs(6);

/// Time between two looks at whether connections to the others are open.
const OPEN_EVERY: Duration = Duration::from_secs(2);

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

/// The other controllers.
#[derive(Debug, Clone)]
pub struct Peers {
    addresses: BTreeMap<ControllerId, Address>,
    channels: BTreeMap<ControllerId, Channel>,
    forwards: BTreeMap<ControllerId, Forwards>,
}

/// What has to be run for submissions to reach the others.
#[derive(Debug)]
pub struct Outboxes(Vec<(ControllerId, Outbox)>);

impl Peers {
    /// Prepares a channel to each; nothing is dialled yet.
    pub fn new(
        addresses: BTreeMap<ControllerId, Address>,
        credentials: &Credentials,
    ) -> Result<(Self, Outboxes), TlsError> {
        let channels = addresses
            .iter()
            .map(|(name, address)| {
                let server = Server::Controller(name.clone());
                let options = ChannelOptions::default();
                Ok((name.clone(), channel(&address.peer, &server, credentials, &options)?))
            })
            .collect::<Result<_, TlsError>>()?;
        let (mut waiting, mut outboxes) = (BTreeMap::new(), Vec::new());
        for name in addresses.keys() {
            let (forwards, outbox) = forwards();
            waiting.insert(name.clone(), forwards);
            outboxes.push((name.clone(), outbox));
        }
        Ok((Self { addresses, channels, forwards: waiting }, Outboxes(outboxes)))
    }

    /// Returns the names of the others.
    pub fn names(&self) -> Vec<ControllerId> {
        self.addresses.keys().cloned().collect()
    }

    /// Returns the name of the controller with this number.
    pub fn name_of(&self, raft_id: u64) -> Option<ControllerId> {
        let found = self.addresses.iter().find(|(_, address)| address.raft_id == raft_id);
        found.map(|(name, _)| name.clone())
    }

    /// Returns the number of another controller.
    pub fn raft_id_of(&self, name: &ControllerId) -> Option<u64> {
        self.addresses.get(name).map(|address| address.raft_id)
    }

    fn client(&self, name: &ControllerId) -> Result<PeerClient<Channel>, Problem> {
        let channel = self.channels.get(name).cloned().ok_or_else(|| unknown(name))?;
        Ok(PeerClient::new(channel)
            .max_decoding_message_size(ANSWER_MAX)
            .max_encoding_message_size(ANSWER_MAX))
    }

    /// Hands a submission to `leader`.
    pub async fn forward(
        &self,
        leader: &ControllerId,
        submission: &Submission,
    ) -> Result<Reply, Problem> {
        let forwards = self.forwards.get(leader).ok_or_else(|| unknown(leader))?;
        forwards.hand(leader, submission).await
    }

    /// Sends submissions to the others until cancelled.
    pub async fn send_forwards(self, outboxes: Outboxes, stop: CancellationToken) {
        let send = |(name, outbox): (ControllerId, Outbox)| {
            let client = self.client(&name);
            let stop = stop.clone();
            // One without an address is never handed anything.
            async move {
                if let Ok(client) = client {
                    outbox.run(name, client, stop).await;
                }
            }
        };
        join_all(outboxes.0.into_iter().map(send)).await;
    }

    /// Asks `leader` for an index that a linearizable read may be served at.
    pub async fn read_index(&self, leader: &ControllerId) -> Result<u64, Problem> {
        let mut client = self.client(leader)?;
        let answer = within(ASK_TIMEOUT, leader, client.read_index(ReadIndexRequest {})).await?;
        Ok(answer.into_inner().index)
    }

    /// Keeps connections to all of them open until cancelled: a new leader asks them at once, and
    /// one whose wall clock has jumped could not make a new one.
    pub async fn keep_open(self, stop: CancellationToken) {
        let mut every = tokio::time::interval(OPEN_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            // What is answered does not matter, nor whether.
            let each = self.channels.keys().map(|name| self.read_index(name));
            let _answers = join_all(each).await;
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

fn unknown(name: &ControllerId) -> Problem {
    Problem::new(Code::NotFound, format!("controller {name} is not in the configuration"))
}

/// Returns the problem of a peer that says nothing now.
pub(crate) fn silent(peer: &ControllerId, how: &str) -> Problem {
    let mut problem = Problem::new(Code::Unreachable, format!("controller {peer} {how}"));
    problem.retryable = true;
    problem
}

/// Returns the problem that a status carries, or the one that it is.
pub(crate) fn problem_of(status: &Status, peer: &ControllerId) -> Problem {
    if let Ok(problem) = serde_json::from_slice(status.details()) {
        return problem;
    }
    let code = match status.code() {
        RpcCode::PermissionDenied | RpcCode::Unauthenticated => Code::Denied,
        _ => Code::Unreachable,
    };
    let mut problem = Problem::new(code, format!("controller {peer}: {}", status.message()));
    problem.retryable = code == Code::Unreachable;
    problem
}
