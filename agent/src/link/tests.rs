//! The link against controllers that say what a test tells them to, over real mutual TLS.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::pin::Pin;

use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use trireme_proto::action::{Fence, Progress, ServiceState};
use trireme_proto::digest::Digest;
use trireme_proto::id::{ActionId, UpgradeId};
use trireme_proto::identity::FleetName;
use trireme_proto::key::SecretKey;
use trireme_proto::pki::Root;
use trireme_proto::time::{Span, WallTime};
use trireme_proto::token::Token;
use trireme_proto::wire::agent_message::Is as Said;
use trireme_proto::wire::agent_server::{Agent, AgentServer};
use trireme_proto::wire::controller_message::Is as Told;
use trireme_proto::wire::enrol_server::{Enrol, EnrolServer};
use trireme_proto::wire::{
    Ack, AgentMessage, Assignments, ControllerAddress, ControllerMessage, Heartbeat, JoinReply,
    JoinRequest, Leave, Offer, RenewReply, RenewRequest, Welcome,
};

use super::*;
use crate::clock;

/// A fleet's root, and certificates of its members.
struct Fleet {
    root: Arc<Root>,
}

impl Fleet {
    fn new() -> Self {
        let name: FleetName = "test".parse().unwrap();
        Self { root: Arc::new(Root::generate(&name, clock::wall()).unwrap()) }
    }

    fn controller(&self) -> Credentials {
        let key = SecretKey::generate().unwrap();
        let (region, name) = ("aws".parse().unwrap(), "c1".parse().unwrap());
        let csr = key.request().unwrap();
        let issuer = self.root.issuer();
        let issued = issuer.issue_controller(&csr, &region, &name, clock::wall()).unwrap();
        Credentials::new(vec![self.root.certificate().clone()], issued.chain, &key).unwrap()
    }

    /// Stores an agent's identity that was issued `hours` ago.
    fn agent(&self, store: &Store, hours: u64) -> Credentials {
        let key = store.joining_key().unwrap();
        let chain = self.leaf(&key.request().unwrap(), hours);
        store.save_first(self.root.certificate().clone(), &chain, &key).unwrap();
        store.load().unwrap().unwrap()
    }

    fn leaf(&self, csr: &[u8], hours: u64) -> Vec<CertificateDer<'static>> {
        let (region, node) = ("aws".parse().unwrap(), "n1".parse().unwrap());
        let at = WallTime(clock::wall().0 - hours * 3_600_000);
        self.root.issuer().issue_agent(csr, &region, &node, at).unwrap().chain
    }
}

/// A stream that a controller has taken.
struct Call {
    from: Streaming<AgentMessage>,
    to: mpsc::Sender<Result<ControllerMessage, Status>>,
    leaf: Digest,
}

impl Call {
    async fn tell(&self, told: Told) {
        self.to.send(Ok(ControllerMessage { is: Some(told) })).await.unwrap();
    }

    async fn welcome(&self) {
        self.tell(Told::Welcome(welcome(60_000))).await;
    }

    async fn hear(&mut self) -> Said {
        self.from.message().await.unwrap().expect("the agent closed the stream").is.unwrap()
    }

    async fn hello(&mut self) -> wire_hello::Hello {
        match self.hear().await {
            Said::Hello(hello) => hello,
            other => panic!("{other:?} came before hello"),
        }
    }

    async fn heartbeat(&mut self) -> Heartbeat {
        match self.hear().await {
            Said::Heartbeat(heartbeat) => heartbeat,
            other => panic!("{other:?} is no heartbeat"),
        }
    }

    async fn reports(&mut self) -> Vec<u64> {
        match self.hear().await {
            Said::Reports(reports) => {
                let reports: Vec<Report> = serde_json::from_slice(&reports.reports).unwrap();
                reports.iter().map(|report| report.seq).collect()
            }
            other => panic!("{other:?} is no report"),
        }
    }
}

mod wire_hello {
    pub(super) use trireme_proto::wire::Hello;
}

