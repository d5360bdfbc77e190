//! One simulated agent's stream, kept open as an agent's link keeps it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use trireme_agent::link::{AGENT_VERSION, PAUSE_BASE, WELCOME_TIMEOUT, next_pause};
use trireme_proto::action::{Action, Observed, Progress, Report, ServiceState};
use trireme_proto::channel::ChannelOptions;
use trireme_proto::digest::Digest;
use trireme_proto::id::ServiceId;
use trireme_proto::tls::Server;
use trireme_proto::wire::agent_client::AgentClient;
use trireme_proto::wire::agent_message::Is as Said;
use trireme_proto::wire::controller_message::Is as Told;
use trireme_proto::wire::{AgentMessage, ControllerMessage, Heartbeat, Hello, Offer, Reports};

use super::agents::{Node, Shared, lock, now_us};

/// A session that lasted so long was a good one: the next pause is short again.
const GOOD_SESSION: Duration = Duration::from_secs(10);
/// Messages waiting for the network.
const OUTBOX: usize = 8;

/// What a node remembers from one stream to the next.
struct Memory {
    generation: u64,
    epoch: u64,
    seq: u64,
    /// Count in which it was welcomed last.
    round: Option<usize>,
}

/// Keeps a node connected for ever.
pub(super) async fn keep(node: Node, shared: Arc<Shared>) {
    let mut memory = Memory { generation: 0, epoch: 0, seq: 0, round: None };
    let mut pause = PAUSE_BASE;
    loop {
        // Its own region's controller first, the others in an order of the node's own.
        let mut order = lock(&shared.controllers).clone();
        if order.len() > 1 {
            let others = order.len() - 1;
            order[1..].rotate_left(node.position % others);
        }
        for address in order {
            let began = Instant::now();
            if let Err(error) = session(&node, &shared, &mut memory, address).await {
                shared.troubled(&error);
            }
            if began.elapsed() >= GOOD_SESSION {
                pause = PAUSE_BASE;
                break;
            }
            pause = next_pause(pause, getrandom::u32().unwrap_or_default());
            sleep(pause).await;
        }
    }
}

struct Session<'a> {
    shared: &'a Shared,
    memory: &'a mut Memory,
    outbox: mpsc::Sender<AgentMessage>,
}

async fn session(
    node: &Node,
    shared: &Shared,
    memory: &mut Memory,
    address: SocketAddr,
) -> Result<()> {
    shared.tries.fetch_add(1, Ordering::SeqCst);
    let config = node.credentials.client_config(&Server::AnyController)?;
    let mut client = AgentClient::new(channel(address, node.source, config)?);
    let (outbox, outgoing) = mpsc::channel(OUTBOX);
    let mut session = Session { shared, memory, outbox };
    let hello = Hello {
        agent_version: AGENT_VERSION.to_owned(),
        incarnation: node.incarnation.clone(),
        boot_id: String::new(),
        first: Some(session.heartbeat()?),
    };
    session.say(Said::Hello(hello)).await?;
    let opening = timeout(WELCOME_TIMEOUT, client.session(ReceiverStream::new(outgoing)));
    let mut inbox = opening.await??.into_inner();
    let first = timeout(WELCOME_TIMEOUT, inbox.message()).await??;
    let Some(ControllerMessage { is: Some(Told::Welcome(welcome)) }) = first else {
        return Err(anyhow!("no welcome"));
    };
    session.welcomed();
    let _lost = Lost(shared);
    let every = Duration::from_millis(u64::from(welcome.heartbeat_ms));
    let mut due = Instant::now() + every;
    loop {
        tokio::select! {
            message = inbox.message() => match message? {
                Some(ControllerMessage { is: Some(told) }) => session.hear(told).await?,
                _ => return Ok(()),
            },
            () = sleep_until(due) => {
                session.beat().await?;
                due = Instant::now() + every;
            }
        }
    }
}

/// Counts a welcomed stream when it ends, however it does.
struct Lost<'a>(&'a Shared);

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        self.0.lost.fetch_add(1, Ordering::SeqCst);
    }
}

