//! A controller for tests: it takes streams over real mutual TLS and says what it is told to.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use trireme_proto::action::Report;
use trireme_proto::digest::Digest;
use trireme_proto::identity::FleetName;
use trireme_proto::key::SecretKey;
use trireme_proto::pki::Root;
use trireme_proto::time::WallTime;
use trireme_proto::tls::Credentials;
use trireme_proto::token::Token;
use trireme_proto::wire::agent_message::Is as Said;
use trireme_proto::wire::agent_server::{Agent, AgentServer};
use trireme_proto::wire::controller_message::Is as Told;
use trireme_proto::wire::enrol_server::{Enrol, EnrolServer};
use trireme_proto::wire::{
    AgentMessage, ControllerAddress, ControllerMessage, Heartbeat, Hello, JoinReply, JoinRequest,
    RenewReply, RenewRequest, Welcome,
};

use super::Store;
use crate::clock;

/// A fleet's root, and certificates of its members.
pub(crate) struct Fleet {
    pub(crate) root: Arc<Root>,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let name: FleetName = "test".parse().unwrap();
        Self { root: Arc::new(Root::generate(&name, clock::wall()).unwrap()) }
    }

    pub(crate) fn controller(&self) -> Credentials {
        let key = SecretKey::generate().unwrap();
        let (region, name) = ("aws".parse().unwrap(), "c1".parse().unwrap());
        let csr = key.request().unwrap();
        let issuer = self.root.issuer();
        let issued = issuer.issue_controller(&csr, &region, &name, clock::wall()).unwrap();
        Credentials::new(vec![self.root.certificate().clone()], issued.chain, &key).unwrap()
    }

    /// Stores an agent's identity that was issued `hours` ago.
    pub(crate) fn agent(&self, store: &Store, hours: u64) -> Credentials {
        let key = store.joining_key().unwrap();
        let chain = self.leaf(&key.request().unwrap(), hours);
        store.save_first(self.root.certificate().clone(), &chain, &key).unwrap();
        store.load().unwrap().unwrap()
    }

    pub(crate) fn leaf(&self, csr: &[u8], hours: u64) -> Vec<CertificateDer<'static>> {
        let (region, node) = ("aws".parse().unwrap(), "n1".parse().unwrap());
        let at = WallTime(clock::wall().0 - hours * 3_600_000);
        self.root.issuer().issue_agent(csr, &region, &node, at).unwrap().chain
    }
}

/// A stream that a controller has taken.
pub(crate) struct Call {
    pub(crate) from: Streaming<AgentMessage>,
    pub(crate) to: mpsc::Sender<Result<ControllerMessage, Status>>,
    pub(crate) leaf: Digest,
}

impl Call {
    pub(crate) async fn tell(&self, told: Told) {
        self.to.send(Ok(ControllerMessage { is: Some(told) })).await.unwrap();
    }

    pub(crate) async fn welcome(&self) {
        self.tell(Told::Welcome(welcome(60_000))).await;
    }

    pub(crate) async fn hear(&mut self) -> Said {
        self.from.message().await.unwrap().expect("the agent closed the stream").is.unwrap()
    }

    pub(crate) async fn hello(&mut self) -> Hello {
        match self.hear().await {
            Said::Hello(hello) => hello,
            other => panic!("{other:?} came before hello"),
        }
    }

    pub(crate) async fn heartbeat(&mut self) -> Heartbeat {
        match self.hear().await {
            Said::Heartbeat(heartbeat) => heartbeat,
            other => panic!("{other:?} is no heartbeat"),
        }
    }

    pub(crate) async fn reports(&mut self) -> Vec<u64> {
        match self.hear().await {
            Said::Reports(reports) => {
                let reports: Vec<Report> = serde_json::from_slice(&reports.reports).unwrap();
                reports.iter().map(|report| report.seq).collect()
            }
            other => panic!("{other:?} is no report"),
        }
    }
}

pub(crate) fn welcome(heartbeat_ms: u32) -> Welcome {
    Welcome {
        controller: "c1".to_owned(),
        heartbeat_ms,
        controllers: vec![],
        list: None,
        node: "n1".to_owned(),
        region: "aws".to_owned(),
        address: "127.1.0.1".to_owned(),
    }
}

pub(crate) struct Taker {
    calls: mpsc::Sender<Call>,
    root: Arc<Root>,
}

pub(crate) type Outgoing =
    Pin<Box<dyn futures_util::Stream<Item = Result<ControllerMessage, Status>> + Send>>;

#[tonic::async_trait]
impl Agent for Taker {
    type SessionStream = Outgoing;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Outgoing>, Status> {
        let leaf = Digest::of(&request.peer_certs().unwrap()[0]);
        let (to, outgoing) = mpsc::channel(16);
        let call = Call { from: request.into_inner(), to, leaf };
        self.calls.send(call).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewReply>, Status> {
        let chain = Fleet { root: Arc::clone(&self.root) }.leaf(&request.get_ref().csr, 0);
        let chain = chain.iter().map(|der| der.to_vec().into()).collect();
        Ok(Response::new(RenewReply { chain }))
    }
}

#[tonic::async_trait]
impl Enrol for Taker {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let request = request.into_inner();
        let token: Token = request.token.parse().unwrap();
        if token.id != token_of(&self.root).id {
            return Err(Status::permission_denied("token was used before"));
        }
        assert_eq!(request.incarnation, "inc-1");
        let fleet = Fleet { root: Arc::clone(&self.root) };
        Ok(Response::new(JoinReply {
            fleet: "test".to_owned(),
            node: "n1".to_owned(),
            region: "aws".to_owned(),
            chain: fleet.leaf(&request.csr, 0).iter().map(|der| der.to_vec().into()).collect(),
            root: self.root.certificate().to_vec().into(),
            controllers: vec![ControllerAddress {
                name: "c1".to_owned(),
                region: "aws".to_owned(),
                address: "127.0.0.1:1".to_owned(),
                enrol: "127.0.0.1:2".to_owned(),
            }],
        }))
    }
}

pub(crate) fn token_of(root: &Root) -> Token {
    Token::generate([1; 8], [2; 16], root.pin())
}

/// Serves on loopback until the set is dropped.
pub(crate) async fn serve(
    tasks: &mut JoinSet<()>,
    fleet: &Fleet,
    joining: bool,
) -> (SocketAddr, mpsc::Receiver<Call>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let credentials = fleet.controller();
    let config =
        if joining { credentials.joining_server_config() } else { credentials.server_config() };
    let acceptor = TlsAcceptor::from(config.unwrap());
    let (streams, incoming) = mpsc::channel(4);
    tasks.spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(tls) = acceptor.accept(tcp).await
                && streams.send(Ok::<_, std::io::Error>(tls)).await.is_err()
            {
                return;
            }
        }
    });
    let (calls, taken) = mpsc::channel(4);
    let taker = || Taker { calls: calls.clone(), root: Arc::clone(&fleet.root) };
    let server = Server::builder()
        .add_service(AgentServer::new(taker()))
        .add_service(EnrolServer::new(taker()))
        .serve_with_incoming(ReceiverStream::new(incoming));
    tasks.spawn(async move { server.await.unwrap() });
    (address, taken)
}
