//! Composition root: the one place where the parts of a controller meet.
//!
//! ```text
//!  peer listener   Raft, Peer         controllers' certificates
//!  api listener    Agent, Operator    agents' and users' certificates
//!  enrol listener  Enrol              no certificate, a one-time token
//!  dns             UDP and TCP        anybody
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tracing::{info, warn};
use trireme_proto::channel::{ChannelOptions, channel};
use trireme_proto::tls::{Credentials, Server as Wanted};
use trireme_proto::wire::agent_server::AgentServer;
use trireme_proto::wire::enrol_server::EnrolServer;
use trireme_proto::wire::operator_server::OperatorServer;
use trireme_proto::wire::peer_server::PeerServer;

use crate::accept::{Acceptor, Connections, Incoming, Limits, peer_identity};
use crate::api::{AgentApi, EnrolApi, OperatorApi, PeerApi, is_denied};
use crate::audit::AuditLog;
use crate::brain::Brain;
use crate::clock::wall;
use crate::config::Config;
use crate::dns::Dns;
use crate::machine::{FleetMachine, chain};
use crate::peers::Peers;
use crate::pki::{Authority, Store};
use crate::raft::{self, Dial, DialError, Line, Member, PeerIdentity, Raft, line};
use crate::reads::questions;
use crate::sessions::Sessions;
use crate::zone::zone;
use crate::{bootstrap, reconcile};

/// Largest message from an operator: manifests of a whole fleet.
const OPERATOR_MESSAGE_MAX: usize = 4 << 20;

/// Largest message from an agent: a heartbeat of a thousand services.
const AGENT_MESSAGE_MAX: usize = 1 << 20;

/// Largest message from a controller: a digest of ten thousand nodes.
const PEER_MESSAGE_MAX: usize = 16 << 20;

/// HTTP/2 window of an agent's or operator's connection: they send little, and many are open.
const SMALL_WINDOW: u32 = 64 << 10;

/// Requests under way on one connection.
const STREAMS_MAX: u32 = 256;

/// Time for short requests to be answered when the controller is told to stop.
const GRACE: Duration = Duration::from_millis(300);

/// Time between two looks for connections whose certificate has ended.
const EXPIRY_TICK: Duration = Duration::from_secs(5);

/// Time for the rest to end when the controller is told to stop.
const DRAIN: Duration = Duration::from_secs(3);

/// Longest wait for a leader before DNS answers from what is on this disk.
const CATCH_UP_WAIT: Duration = Duration::from_secs(10);

/// Time between two tries to catch up.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(50);

/// Shortest time between two computations of the DNS zone.
const ZONE_PAUSE: Duration = Duration::from_millis(5);

/// Longest time between two, of however large a zone: drains wait for it.
const ZONE_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Callers waiting for a handshake, at most. When thousands come at once the last of so many is
/// served before its patience ends; who finds no room has spent no handshake on it, and TCP tries
/// again by itself.
const BACKLOG: u32 = 512;

/// Tells why a controller cannot start or had to stop, with what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct ServerError {
    what: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ServerError {
    fn because<E: std::error::Error + Send + Sync + 'static>(
        what: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self { what, source: Some(Box::new(source)) }
    }
}

/// Makes Raft's channels to other controllers.
struct PeerDial(Credentials);

impl Dial for PeerDial {
    fn line(&self, member: &Member) -> Result<Line, DialError> {
        let server = Wanted::Controller(member.name.parse()?);
        Ok(line(channel(&member.addr, &server, &self.0, &ChannelOptions::default())?))
    }
}

/// Listeners, bound before anything else is started.
struct Listeners {
    peer: TcpListener,
    api: TcpListener,
    enrol: TcpListener,
}