fn welcome(heartbeat_ms: u32) -> Welcome {
    Welcome {
        controller: "c1".to_owned(),
        heartbeat_ms,
        controllers: vec![],
        node: "n1".to_owned(),
        region: "aws".to_owned(),
        address: "127.1.0.1".to_owned(),
    }
}

struct Taker {
    calls: mpsc::Sender<Call>,
    root: Arc<Root>,
}

type Outgoing = Pin<Box<dyn futures_util::Stream<Item = Result<ControllerMessage, Status>> + Send>>;

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
            }],
        }))
    }
}

fn token_of(root: &Root) -> Token {
    Token::generate([1; 8], [2; 16], root.pin())
}

/// Serves on loopback until the set is dropped.
async fn serve(
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

/// A link that runs, and all that a test needs around it.
struct Rig {
    heard: mpsc::Receiver<Heard>,
    outlook: watch::Sender<Outlook>,
    unacked: watch::Sender<Unacked>,
    data: TempDir,
}

fn start(tasks: &mut JoinSet<()>, fleet: &Fleet, hours: u64, known: &[(SocketAddr, &str)]) -> Rig {
    let data = tempfile::tempdir().unwrap();
    let store = Store::new(data.path());
    let credentials = fleet.agent(&store, hours);
    let (heard_by, heard) = mpsc::channel(8);
    let (outlook, outlook_seen) = watch::channel(Outlook::default());
    let (unacked, unacked_seen) = watch::channel(Unacked::default());
    let configured = known.iter().map(|(address, region)| Known {
        address: address.to_string(),
        region: Some((*region).to_owned()),
    });
    let link = Link {
        store,
        credentials,
        configured: configured.collect(),
        hello: Hello { incarnation: "inc-1".to_owned(), boot_id: "boot-1".to_owned() },
        heard: heard_by,
        outlook: outlook_seen,
        unacked: unacked_seen,
        draw: 0,
    };
    tasks.spawn(link.run());
    Rig { heard, outlook, unacked, data }
}

impl Rig {
    async fn heard(&mut self) -> Heard {
        self.heard.recv().await.expect("the link ended")
    }

    fn queue(&self, seqs: std::ops::RangeInclusive<u64>) {
        let report = |seq| Report { seq, action: ActionId(1), progress: Progress::Accepted };
        self.unacked.send_replace(Unacked { reports: seqs.map(report).collect(), again: 0 });
    }
}

fn some_action() -> Action {
    Action {
        id: ActionId(1),
        node: "n1".parse().unwrap(),
        service: "web".parse().unwrap(),
        upgrade: UpgradeId(1),
        fence: Fence { epoch: 1, term: 1, generation: 1 },
        deadline: Span(1000),
        kind: trireme_proto::action::ActionKind::Confirm { of: ActionId(9) },
    }
}

#[tokio::test]
async fn says_hello_and_hears_what_the_controller_says() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let (address, mut calls) = serve(&mut tasks, &fleet, false).await;
    let mut rig = start(&mut tasks, &fleet, 0, &[(address, "aws")]);
    let mut call = calls.recv().await.unwrap();
    let hello = call.hello().await;
    assert_eq!((hello.incarnation.as_str(), hello.boot_id.as_str()), ("inc-1", "boot-1"));
    let nonce = hello.first.unwrap().nonce;
    assert_eq!(nonce.len(), 16);
    call.welcome().await;
    let (controller, address) = ("c1".to_owned(), "127.1.0.1".to_owned());
    assert_eq!(rig.heard().await, Heard::Welcome { controller, address });

    let action = serde_json::to_vec(&some_action()).unwrap();
    call.tell(Told::Offer(Offer { action: action.clone().into(), nonce })).await;
    let heard = rig.heard().await;
    assert!(
        matches!(&heard, Heard::Offer { action, nonce_age: Some(age) }
            if **action == some_action() && *age < 5000),
        "{heard:?}"
    );
    call.tell(Told::Offer(Offer { action: action.into(), nonce: vec![0; 16].into() })).await;
    assert!(matches!(rig.heard().await, Heard::Offer { nonce_age: None, .. }));
    call.tell(Told::Ack(Ack { seq: 7, index: 70 })).await;
    assert_eq!(rig.heard().await, Heard::Acked(7));
    let assigned = vec![Assignment { service: "web".parse().unwrap(), checks: vec![] }];
    let assignments = serde_json::to_vec(&assigned).unwrap().into();
    call.tell(Told::Assignments(Assignments { assignments })).await;
    assert_eq!(rig.heard().await, Heard::Assigned(assigned));
}

