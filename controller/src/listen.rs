//! The listeners of a controller: which services stand behind which door.
//!
//! ```text
//!  peer listener   Raft, Peer                 controllers' certificates
//!  api listener    Agent, Health, and what    agents' and users' certificates
//!                  people ask: Operator, ..
//!                  Relay                      controllers' certificates
//!  enrol listener  Enrol, Login               no certificate, a one-time token
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::layer::util::{Identity, Stack};
use tracing::warn;
use trireme_proto::wire::agent_server::AgentServer;
use trireme_proto::wire::alerts_server::AlertsServer;
use trireme_proto::wire::approval_server::ApprovalServer;
use trireme_proto::wire::audit_server::AuditServer;
use trireme_proto::wire::checklists_server::ChecklistsServer;
use trireme_proto::wire::controllers_server::ControllersServer;
use trireme_proto::wire::enrol_server::EnrolServer;
use trireme_proto::wire::login_server::LoginServer;
use trireme_proto::wire::operations_server::OperationsServer;
use trireme_proto::wire::operator_server::OperatorServer;
use trireme_proto::wire::peer_server::PeerServer;
use trireme_proto::wire::people_server::PeopleServer;
use trireme_proto::wire::queries_server::QueriesServer;
use trireme_proto::wire::relay_server::RelayServer;

use crate::accept::{Acceptor, Connections, Incoming, Limits, OnRefused, Watch, peer_identity};
use crate::api::{
    AgentApi, EnrolApi, GateLayer, LoginApi, OperatorApi, PeerApi, QueriesApi, RelayApi, is_denied,
};
use crate::brain::Brain;
use crate::config::Listen;
use crate::machine::chain;
use crate::pki::Authority;
use crate::query::Queries;
use crate::raft::{self, PeerIdentity};
use crate::server::ServerError;
use crate::telemetry::Readiness;
use crate::telemetry::access::{AccessLayer, Logged};
use crate::telemetry::requests::Requests;

/// Largest message from an operator: manifests of a whole fleet.
const OPERATOR_MESSAGE_MAX: usize = 4 << 20;

/// Largest message from an agent: a heartbeat of a thousand services.
const AGENT_MESSAGE_MAX: usize = 1 << 20;

/// Largest message from whoever has no certificate yet: a token and a signing request.
const ENROL_MESSAGE_MAX: usize = 16 << 10;

/// Largest message from a controller: a digest of ten thousand nodes.
const PEER_MESSAGE_MAX: usize = 16 << 20;

/// HTTP/2 window of an agent's or operator's connection: they send little, and many are open.
const SMALL_WINDOW: u32 = 64 << 10;

/// Requests under way on one connection.
const STREAMS_MAX: u32 = 256;

/// Callers waiting for a handshake, at most. When thousands come at once the last of so many is
/// served before its patience ends; who finds no room has spent no handshake on it, and TCP tries
/// again by itself.
const BACKLOG: u32 = 512;

/// Listeners, bound before anything else is started.
#[derive(Debug)]
pub(crate) struct Listeners {
    peer: TcpListener,
    api: TcpListener,
    enrol: TcpListener,
}

impl Listeners {
    /// Listens everywhere, for other controllers on the runtime of Raft; nobody is answered yet.
    pub(crate) async fn bind(at: Listen, replicating: &Handle) -> Result<Self, ServerError> {
        let peer = replicating.spawn(async move { bind("listen.peer", at.peer) });
        Ok(Self {
            peer: peer.await.expect("the runtime outlives the server, and panics abort")?,
            api: bind("listen.api", at.api)?,
            enrol: bind("listen.enrol", at.enrol)?,
        })
    }
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
        ServerError::because(what)(source)
    })
}

/// What the listeners of a controller need.
#[derive(Debug)]
pub(crate) struct Doors<'a> {
    pub(crate) brain: &'a Arc<Brain>,
    pub(crate) authority: &'a Arc<Authority>,
    pub(crate) connections: &'a Connections,
    pub(crate) requests: &'a Arc<Requests>,
    pub(crate) readiness: &'a Readiness,
    pub(crate) stop: &'a CancellationToken,
}