/// Runs a controller until it is told to stop or can no longer keep its promises.
///
/// Raft, and all that other controllers ask, runs on `replicating`: a request of an operator or ten
/// thousand agents coming back at once delay no heartbeat there.
pub async fn run(
    config: Config,
    bootstrap: bool,
    replicating: &Handle,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let store = Store::new(config.data.join("pki"));
    let authority = store.load(&config.fleet, &config.region, &config.name, wall()).map_err(
        ServerError::because(format!(
            "controller {} has no usable identity in {}; set one up with `trireme-controller \
             request`, `trictl ca sign-controller` and `trireme-controller install`",
            config.name,
            config.data.join("pki").display()
        )),
    )?;
    let authority = Arc::new(authority);
    let peer = config.listen.peer;
    let listeners = Listeners {
        peer: on(replicating, async move { bind("listen.peer", peer) }).await?,
        api: bind("listen.api", config.listen.api)?,
        enrol: bind("listen.enrol", config.listen.enrol)?,
    };
    let primary = config.name.to_string();
    let empty = zone(&crate::state::Fleet::default(), &config.domain, &primary)
        .map_err(ServerError::because("`domain` cannot be answered for"))?;
    let answers = Arc::new(ArcSwap::from_pointee(empty));
    // Found out now and not once everything runs; it answers only when it has caught up.
    drop(bind_dns(&config, &answers).await?);

    let sessions = Sessions::default();
    let audit = AuditLog::open(&config.data.join("audit.redb"))
        .map_err(ServerError::because("the audit log cannot be opened"))?;
    let machine = FleetMachine::new(audit, Arc::new(sessions.clone()));
    let mut failures = machine.failures();
    let dial = Arc::new(PeerDial(authority.credentials().clone()));
    let dialling = Arc::clone(&dial) as Arc<dyn Dial>;
    let raft = on(replicating, Raft::start(raft_config(&config)?, dialling, machine))
        .await
        .map_err(ServerError::because("the replicated log cannot be opened"))?;
    let (peers, outboxes) = Peers::new(config.others(), authority.credentials())
        .map_err(ServerError::because("the other controllers cannot be dialled"))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(peers.clone().keep_open(stop.clone()));
    tasks.spawn(peers.clone().send_forwards(outboxes, stop.clone()));
    let ((leading, led), (following, followed)) = (questions(), questions());
    let brain = Brain::new(config.name.clone(), raft, sessions, peers, [leading, following]);
    let asking = Arc::clone(&brain);
    tasks.spawn(led.answer(move || Arc::clone(&asking).index_as_leader(), stop.clone()));
    let asking = Arc::clone(&brain);
    tasks.spawn(followed.answer(move || Arc::clone(&asking).index_from_leader(), stop.clone()));
    let connections = Connections::default();

    let Listeners { peer, api, enrol } = listeners;
    serve_peers(&mut tasks, replicating, &brain, &authority, &connections, peer, &stop)?;
    serve(&mut tasks, &brain, &authority, &connections, [api, enrol], &stop)?;
    tasks.spawn(answer(Arc::clone(&brain), config.clone(), Arc::clone(&answers), stop.clone()));
    tasks.spawn(reconcile::run(Arc::clone(&brain), stop.clone()));
    let published = Published { config: config.clone(), answers, connections: connections.clone() };
    tasks.spawn(publish(Arc::clone(&brain), published, stop.clone()));
    tasks.spawn(renew(Arc::clone(&authority), stop.clone()));
    info!(controller = %config.name, api = %config.listen.api, dns = %config.listen.dns, "serving");
    if bootstrap {
        bootstrap::run(Arc::clone(&brain), &config, &*dial)
            .await
            .map_err(ServerError::because("the fleet cannot be initialised"))?;
    }
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        fatal = brain.raft.stopped() => {
            Err(ServerError::because("the replicated log cannot go on")(fatal))
        }
        message = failure(&mut failures) => Err(ServerError { what: message, source: None }),
    };
    stop.cancel();
    drain(&mut tasks, &connections).await;
    brain.raft.shutdown().await;
    ended
}

/// Lets what is under way end, and ends the rest.
async fn drain(tasks: &mut JoinSet<()>, connections: &Connections) {
    // Streams of agents never end by themselves: they go to another controller at once.
    tokio::time::sleep(GRACE).await;
    connections.cut_all();
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        warn!("some requests did not end in time");
    }
}

async fn bind_dns(
    config: &Config,
    answers: &Arc<ArcSwap<crate::dns::Zone>>,
) -> Result<Dns, ServerError> {
    Dns::bind(&[config.listen.dns], Arc::clone(answers))
        .await
        .map_err(ServerError::because("the built-in DNS cannot start"))
}