#[tokio::test]
async fn a_change_is_said_at_once_and_every_nonce_is_fresh() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let (address, mut calls) = serve(&mut tasks, &fleet, false).await;
    let mut rig = start(&mut tasks, &fleet, 0, &[(address, "aws")]);
    let mut call = calls.recv().await.unwrap();
    let mut nonces = std::collections::BTreeSet::from([call.hello().await.first.unwrap().nonce]);
    // The next regular heartbeat is half a minute away.
    call.welcome().await;
    rig.heard().await;
    for generation in 1..4 {
        let observed = Observed {
            state: ServiceState::Serving,
            running: None,
            version: Some(format!("1.{generation}")),
            failing: BTreeMap::new(),
        };
        let observed = BTreeMap::from([("web".parse().unwrap(), observed)]);
        rig.outlook.send_replace(Outlook { epoch: 1, generation, observed: observed.clone() });
        let heartbeat = call.heartbeat().await;
        assert_eq!((heartbeat.epoch, heartbeat.generation), (1, generation));
        let said: BTreeMap<ServiceId, Observed> =
            serde_json::from_slice(&heartbeat.observed).unwrap();
        assert_eq!(said, observed);
        assert!(nonces.insert(heartbeat.nonce), "a nonce was used twice");
    }
}

#[tokio::test]
async fn heartbeats_come_as_often_as_the_controller_asks() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let (address, mut calls) = serve(&mut tasks, &fleet, false).await;
    let _rig = start(&mut tasks, &fleet, 0, &[(address, "aws")]);
    let mut call = calls.recv().await.unwrap();
    call.hello().await;
    call.tell(Told::Welcome(welcome(50))).await;
    for _ in 0..3 {
        call.heartbeat().await;
    }
}

#[tokio::test]
async fn reports_are_said_in_order_and_again_after_a_reconnect() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let (address, mut calls) = serve(&mut tasks, &fleet, false).await;
    let mut rig = start(&mut tasks, &fleet, 0, &[(address, "aws")]);
    rig.queue(1..=2);
    let mut call = calls.recv().await.unwrap();
    call.hello().await;
    call.welcome().await;
    assert_eq!(call.reports().await, [1, 2]);
    rig.queue(1..=3);
    assert_eq!(call.reports().await, [3]);
    rig.queue(3..=3);
    rig.queue(3..=4);
    assert_eq!(call.reports().await, [4]);
    let repeated = Unacked { again: 1, ..rig.unacked.borrow().clone() };
    rig.unacked.send_replace(repeated);
    assert_eq!(call.reports().await, [3, 4], "what was asked for again is said again");
    drop(call);
    let mut call = calls.recv().await.unwrap();
    call.hello().await;
    call.welcome().await;
    assert_eq!(call.reports().await, [3, 4]);
    assert!(matches!(rig.heard().await, Heard::Welcome { .. }));
    assert_eq!(rig.heard().await, Heard::Lost);
    assert!(matches!(rig.heard().await, Heard::Welcome { .. }));
}

#[tokio::test]
async fn goes_to_the_own_region_first_and_elsewhere_when_told_to_leave() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let (near, mut near_calls) = serve(&mut tasks, &fleet, false).await;
    let (far, mut far_calls) = serve(&mut tasks, &fleet, false).await;
    let _rig = start(&mut tasks, &fleet, 0, &[(far, "gcp"), (near, "aws")]);
    let mut call = near_calls.recv().await.unwrap();
    call.hello().await;
    call.welcome().await;
    call.tell(Told::Leave(Leave { reason: "going down".to_owned() })).await;
    far_calls.recv().await.unwrap().hello().await;
}

