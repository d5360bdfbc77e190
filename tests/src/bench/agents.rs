//! Simulated agents: thousands of nodes in one process, each with its own certificate, address
//! and stream.
//!
//! ```text
//!  bench ──Ask (a line of JSON)──▶ this process ──TLS 1.3, HTTP/2, fleet.v1──▶ controllers
//!        ◀─Told (a line of JSON)──
//! ```
//!
//! What goes over the wire is what an agent's link sends: hello, heartbeats with fresh nonces at
//! the pace the controller asks for, reports, pings of an idle connection, the link's own pauses
//! after a loss. There is no host behind it: an offer is accepted and done at once. Every node has
//! an address of its own (127.100.0.0/14), as hosts have.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use trireme_proto::channel::{ChannelOptions, joining_channel};
use trireme_proto::key::SecretKey;
use trireme_proto::tls::Credentials;
use trireme_proto::token::Token;
use trireme_proto::wire::JoinRequest;
use trireme_proto::wire::enrol_client::EnrolClient;

use super::stream;

/// Joins under way at once: below the streams that a controller lets one connection have.
const JOINING_MAX: usize = 96;

/// Longest wait for all of them to get somewhere: several times what a row may take.
const REACH_MAX: Duration = Duration::from_secs(90);

/// Kinds of trouble that are counted, and told.
const TROUBLES_KEPT: usize = 64;
const TROUBLES_TOLD: usize = 6;

/// What the bench asks for; answered by one [`Told`] each, in order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Have nodes join: their one-time tokens, and where the controllers let nodes in.
    Join { tokens: Vec<String>, enrol: Vec<SocketAddr> },
    /// Connect every node to this controller, the only one they know; told when all are welcomed.
    Connect { controller: SocketAddr },
    /// Let them know of these, the first by preference; told at once.
    Know { controllers: Vec<SocketAddr> },
    /// Count anew, and assignments that contain `text`; what was counted before is told at once.
    Count { text: String },
    /// Wait until every node was welcomed since the last `Count`.
    Welcomed,
    /// Wait until every node was given assignments with the text of the last `Count`.
    Assigned,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Nodes that it is true of.
    pub nodes: usize,
    /// Wall time in microseconds at which it became true of the last one.
    pub at_us: u64,
    /// Tries to connect since the last count, failed ones included.
    pub tries: usize,
    /// Heartbeats sent since the last count.
    pub beats: usize,
    /// Welcomed streams that were lost since the last count.
    pub lost: usize,
    /// What went wrong most often since the last count, and how often.
    pub trouble: Vec<(usize, String)>,
}

/// One simulated node.
pub(super) struct Node {
    pub(super) position: usize,
    pub(super) credentials: Credentials,
    pub(super) incarnation: String,
    pub(super) source: Ipv4Addr,
}

/// What all nodes tell of themselves.
#[derive(Default)]
pub(super) struct Shared {
    /// Controllers that they know, the one of their region first.
    pub(super) controllers: Mutex<Vec<SocketAddr>>,
    /// Number of the present count.
    pub(super) round: AtomicUsize,
    pub(super) welcomed: AtomicUsize,
    pub(super) welcomed_at: AtomicU64,
    pub(super) tries: AtomicUsize,
    pub(super) beats: AtomicUsize,
    /// Text that is looked for in assignments.
    pub(super) text: Mutex<String>,
    pub(super) assigned: AtomicUsize,
    pub(super) assigned_at: AtomicU64,
    pub(super) lost: AtomicUsize,
    pub(super) trouble: Mutex<BTreeMap<String, usize>>,
    pub(super) news: Notify,
}

/// Returns wall time in microseconds: the same clock in both processes.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Serves the bench until it closes our standard input.
pub async fn run() -> Result<()> {
    // On a thread of its own, which ends with our standard input.
    let (lines, mut asked) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut read = std::io::stdin().lines().map_while(Result::ok);
        while read.next().is_some_and(|line| lines.blocking_send(line).is_ok()) {}
    });
    let mut nodes: Vec<Node> = Vec::new();
    let shared = Arc::new(Shared::default());
    let mut streams = JoinSet::new();
    while let Some(line) = asked.recv().await {
        let told = match serde_json::from_str(&line)? {
            Ask::Join { tokens, enrol } => {
                nodes = join(tokens, &enrol).await?;
                shared.told(nodes.len(), now_us())
            }
            Ask::Know { controllers } => {
                *lock(&shared.controllers) = controllers;
                shared.told(streams.len(), now_us())
            }
            Ask::Connect { controller } => {
                *lock(&shared.controllers) = vec![controller];
                for node in std::mem::take(&mut nodes) {
                    streams.spawn(stream::keep(node, Arc::clone(&shared)));
                }
                reached(&shared, (&shared.welcomed, &shared.welcomed_at), streams.len()).await
            }
            Ask::Count { text } => {
                let before = shared.told(streams.len(), now_us());
                *lock(&shared.text) = text;
                shared.round.fetch_add(1, Ordering::SeqCst);
                let Shared { welcomed, assigned, tries, beats, lost, .. } = &*shared;
                for count in [welcomed, assigned, tries, beats, lost] {
                    count.store(0, Ordering::SeqCst);
                }
                lock(&shared.trouble).clear();
                before
            }
            Ask::Welcomed => {
                reached(&shared, (&shared.welcomed, &shared.welcomed_at), streams.len()).await
            }
            Ask::Assigned => {
                reached(&shared, (&shared.assigned, &shared.assigned_at), streams.len()).await
            }
        };
        let mut line = serde_json::to_vec(&told)?;
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        out.write_all(&line)?;
        out.flush()?;
    }
    Ok(())
}