/// Answers DNS once what is answered is up to date: a controller that comes back must not send
/// clients to nodes that were drained while it was away. Without any leader it answers from what
/// it has after a while, because clients are better served by old answers than by none.
async fn answer(
    brain: Arc<Brain>,
    config: Config,
    answers: Arc<ArcSwap<crate::dns::Zone>>,
    stop: CancellationToken,
) {
    let caught_up = async {
        loop {
            if brain.barrier(raft::ReadKind::Linearizable).await.is_ok() {
                let index = brain.read(|fleet| fleet.index);
                while brain.routed_to() < index {
                    tokio::time::sleep(ZONE_PAUSE).await;
                }
                return;
            }
            tokio::time::sleep(CATCH_UP_PAUSE).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => return,
        outcome = tokio::time::timeout(CATCH_UP_WAIT, caught_up) => {
            if outcome.is_err() {
                warn!("no leader was found: DNS answers from what is on this disk");
            }
        }
    }
    match bind_dns(&config, &answers).await {
        Ok(dns) => dns.run(stop).await,
        Err(error) => warn!(error = chain(&error), "DNS does not answer"),
    }
}

async fn renew(authority: Arc<Authority>, stop: CancellationToken) {
    if let Err(error) = authority.keep_renewed(stop).await {
        warn!(error = chain(&error), "the controller's certificate is not renewed any more");
    }
}

async fn failure(failures: &mut tokio::sync::watch::Receiver<Option<String>>) -> String {
    let failed = failures.wait_for(Option::is_some).await.map(|message| message.clone());
    match failed {
        Ok(Some(message)) => message,
        _ => std::future::pending().await,
    }
}

fn raft_config(config: &Config) -> Result<raft::Config, ServerError> {
    let profile = config.profile().map_err(|what| ServerError { what, source: None })?;
    Ok(raft::Config {
        fleet: config.fleet.to_string(),
        id: config.raft_id,
        name: config.name.to_string(),
        dir: config.data.join("raft"),
        profile,
        snapshot_every: config.snapshot_every,
    })
}

fn bind(name: &str, address: SocketAddr) -> Result<TcpListener, ServerError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Whoever was here before may have left connections that time out.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| {
        let what = if source.kind() == std::io::ErrorKind::AddrInUse {
            format!(
                "{name}: {address} is in use; `ss -lntp 'sport = :{}'` names the holder: stop it \
                 or listen elsewhere",
                address.port()
            )
        } else {
            format!("{name}: cannot listen on {address}")
        };
        ServerError { what, source: Some(Box::new(source)) }
    })
}

/// Does something on another runtime.
async fn on<T: Send + 'static>(
    place: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    place.spawn(work).await.expect("the runtime outlives the server, and panics abort")
}

/// Starts the listener for other controllers.
fn serve_peers(
    tasks: &mut JoinSet<()>,
    replicating: &Handle,
    brain: &Arc<Brain>,
    authority: &Arc<Authority>,
    connections: &Connections,
    listener: TcpListener,
    stop: &CancellationToken,
) -> Result<(), ServerError> {
    let limits = Limits::default();
    let acceptor = Acceptor::mutual(listener, authority.credentials(), limits, connections.clone());
    let (acceptor, incoming) = acceptor.map_err(ServerError::because("TLS cannot be set up"))?;
    tasks.spawn_on(acceptor.run(stop.clone()), replicating);
    let raft = brain.raft.service(authorize_peer(Arc::clone(brain)));
    let peer = PeerServer::new(PeerApi::new(Arc::clone(brain)))
        .max_decoding_message_size(PEER_MESSAGE_MAX)
        .max_encoding_message_size(PEER_MESSAGE_MAX);
    let router = Server::builder().tcp_nodelay(true).add_service(raft).add_service(peer);
    tasks.spawn_on(run_router("peer", router, incoming, stop.clone()), replicating);
    Ok(())
}