impl Doors<'_> {
    /// Starts every listener; returns what tells how each is used.
    pub(crate) fn open(
        &self,
        tasks: &mut JoinSet<()>,
        replicating: &Handle,
        listeners: Listeners,
    ) -> Result<Vec<(&'static str, Watch)>, ServerError> {
        let Listeners { peer, api, enrol } = listeners;
        let peer = self.serve_peers(tasks, replicating, peer)?;
        let api = self.serve_api(tasks, api)?;
        let enrol = self.serve_enrol(tasks, enrol)?;
        Ok(vec![("peer", peer), ("api", api), ("enrol", enrol)])
    }

    /// Starts the listener for other controllers.
    fn serve_peers(
        &self,
        tasks: &mut JoinSet<()>,
        replicating: &Handle,
        listener: TcpListener,
    ) -> Result<Watch, ServerError> {
        let (acceptor, incoming) = self.mutual(listener)?;
        let watch = acceptor.watch();
        tasks.spawn_on(acceptor.run(self.stop.clone()), replicating);
        let raft = self.brain.raft.service(authorize_peer(Arc::clone(self.brain)));
        let peer = PeerServer::new(PeerApi::new(Arc::clone(self.brain)))
            .max_decoding_message_size(PEER_MESSAGE_MAX)
            .max_encoding_message_size(PEER_MESSAGE_MAX);
        let mut server =
            Server::builder().tcp_nodelay(true).layer(self.access(Logged::No)).layer(self.gate());
        let router = server.add_service(raft).add_service(peer);
        tasks.spawn_on(run_router("peer", router, incoming, self.stop.clone()), replicating);
        Ok(watch)
    }

    /// Starts the listener for operators and agents.
    fn serve_api(
        &self,
        tasks: &mut JoinSet<()>,
        listener: TcpListener,
    ) -> Result<Watch, ServerError> {
        let (acceptor, incoming) = self.mutual(listener)?;
        let watch = acceptor.watch();
        tasks.spawn(acceptor.run(self.stop.clone()));
        let (brain, authority) = (self.brain, self.authority);
        let agent = AgentServer::new(AgentApi::new(Arc::clone(brain), Arc::clone(authority)))
            .max_decoding_message_size(AGENT_MESSAGE_MAX);
        let operators = OperatorApi::new(Arc::clone(brain), Arc::clone(authority));
        let operations = OperationsServer::new(operators.clone())
            .max_decoding_message_size(AGENT_MESSAGE_MAX)
            .max_encoding_message_size(PEER_MESSAGE_MAX);
        let alerts = AlertsServer::new(operators.clone());
        let checklists =
            ChecklistsServer::new(operators.clone()).max_decoding_message_size(AGENT_MESSAGE_MAX);
        let people = PeopleServer::new(operators.clone())
            .max_decoding_message_size(AGENT_MESSAGE_MAX)
            .max_encoding_message_size(PEER_MESSAGE_MAX);
        let approval = ApprovalServer::new(operators.clone())
            .max_decoding_message_size(AGENT_MESSAGE_MAX)
            .max_encoding_message_size(PEER_MESSAGE_MAX);
        let audit = AuditServer::new(operators.clone())
            .max_decoding_message_size(AGENT_MESSAGE_MAX)
            .max_encoding_message_size(PEER_MESSAGE_MAX);
        let group = ControllersServer::new(operators.clone());
        let operator = OperatorServer::new(operators)
            .max_decoding_message_size(OPERATOR_MESSAGE_MAX)
            .max_encoding_message_size(PEER_MESSAGE_MAX);
        let queries = Queries::new(Arc::clone(brain), authority.credentials().clone());
        let asked = QueriesServer::new(QueriesApi::new(Arc::clone(&queries)))
            .max_decoding_message_size(AGENT_MESSAGE_MAX)
            .max_encoding_message_size(PEER_MESSAGE_MAX);
        let relay = RelayServer::new(RelayApi::new(queries));
        let reporter = HealthReporter::new();
        let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        tasks.spawn(self.readiness.clone().report(reporter));
        let mut server = small().layer(self.access(Logged::Yes)).layer(self.gate());
        let router = server.add_service(agent).add_service(operator).add_service(health);
        let router = router.add_service(operations).add_service(alerts).add_service(people);
        let router = router.add_service(approval).add_service(audit).add_service(group);
        let router = router.add_service(checklists);
        let router = router.add_service(asked).add_service(relay);
        tasks.spawn(run_router("api", router, incoming, self.stop.clone()));
        Ok(watch)
    }

    /// Starts the listener for who joins.
    fn serve_enrol(
        &self,
        tasks: &mut JoinSet<()>,
        listener: TcpListener,
    ) -> Result<Watch, ServerError> {
        let (credentials, connections) = (self.authority.credentials(), self.connections.clone());
        let joining = Acceptor::joining(listener, credentials, Limits::default(), connections);
        let (acceptor, incoming) = joining.map_err(ServerError::because("TLS cannot be set up"))?;
        let watch = acceptor.watch();
        tasks.spawn(acceptor.run(self.stop.clone()));
        let enrol = EnrolApi::new(Arc::clone(self.brain), Arc::clone(self.authority));
        let enrol = EnrolServer::new(enrol).max_decoding_message_size(ENROL_MESSAGE_MAX);
        let login = LoginApi::new(Arc::clone(self.brain), Arc::clone(self.authority));
        let login = LoginServer::new(login).max_decoding_message_size(ENROL_MESSAGE_MAX);
        let mut server = small().layer(self.access(Logged::Yes)).layer(self.gate());
        let router = server.add_service(enrol).add_service(login);
        tasks.spawn(run_router("enrol", router, incoming, self.stop.clone()));
        Ok(watch)
    }

    fn mutual(&self, listener: TcpListener) -> Result<(Acceptor, Incoming), ServerError> {
        let (credentials, connections) = (self.authority.credentials(), self.connections.clone());
        Acceptor::mutual(listener, credentials, Limits::default(), connections)
            .map(|(acceptor, incoming)| (acceptor.telling(self.on_refused()), incoming))
            .map_err(ServerError::because("TLS cannot be set up"))
    }

    /// Has connections recorded that are refused before anybody is known.
    fn on_refused(&self) -> OnRefused {
        let refusals = self.brain.refusals.clone();
        Arc::new(move |from, why| refusals.connection(from, why))
    }

    fn gate(&self) -> GateLayer {
        GateLayer::new(self.brain.refusals.clone())
    }

    fn access(&self, logged: Logged) -> AccessLayer {
        AccessLayer::new(Arc::clone(self.requests), logged)
    }
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
    router: Router<Stack<GateLayer, Stack<AccessLayer, Identity>>>,
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