#[tokio::test]
async fn goes_on_elsewhere_when_a_controller_is_gone() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (far, mut far_calls) = serve(&mut tasks, &fleet, false).await;
    let _rig = start(&mut tasks, &fleet, 0, &[(dead, "aws"), (far, "gcp")]);
    far_calls.recv().await.unwrap().hello().await;
}

#[tokio::test]
async fn a_controller_of_another_fleet_is_not_spoken_to() {
    let (mut tasks, fleet, stranger) = (JoinSet::new(), Fleet::new(), Fleet::new());
    let (wrong, mut wrong_calls) = serve(&mut tasks, &stranger, false).await;
    let (right, mut right_calls) = serve(&mut tasks, &fleet, false).await;
    let _rig = start(&mut tasks, &fleet, 0, &[(wrong, "aws"), (right, "gcp")]);
    right_calls.recv().await.unwrap().hello().await;
    assert!(wrong_calls.try_recv().is_err());
}

#[tokio::test]
async fn a_certificate_is_renewed_in_time_and_used_at_once() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let (address, mut calls) = serve(&mut tasks, &fleet, false).await;
    // Of 24 hours 20 are gone.
    let mut rig = start(&mut tasks, &fleet, 20, &[(address, "aws")]);
    let store = Store::new(rig.data.path());
    let old = store.load().unwrap().unwrap().verified();
    let mut call = calls.recv().await.unwrap();
    assert_eq!(call.leaf, old.fingerprint);
    call.hello().await;
    call.welcome().await;
    let mut again = calls.recv().await.unwrap();
    again.hello().await;
    again.welcome().await;
    let new = store.load().unwrap().unwrap().verified();
    assert_eq!(again.leaf, new.fingerprint);
    assert_eq!(new.identity, old.identity);
    assert!(new.not_after > old.not_after);
    assert!(matches!(rig.heard().await, Heard::Welcome { .. }));
    assert_eq!(rig.heard().await, Heard::Lost);
    assert!(matches!(rig.heard().await, Heard::Welcome { .. }));
}

#[tokio::test]
async fn joining_stores_an_identity_that_only_its_owner_can_read() {
    let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
    let (address, _calls) = serve(&mut tasks, &fleet, true).await;
    let address: crate::config::Address = address.to_string().parse().unwrap();
    let data = tempfile::tempdir().unwrap();
    let store = Store::new(data.path());
    assert!(store.load().unwrap().is_none());
    let key = store.joining_key().unwrap();

    let used = Token::generate([7; 8], [2; 16], fleet.root.pin());
    let error = join(&store, &address, &used, "inc-1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "controller at {address} refused: token was used before; for a new token run \
             `trictl token create --node NAME --region REGION`"
        )
    );
    assert!(store.load().unwrap().is_none());
    assert!(store.joining_key().unwrap() == key, "a repeated request must show the same key");

    let token = token_of(&fleet.root);
    let credentials = join(&store, &address, &token, "inc-1").await.unwrap();
    let loaded = store.load().unwrap().unwrap();
    assert_eq!(loaded.verified(), credentials.verified());
    assert_eq!(loaded.identity().to_string(), "spiffe://test/region/aws/agent/n1");
    let pair = data.path().join("identity/node.pem");
    assert_eq!(pair.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!data.path().join("identity/joining.key").exists());
    assert_eq!(store.controllers()[0].address, "127.0.0.1:1");
}

#[tokio::test]
async fn a_controller_whose_root_is_not_the_tokens_gets_no_token() {
    let (mut tasks, fleet, stranger) = (JoinSet::new(), Fleet::new(), Fleet::new());
    let (address, _calls) = serve(&mut tasks, &stranger, true).await;
    let address: crate::config::Address = address.to_string().parse().unwrap();
    let data = tempfile::tempdir().unwrap();
    let store = Store::new(data.path());
    let error = join(&store, &address, &token_of(&fleet.root), "inc-1").await.unwrap_err();
    assert!(matches!(error, JoinError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("root is not the one that the join token names"), "{error}");
    assert!(store.load().unwrap().is_none());
}
