//! The one stream of each agent: heartbeats and reports in, offers and acknowledgements out.
//!
//! What an agent says is taken as said by the node in its certificate. The stream decides nothing:
//! what is offered follows from the replicated state (`plan/deliver.rs`), which every controller
//! has, so it does not matter to which one an agent is connected or who leads.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};
use trireme_proto::action::{Observed, Report, SAMPLES_MAX, Samples};
use trireme_proto::digest::Digest;
use trireme_proto::id::{ActionId, NodeId, ServiceId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;
use trireme_proto::wire::agent_message::Is as Said;
use trireme_proto::wire::agent_server::Agent;
use trireme_proto::wire::controller_message::Is as Told;
use trireme_proto::wire::{
    Ack, AgentMessage, Assignments, ControllerMessage, Heartbeat, Hello, Leave, Offer, RenewReply,
    RenewRequest, Welcome,
};

use super::authorize::{actor, caller};
use super::status::{status, usage};
use crate::accept::Peer;
use crate::brain::Brain;
use crate::clock::wall;
use crate::pki::Authority;
use crate::plan::deliver;
use crate::presence::Seen;
use crate::query::Asked;
use crate::sessions::Session;
use crate::state::{Body, Sighted};
use crate::submit::{Submission, submit};
use crate::view;

/// Time between two heartbeats of an agent.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The same where many agents are connected: a third less work, and half of what counts as fresh
/// evidence for taking a node away. What changes on a node is told at once in any case.
const HEARTBEAT_OF_MANY: Duration = Duration::from_millis(1500);

/// Agents of one controller that are many.
const MANY: usize = 2000;

/// An agent that was silent for longer is gone; its stream is closed.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Messages waiting for a slow agent; beyond it the stream ends and the agent comes back.
const OUTBOX: usize = 16;

/// An offer that was not answered is repeated after this.
const OFFER_AGAIN: Duration = Duration::from_secs(1);

/// Observed services of one node, and reports of one message: far above what one node does.
const ITEMS_MAX: usize = 1000;

/// Longest text of a heartbeat's numbers: a line for each.
const SAMPLES_LEN_MAX: usize = 64 << 10;

/// Longest nonce that is echoed; an agent's has half of it.
const NONCE_MAX: usize = 32;

/// Serves agents.
#[derive(Debug, Clone)]
pub struct AgentApi {
    brain: Arc<Brain>,
    authority: Arc<Authority>,
}

impl AgentApi {
    /// Makes the service.
    pub fn new(brain: Arc<Brain>, authority: Arc<Authority>) -> Self {
        Self { brain, authority }
    }

    /// Checks that the agent is the one that joined, on the disk that it joined with.
    fn admit(&self, node: &NodeId, hello: &Hello) -> Result<Welcome, Problem> {
        let denied = |message: String| {
            Problem::new(Code::Denied, message)
                .hint(format!(
                    "join again under a name other than {node}: trictl token create --node NAME --region REGION --address ADDRESS"
                ))
        };
        let many = self.brain.sessions.len() >= MANY;
        let heartbeat = if many { HEARTBEAT_OF_MANY } else { HEARTBEAT };
        self.brain.read(|fleet| {
            let record = fleet
                .nodes
                .get(node)
                .filter(|record| !record.removed)
                .ok_or_else(|| denied(format!("node {node} is not of this fleet")))?;
            if record.incarnation != hello.incarnation {
                return Err(denied(format!(
                    "node {node} comes with a new data directory; its journal is lost"
                )));
            }
            Ok(Welcome {
                controller: self.brain.name.to_string(),
                heartbeat_ms: u32::try_from(heartbeat.as_millis()).unwrap_or(u32::MAX),
                controllers: view::addresses(fleet),
                list: Some(view::listed(fleet)),
                node: node.to_string(),
                region: record.region.to_string(),
                address: record.address.clone(),
            })
        })
    }
}

type Outgoing = Pin<Box<dyn futures_util::Stream<Item = Result<ControllerMessage, Status>> + Send>>;

#[tonic::async_trait]
impl Agent for AgentApi {
    type SessionStream = Outgoing;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let peer = caller(&self.brain, request.extensions())?;
        let node = peer.agent()?.1.clone();
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(SILENCE_MAX, incoming.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let Some(AgentMessage { is: Some(Said::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("a stream begins with a hello"));
        };
        // A node that has just joined elsewhere may not be known here yet.
        if self.brain.read(|fleet| !fleet.nodes.contains_key(&node)) {
            let barrier = self.brain.barrier(crate::raft::ReadKind::Linearizable).await;
            barrier.map_err(|problem| status(&problem))?;
        }
        let welcome = self.admit(&node, &hello).map_err(|problem| status(&problem))?;
        let (tell, told) = mpsc::channel(OUTBOX);
        let session = self.brain.sessions.open(&node);
        let stream = Stream {
            brain: Arc::clone(&self.brain),
            session: Arc::clone(&session),
            peer,
            node: node.clone(),
            agent_version: hello.agent_version,
            incarnation: hello.incarnation,
            nonce: Bytes::new(),
            tell,
            said: None,
            offered: None,
            assigned: None,
            listed: (0, 0),
            reporting: None,
            asked: Asked::default(),
        };
        let brain = Arc::clone(&self.brain);
        // The stream lives as long as the connection: it ends when either side closes it, and the
        // server drops all connections when it shuts down.
        #[expect(clippy::disallowed_methods, reason = "one task for each stream; it ends with it")]
        tokio::spawn(async move {
            let ended = stream.run(welcome, hello.first.unwrap_or_default(), incoming).await;
            brain.sessions.close(&session);
            session.desk.close();
            debug!(%node, reason = %ended, "agent stream ended");
        });
        let told = ReceiverStream::new(told).map(|message: Box<ControllerMessage>| Ok(*message));
        Ok(Response::new(Box::pin(told)))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewReply>, Status> {
        let peer = caller(&self.brain, request.extensions())?;
        let (region, node) = peer.agent()?;
        let issued = self
            .authority
            .issuer()
            .issue_agent(&request.get_ref().csr, region, node, wall())
            .map_err(|error| usage("no certificate can be issued", &error))?;
        info!(%node, "certificate renewed");
        let chain = issued.chain.iter().map(|der| der.to_vec().into()).collect();
        Ok(Response::new(RenewReply { chain }))
    }
}

/// A heartbeat as it came: its generation, what it observed, and its numbers.
type Beat = (u64, Box<[u8]>, Box<[u8]>);

/// A report on its way into the log.
type Reporting = Pin<Box<dyn Future<Output = Result<(u64, u64), Problem>> + Send>>;

/// One agent's stream.
struct Stream {
    brain: Arc<Brain>,
    session: Arc<Session>,
    peer: Arc<Peer>,
    node: NodeId,
    agent_version: String,
    incarnation: String,
    nonce: Bytes,
    /// Boxed: the channel makes places for 32 messages at once, and nearly all stay empty.
    tell: mpsc::Sender<Box<ControllerMessage>>,
    /// What its last heartbeat said: most say the same again.
    said: Option<Beat>,
    offered: Option<(ActionId, Instant)>,
    /// Revision of the manifests that was looked at last, and what was told of it.
    assigned: Option<(u64, Digest)>,
    /// Place of the controllers that were told last.
    listed: (u64, u64),
    reporting: Option<Reporting>,
    asked: Asked,
}

impl Stream {
    /// Serves until the stream ends; returns why it did.
    async fn run(
        mut self,
        welcome: Welcome,
        first: Heartbeat,
        mut incoming: Streaming<AgentMessage>,
    ) -> String {
        info!(node = %self.node, "agent connected");
        if let Err(reason) = self.begin(welcome, &first).await {
            return reason;
        }
        loop {
            let session = Arc::clone(&self.session);
            let reporting = async {
                match &mut self.reporting {
                    Some(reporting) => reporting.await,
                    None => std::future::pending().await,
                }
            };
            // In this order: what operators ask comes after what the fleet needs.
            let outcome = tokio::select! {
                biased;
                () = session.replaced.notified() => {
                    self.leave("another stream of this node took over").await;
                    return "replaced".to_owned();
                }
                () = session.wake.notified() => self.look().await,
                answer = reporting => {
                    self.reporting = None;
                    self.acknowledge(answer).await
                }
                said = tokio::time::timeout(SILENCE_MAX, incoming.message()) => match said {
                    Err(_) => Err(format!("silent for {SILENCE_MAX:?}")),
                    Ok(Err(error)) => Err(error.message().to_owned()),
                    Ok(Ok(None)) => Err("closed by the agent".to_owned()),
                    Ok(Ok(Some(message))) => self.hear(message).await,
                },
                () = session.desk.attention.notified() => self.ask().await,
            };
            if let Err(reason) = outcome {
                return reason;
            }
        }
    }

    async fn begin(&mut self, welcome: Welcome, first: &Heartbeat) -> Result<(), String> {
        self.listed = welcome.list.as_ref().map_or((0, 0), |list| (list.epoch, list.at));
        self.tell(Told::Welcome(welcome)).await?;
        self.heartbeat(first).await?;
        self.look().await
    }

    async fn tell(&mut self, message: Told) -> Result<(), String> {
        let message = Box::new(ControllerMessage { is: Some(message) });
        self.tell.send(message).await.map_err(|_| "closed".to_owned())
    }

    async fn leave(&mut self, reason: &str) {
        let _gone_already = self.tell(Told::Leave(Leave { reason: reason.to_owned() })).await;
    }

    async fn hear(&mut self, message: AgentMessage) -> Result<(), String> {
        match message.is {
            Some(Said::Heartbeat(heartbeat)) => {
                self.heartbeat(&heartbeat).await?;
                self.look().await
            }
            Some(Said::Reports(reports)) => self.reports(&reports.reports),
            Some(Said::QueryChunk(chunk)) => match self.asked.chunk(&chunk) {
                Some(cancel) => self.tell(Told::QueryCancel(cancel)).await,
                None => Ok(()),
            },
            Some(Said::QueryEnd(end)) => {
                self.asked.end(&end);
                Ok(())
            }
            Some(Said::Hello(_)) | None => Err("a message out of place".to_owned()),
        }
    }

    /// Passes on what operators ask of the agent, and what they have read of its answers.
    async fn ask(&mut self) -> Result<(), String> {
        for told in self.asked.look(&self.session.desk) {
            self.tell(told).await?;
        }
        Ok(())
    }

    /// Takes in a heartbeat; what differs from the replicated state becomes a command.
    async fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<(), String> {
        // A copy: a part of the message would keep all of the buffer that it was read into.
        self.nonce =
            Bytes::copy_from_slice(&heartbeat.nonce[..heartbeat.nonce.len().min(NONCE_MAX)]);
        let said = (heartbeat.generation, &*heartbeat.observed, &*heartbeat.samples);
        let again = self.said.as_ref().is_some_and(|(at, a, b)| (*at, &**a, &**b) == said);
        if !(again && self.brain.sessions.heard_again(&self.session)) {
            self.said = Some((said.0, said.1.into(), said.2.into()));
            let changed = self.brain.sessions.heard(&self.session, self.seen(heartbeat)?);
            if changed {
                self.brain.sessions.note_change();
            }
        }
        // The state first and what was said second, as apply takes them when it wakes streams.
        let news = self.brain.read(|fleet| {
            let record = fleet.nodes.get(&self.node)?;
            let differs = |seen: &Seen| {
                record.observed != seen.observed
                    || record.acknowledged != seen.generation
                    || record.agent_version != seen.agent_version
            };
            self.session.last(|seen| differs(seen).then(|| seen.clone())).flatten()
        });
        if let Some(seen) = news {
            self.observe(seen).await;
        }
        Ok(())
    }

    /// Reads what a heartbeat says.
    fn seen(&self, heartbeat: &Heartbeat) -> Result<Seen, String> {
        let observed: BTreeMap<ServiceId, Observed> = if heartbeat.observed.is_empty() {
            BTreeMap::new()
        } else {
            serde_json::from_slice(&heartbeat.observed)
                .map_err(|error| format!("a heartbeat cannot be read: {error}"))?
        };
        let samples: Samples = if heartbeat.samples.is_empty() {
            Samples::new()
        } else {
            serde_json::from_slice(&heartbeat.samples)
                .map_err(|error| format!("the numbers of a heartbeat cannot be read: {error}"))?
        };
        let numbers: usize = samples.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum();
        if numbers > SAMPLES_MAX || heartbeat.samples.len() > SAMPLES_LEN_MAX {
            return Err("a heartbeat with too many numbers".to_owned());
        }
        if observed.len() > ITEMS_MAX {
            return Err("a heartbeat with too many services".to_owned());
        }
        let agent_version: String = self.agent_version.chars().take(64).collect();
        Ok(Seen {
            age: Span(0),
            generation: heartbeat.generation,
            agent_version,
            observed,
            samples,
            certificate_until: Some(self.peer.not_after),
        })
    }

    async fn observe(&mut self, seen: Seen) {
        let Seen { generation, agent_version, observed, .. } = seen;
        let sighted = Sighted { generation, agent_version, observed };
        let body = Body::Observe { nodes: BTreeMap::from([(self.node.clone(), sighted)]) };
        let submission = Submission::by_controller(&self.brain, body);
        // Without a leader it is said again with the next heartbeat.
        if let Err(problem) = submit(&self.brain, submission).await {
            debug!(node = %self.node, %problem, "an observation was not recorded");
        }
    }

    /// Sends reports on their way; the agent repeats what is not acknowledged.
    fn reports(&mut self, bytes: &[u8]) -> Result<(), String> {
        let reports: Vec<Report> = serde_json::from_slice(bytes)
            .map_err(|error| format!("reports cannot be read: {error}"))?;
        if reports.len() > ITEMS_MAX {
            return Err("too many reports at once".to_owned());
        }
        let Some(last) = reports.last().map(|report| report.seq) else { return Ok(()) };
        let body = Body::Reports {
            node: self.node.clone(),
            incarnation: self.incarnation.clone(),
            reports,
        };
        let actor = actor(&self.peer, "");
        let submission = Submission { actor, origin: None, body, dry_run: false };
        let (brain, earlier) = (Arc::clone(&self.brain), self.reporting.take());
        self.reporting = Some(Box::pin(async move {
            // Reports go into the log in the order in which they were made.
            if let Some(earlier) = earlier {
                earlier.await?;
            }
            let reply = submit(&brain, submission).await?;
            Ok((last, reply.index))
        }));
        Ok(())
    }

    async fn acknowledge(&mut self, answer: Result<(u64, u64), Problem>) -> Result<(), String> {
        match answer {
            Ok((seq, index)) => self.tell(Told::Ack(Ack { seq, index })).await,
            Err(problem) => {
                warn!(node = %self.node, %problem, "reports were not recorded");
                self.leave(&format!("reports could not be recorded: {problem}")).await;
                Err(problem.message)
            }
        }
    }

    /// Offers what is committed for the node, and tells what it should check.
    async fn look(&mut self) -> Result<(), String> {
        let known = self.assigned.as_ref().map(|(revision, _)| *revision);
        let contact = self.brain.contact();
        let (offer, assigned, list) = self.brain.read(|fleet| {
            let offer = deliver::offer(fleet, &self.node, contact).cloned();
            // What a node should check follows from the manifests, and from its labels, which
            // are as they were when it joined.
            let changed = known != Some(fleet.revision);
            let assigned = changed.then(|| deliver::assignments(fleet, &self.node));
            let moved = (fleet.epoch, fleet.controllers_at) > self.listed;
            let assigned = assigned.map(|assignments| (fleet.revision, assignments));
            (offer, assigned, moved.then(|| view::listed(fleet)))
        });
        if let Some(list) = list {
            self.listed = (list.epoch, list.at);
            self.tell(Told::Controllers(list)).await?;
        }
        if let Some((revision, assignments)) = assigned {
            let bytes = serde_json::to_vec(&assignments).map_err(|error| error.to_string())?;
            let digest = Digest::of(&bytes);
            if self.assigned.is_none_or(|(_, told)| told != digest) {
                self.tell(Told::Assignments(Assignments { assignments: bytes.into() })).await?;
            }
            self.assigned = Some((revision, digest));
        }
        let Some(action) = offer else { return Ok(()) };
        let repeated = self
            .offered
            .is_some_and(|(offered, at)| offered == action.id && at.elapsed() < OFFER_AGAIN);
        if repeated || self.nonce.is_empty() {
            return Ok(());
        }
        let id = action.id;
        let bytes = serde_json::to_vec(&action).map_err(|error| error.to_string())?;
        self.tell(Told::Offer(Offer { action: bytes.into(), nonce: self.nonce.clone() })).await?;
        self.offered = Some((id, Instant::now()));
        Ok(())
    }
}