/// Waits until a count has reached `wanted`, or for long; tells how far it has come.
async fn reached(shared: &Shared, (count, at): (&AtomicUsize, &AtomicU64), wanted: usize) -> Told {
    let there = async {
        while count.load(Ordering::SeqCst) < wanted {
            shared.news.notified().await;
        }
    };
    // Whoever asked sees from the number that it was not reached.
    let _late = timeout(REACH_MAX, there).await;
    shared.told(count.load(Ordering::SeqCst), at.load(Ordering::SeqCst))
}

impl Shared {
    fn told(&self, nodes: usize, at_us: u64) -> Told {
        let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        let mut trouble: Vec<(usize, String)> =
            lock(&self.trouble).iter().map(|(what, count)| (*count, what.clone())).collect();
        trouble.sort_unstable_by(|one, other| other.cmp(one));
        trouble.truncate(TROUBLES_TOLD);
        let (tries, beats, lost) = (read(&self.tries), read(&self.beats), read(&self.lost));
        Told { nodes, at_us, tries, beats, lost, trouble }
    }

    /// Counts something that went wrong, by its innermost cause.
    pub(super) fn troubled(&self, error: &anyhow::Error) {
        let mut known = lock(&self.trouble);
        let cause = error.root_cause().to_string();
        if known.len() < TROUBLES_KEPT || known.contains_key(&cause) {
            *known.entry(cause).or_default() += 1;
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has every node join as an agent does: a key of its own, the token for a certificate.
async fn join(tokens: Vec<String>, enrol: &[SocketAddr]) -> Result<Vec<Node>> {
    let tokens: Vec<Token> = tokens.iter().map(|token| token.parse()).collect::<Result<_, _>>()?;
    let pin = tokens.first().context("no tokens")?.pin;
    let clients: Vec<_> = enrol
        .iter()
        .map(|address| {
            let channel = joining_channel(&address.to_string(), pin, &ChannelOptions::default())?;
            Ok(EnrolClient::new(channel))
        })
        .collect::<Result<_>>()?;
    let places = Arc::new(Semaphore::new(JOINING_MAX));
    let mut joining = JoinSet::new();
    for (position, token) in tokens.into_iter().enumerate() {
        let client = clients[position % clients.len()].clone();
        let place = Arc::clone(&places).acquire_owned().await?;
        joining.spawn(async move {
            let node = join_one(client, position, &token).await;
            drop(place);
            node
        });
    }
    let mut nodes = Vec::new();
    while let Some(node) = joining.join_next().await {
        nodes.push(node??);
    }
    Ok(nodes)
}

async fn join_one(
    mut client: EnrolClient<tonic::transport::Channel>,
    position: usize,
    token: &Token,
) -> Result<Node> {
    let key = SecretKey::generate()?;
    let mut incarnation = [0; 16];
    getrandom::fill(&mut incarnation)?;
    let incarnation = format!("{:032x}", u128::from_be_bytes(incarnation));
    let request = JoinRequest {
        token: token.expose().to_string(),
        csr: key.request()?.into(),
        incarnation: incarnation.clone(),
    };
    let reply = client.join(request).await.context("joining")?.into_inner();
    let chain = reply.chain.iter().map(|der| der.to_vec().into()).collect();
    let credentials = Credentials::new(vec![reply.root.to_vec().into()], chain, &key)?;
    Ok(Node { position, credentials, incarnation, source: source(position) })
}

/// Returns the address of a node; all of 127.0.0.0/8 is this machine.
pub fn source(position: usize) -> Ipv4Addr {
    let base = u32::from(Ipv4Addr::new(127, 100, 0, 1));
    Ipv4Addr::from(base + u32::try_from(position).unwrap_or(0))
}