impl Session<'_> {
    fn welcomed(&mut self) {
        let round = self.shared.round.load(Ordering::SeqCst);
        if self.memory.round != Some(round) {
            self.memory.round = Some(round);
            self.shared.welcomed.fetch_add(1, Ordering::SeqCst);
            self.shared.welcomed_at.fetch_max(now_us(), Ordering::SeqCst);
            self.shared.news.notify_one();
        }
    }

    async fn hear(&mut self, told: Told) -> Result<()> {
        match told {
            Told::Assignments(list) => {
                let text = String::from_utf8_lossy(&list.assignments);
                let looked_for = lock(&self.shared.text).clone();
                if !looked_for.is_empty() && text.contains(&looked_for) {
                    self.shared.assigned.fetch_add(1, Ordering::SeqCst);
                    self.shared.assigned_at.fetch_max(now_us(), Ordering::SeqCst);
                    self.shared.news.notify_one();
                }
            }
            Told::Offer(offer) => self.accept(&offer).await?,
            Told::Leave(leave) => return Err(anyhow!("told to leave: {}", leave.reason)),
            Told::Welcome(_)
            | Told::Controllers(_)
            | Told::Ack(_)
            | Told::Query(_)
            | Told::QueryCredit(_)
            | Told::QueryCancel(_) => {}
        }
        Ok(())
    }

    /// Takes an offer and says at once that it was done.
    async fn accept(&mut self, offer: &Offer) -> Result<()> {
        let action: Action = serde_json::from_slice(&offer.action)?;
        if action.fence.generation <= self.memory.generation {
            return Ok(());
        }
        (self.memory.epoch, self.memory.generation) = action.fence.order();
        let mut report = |progress| {
            self.memory.seq += 1;
            Report { seq: self.memory.seq, action: action.id, progress }
        };
        let reports = [report(Progress::Accepted), report(Progress::Done)];
        let reports = serde_json::to_vec(&reports)?.into();
        self.say(Said::Reports(Reports { reports })).await?;
        self.beat().await
    }

    async fn beat(&self) -> Result<()> {
        self.shared.beats.fetch_add(1, Ordering::SeqCst);
        let heartbeat = self.heartbeat()?;
        self.say(Said::Heartbeat(heartbeat)).await
    }

    async fn say(&self, said: Said) -> Result<()> {
        Ok(self.outbox.send(AgentMessage { is: Some(said) }).await?)
    }

    fn heartbeat(&self) -> Result<Heartbeat> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        Ok(Heartbeat {
            nonce: Bytes::copy_from_slice(&nonce),
            epoch: self.memory.epoch,
            generation: self.memory.generation,
            observed: serde_json::to_vec(&observed())?.into(),
            samples: Bytes::new(),
        })
    }
}

/// What a healthy node with one service says of it.
fn observed() -> BTreeMap<ServiceId, Observed> {
    let service = super::sessions::SERVICE.parse().expect("a name");
    let seen = Observed {
        state: ServiceState::Serving,
        running: Some(Digest::of(b"what runs")),
        version: Some("1.0.0".to_owned()),
        failing: BTreeMap::new(),
    };
    BTreeMap::from([(service, seen)])
}

/// Returns a channel like an agent's own, from an address of the node's own.
fn channel(to: SocketAddr, from: Ipv4Addr, config: Arc<ClientConfig>) -> Result<Channel> {
    let options = ChannelOptions { connect_timeout: WELCOME_TIMEOUT, ..ChannelOptions::default() };
    let connector = tower::service_fn(move |_| {
        let config = Arc::clone(&config);
        async move { dial(to, from, config).await.map(TokioIo::new) }
    });
    Ok(Endpoint::from_shared(format!("http://{to}"))?
        .origin(format!("https://{to}").parse()?)
        .connect_timeout(options.connect_timeout)
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector))
}

async fn dial(
    to: SocketAddr,
    from: Ipv4Addr,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let tcp = socket.connect(to).await?;
    tcp.set_nodelay(true)?;
    // Who answers is checked against the certificate; the name is never sent.
    let name = ServerName::try_from("controller.trireme").map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, tcp).await
}