/// Starts the listeners for operators and agents, and for who joins.
fn serve(
    tasks: &mut JoinSet<()>,
    brain: &Arc<Brain>,
    authority: &Arc<Authority>,
    connections: &Connections,
    [api, enrol]: [TcpListener; 2],
    stop: &CancellationToken,
) -> Result<(), ServerError> {
    let tls = || ServerError::because("TLS cannot be set up");
    let limits = Limits::default();
    let acceptor = Acceptor::mutual(api, authority.credentials(), limits, connections.clone());
    let (acceptor, incoming) = acceptor.map_err(tls())?;
    tasks.spawn(acceptor.run(stop.clone()));
    let agent = AgentServer::new(AgentApi::new(Arc::clone(brain), Arc::clone(authority)))
        .max_decoding_message_size(AGENT_MESSAGE_MAX);
    let operator = OperatorServer::new(OperatorApi::new(Arc::clone(brain), Arc::clone(authority)))
        .max_decoding_message_size(OPERATOR_MESSAGE_MAX)
        .max_encoding_message_size(PEER_MESSAGE_MAX);
    let router = small().add_service(agent).add_service(operator);
    tasks.spawn(run_router("api", router, incoming, stop.clone()));

    let joining =
        Acceptor::joining(enrol, authority.credentials(), Limits::default(), connections.clone());
    let (acceptor, incoming) = joining.map_err(tls())?;
    tasks.spawn(acceptor.run(stop.clone()));
    let enrol = EnrolServer::new(EnrolApi::new(Arc::clone(brain), Arc::clone(authority)))
        .max_decoding_message_size(AGENT_MESSAGE_MAX);
    tasks.spawn(run_router("enrol", small().add_service(enrol), incoming, stop.clone()));
    Ok(())
}

/// Returns a server for many quiet connections.
fn small() -> Server {
    Server::builder()
        .tcp_nodelay(true)
        .initial_connection_window_size(SMALL_WINDOW)
        .initial_stream_window_size(SMALL_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
}

async fn run_router(
    name: &'static str,
    router: tonic::transport::server::Router,
    incoming: Incoming,
    stop: CancellationToken,
) {
    let served = router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await;
    if let Err(error) = served {
        warn!(listener = name, error = chain(&error), "a listener ended");
    }
}

/// Lets only controllers of this fleet that were not removed speak Raft.
fn authorize_peer(brain: Arc<Brain>) -> impl raft::Authorize {
    move |extensions: &tonic::Extensions| -> Result<PeerIdentity, tonic::Status> {
        let peer = peer_identity(extensions)?;
        let (_, controller) = peer.controller()?;
        match brain.read(|fleet| is_denied(fleet, &peer)) {
            None => Ok(PeerIdentity { name: controller.to_string() }),
            Some(reason) => Err(tonic::Status::permission_denied(reason)),
        }
    }
}

/// What follows the replicated state.
struct Published {
    config: Config,
    answers: Arc<ArcSwap<crate::dns::Zone>>,
    connections: Connections,
}

/// Follows the replicated state: the DNS zone, and connections of those who are denied.
async fn publish(brain: Arc<Brain>, published: Published, stop: CancellationToken) {
    let Published { config, answers, connections } = published;
    let mut applied = brain.raft.watch_applied();
    let (mut denied, mut steered) = (0, 0);
    loop {
        applied.mark_unchanged();
        let began = Instant::now();
        // In place: holding the state while it is applied to would have all of it copied.
        let (index, answered) = brain.read_steering(|fleet, steering| {
            let same = std::mem::replace(&mut steered, steering) == steering;
            let zone = (!same).then(|| zone(fleet, &config.domain, config.name.as_str()));
            (fleet.index, zone)
        });
        let took = began.elapsed();
        match answered {
            None => {}
            Some(Ok(zone)) => answers.store(Arc::new(zone)),
            Some(Err(error)) => warn!(%error, "the DNS zone stays as it was"),
        }
        brain.routed(index);
        denied = cut_denied(&brain, &connections, denied);
        // A large zone takes a tenth of a core at most.
        tokio::time::sleep((9 * took).clamp(ZONE_PAUSE, ZONE_PAUSE_MAX)).await;
        tokio::select! {
            () = stop.cancelled() => return,
            changed = applied.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(EXPIRY_TICK) => { connections.cut_expired(wall()); }
        }
    }
}

/// Closes connections of those who were denied since there were `known`; returns how many are.
fn cut_denied(brain: &Brain, connections: &Connections, known: usize) -> usize {
    let denied = brain.read(|fleet| fleet.denied.len());
    if denied != known {
        let fleet = brain.fleet();
        let cut = connections.cut(|peer| is_denied(&fleet, peer).is_some());
        info!(connections = cut, "denied identities were cut off");
    }
    denied
}
