//! A real tonic server behind the accept loop, on loopback: who gets in, who cannot keep others
//! out, and what a cut ends.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use trireme_proto::channel::{ChannelOptions, channel, joining_channel};
use trireme_proto::key::SecretKey;
use trireme_proto::pki::{Issued, Issuer, Root};
use trireme_proto::time::WallTime;
use trireme_proto::tls::{self, Credentials};

use super::*;

/// Longest time a test waits for what must happen anyway.
const PATIENCE: Duration = Duration::from_secs(20);

/// A service that says who calls; `Wait` says nothing, for ever, but is counted while it does.
#[derive(Clone)]
struct Who(watch::Sender<usize>);

/// Counts one waiting request until it is dropped.
struct Waiting(watch::Sender<usize>);

impl Waiting {
    fn begin(count: watch::Sender<usize>) -> Self {
        count.send_modify(|waiting| *waiting += 1);
        Self(count)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

impl NamedService for Who {
    const NAME: &'static str = "test.Who";
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Who {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let waits = request.uri().path().ends_with("/Wait");
        let count = waits.then(|| self.0.clone());
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, ()>::default());
            let waiting = count.map(Waiting::begin);
            let answer = tower::service_fn(move |request: Request<()>| async move {
                if waits {
                    std::future::pending::<()>().await;
                }
                let peer = peer_identity(request.extensions())?;
                assert_eq!(caller_addr(request.extensions())?, peer.addr);
                Ok::<_, Status>(Response::new(format!("{} {}", peer.identity, peer.serial)))
            });
            let answer = grpc.unary(answer, request).await;
            drop(waiting);
            Ok(answer)
        })
    }
}

async fn call(channel: Channel, method: &'static str) -> Result<String, Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    let ask = async {
        grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
        let path = http::uri::PathAndQuery::from_static(method);
        let codec = ProstCodec::<(), String>::default();
        grpc.unary(Request::new(()), path, codec).await.map(Response::into_inner)
    };
    timeout(PATIENCE, ask).await.expect("an answer or a refusal in time")
}

async fn ask(channel: Channel) -> Result<String, Status> {
    call(channel, "/test.Who/Ask").await
}

/// A client that sends no pings: what a test sees happen, happened without their help.
fn quiet() -> ChannelOptions {
    ChannelOptions { keepalive_interval: Duration::from_hours(1), ..ChannelOptions::default() }
}

struct Fleet {
    root: Root,
    issuer: Issuer,
}

fn now() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    WallTime(u64::try_from(since.as_millis()).unwrap())
}

impl Fleet {
    fn new() -> Self {
        let name: FleetName = "test".parse().unwrap();
        let root = Root::generate(&name, now()).unwrap();
        let key = SecretKey::generate().unwrap();
        let request = key.request().unwrap();
        let signed = root.issue_intermediate(&request, &"c1".parse().unwrap(), now()).unwrap();
        let issuer = Issuer::new(name, signed, &key).unwrap();
        Self { root, issuer }
    }

    fn credentials(&self, issue: impl FnOnce(&Issuer, &[u8]) -> Issued) -> Credentials {
        let key = SecretKey::generate().unwrap();
        let issued = issue(&self.issuer, &key.request().unwrap());
        Credentials::new(vec![self.root.certificate().clone()], issued.chain, &key).unwrap()
    }

    fn controller(&self) -> Credentials {
        let (region, c1) = ("aws".parse().unwrap(), "c1".parse().unwrap());
        self.credentials(|issuer, csr| issuer.issue_controller(csr, &region, &c1, now()).unwrap())
    }

    /// Makes a client that trusts us and presents a leaf with these URIs, signed by the root.
    fn client_with(&self, uris: &[&str]) -> Arc<rustls::ClientConfig> {
        let pair = |key: &SecretKey| rcgen::KeyPair::from_pem(&key.to_pem()).unwrap();
        let root = pair(self.root.key());
        let root = rcgen::Issuer::from_ca_cert_der(self.root.certificate(), root).unwrap();
        let key = SecretKey::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        let uris = uris.iter().map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names = uris.collect();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "admin");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&pair(&key), &root).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(pair(&key).serialize_der()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let certified = rustls::sign::CertifiedKey::from_der(vec![leaf.into()], key, &provider);
        let trusting = self.agent("aws-1").client_config(&tls::Server::AnyController).unwrap();
        let mut config = (*trusting).clone();
        config.client_auth_cert_resolver =
            Arc::new(rustls::sign::SingleCertAndKey::from(certified.unwrap()));
        Arc::new(config)
    }

    fn agent(&self, node: &str) -> Credentials {
        self.agent_issued(node, now())
    }

    fn agent_issued(&self, node: &str, at: WallTime) -> Credentials {
        let (region, node) = ("aws".parse().unwrap(), node.parse().unwrap());
        self.credentials(|issuer, csr| issuer.issue_agent(csr, &region, &node, at).unwrap())
    }
}

/// A running server; stops and joins its tasks when [`Served::stop`] is called.
struct Served {
    addr: SocketAddr,
    watch: Watch,
    connections: Connections,
    waiting: watch::Sender<usize>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

type Make =
    fn(TcpListener, &Credentials, Limits, Connections) -> Result<(Acceptor, Incoming), TlsError>;

impl Served {
    async fn start(make: Make, credentials: &Credentials, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (connections, shutdown) = (Connections::default(), CancellationToken::new());
        let (acceptor, incoming) =
            make(listener, credentials, limits, connections.clone()).unwrap();
        let watch = acceptor.watch();
        let mut tasks = JoinSet::new();
        tasks.spawn(acceptor.run(shutdown.clone()));
        let (stopped, waiting) = (shutdown.clone().cancelled_owned(), watch::Sender::new(0));
        let who = Who(waiting.clone());
        tasks.spawn(async move {
            let server = Server::builder().add_service(who);
            server.serve_with_incoming_shutdown(incoming, stopped).await.unwrap();
        });
        Self { addr, watch, connections, waiting, shutdown, tasks }
    }

    async fn mutual(credentials: &Credentials) -> Self {
        Self::start(Acceptor::mutual, credentials, Limits::default()).await
    }

    fn channel(&self, credentials: &Credentials) -> Channel {
        let server = tls::Server::Controller("c1".parse().unwrap());
        channel(&self.addr.to_string(), &server, credentials, &quiet()).unwrap()
    }

    /// Opens a bare connection from another loopback address, which is another source.
    async fn bare(&self, last: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        socket.bind((from, 0).into()).unwrap();
        socket.connect(self.addr).await.unwrap()
    }

    async fn until(&self, what: impl Fn(&Counts) -> bool) {
        let reached = async {
            while !what(&self.watch.counts()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let reached = timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "still at {:?}", self.watch.counts());
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        self.connections.cut_all();
        let ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.unwrap();
            }
        };
        timeout(PATIENCE, ended).await.expect("the server ends once its connections are cut");
        assert!(self.connections.is_empty());
    }
}

#[tokio::test]
async fn a_request_carries_the_identity_of_its_connection() {
    let fleet = Fleet::new();
    let served = Served::mutual(&fleet.controller()).await;
    for node in ["aws-1", "aws-2"] {
        let credentials = fleet.agent(node);
        let expected =
            format!("spiffe://test/region/aws/agent/{node} {}", credentials.verified().serial);
        assert_eq!(ask(served.channel(&credentials)).await.unwrap(), expected);
    }
    assert_eq!(served.watch.counts(), Counts { accepted: 2, ..Counts::default() });
    served.stop().await;
}

#[tokio::test]
async fn the_main_listener_lets_nobody_in_without_a_certificate_of_the_fleet() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    let credentials = fleet.controller();
    let served = Served::mutual(&credentials).await;
    let options = ChannelOptions::default();
    let joiner = joining_channel(&served.addr.to_string(), fleet.root.pin(), &options).unwrap();
    assert_eq!(ask(joiner).await.unwrap_err().code(), Code::Unavailable);

    // A stranger that believes in our root, so that only the server can refuse it.
    let (region, node) = ("aws".parse().unwrap(), "aws-1".parse().unwrap());
    let key = SecretKey::generate().unwrap();
    let request = key.request().unwrap();
    let chain = other.issuer.issue_agent(&request, &region, &node, now()).unwrap().chain;
    let root = fleet.root.certificate().clone();
    let stranger = Credentials::new(vec![root], chain, &key).unwrap();
    assert!(ask(served.channel(&stranger)).await.is_err());
    served.until(|counts| counts.refused >= 2).await;
    assert_eq!(served.watch.counts().accepted, 0);
    served.stop().await;
}

/// Certificates that the root did sign, but that name another fleet, two holders or none.
#[tokio::test]
async fn a_sound_chain_without_exactly_one_identity_of_the_fleet_is_refused() {
    let fleet = Fleet::new();
    let served = Served::mutual(&fleet.controller()).await;
    let (jane, joe) = ("spiffe://test/user/jane", "spiffe://test/user/joe");
    let cases: [(&[&str], bool); 4] = [
        (&[jane], true),
        (&["spiffe://other/user/jane"], false),
        (&[jane, joe], false),
        (&[], false),
    ];
    for (uris, welcome) in cases {
        let before = served.watch.counts();
        let config = fleet.client_with(uris);
        let name = "placeholder".try_into().unwrap();
        let tcp = TcpStream::connect(served.addr).await.unwrap();
        let mut tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.unwrap();
        let mut settings = [0; 1];
        let read = timeout(PATIENCE, tls.read(&mut settings)).await.unwrap();
        // The server speaks first in HTTP/2, to those it lets in.
        assert_eq!(matches!(read, Ok(1)), welcome, "{uris:?}: {read:?}");
        let refused = before.refused + u64::from(!welcome);
        served.until(|counts| counts.refused == refused).await;
    }
    served.stop().await;
}

#[tokio::test]
async fn on_the_join_listener_nobody_has_an_identity() {
    let fleet = Fleet::new();
    let credentials = fleet.controller();
    let served = Served::start(Acceptor::joining, &credentials, Limits::default()).await;
    let options = ChannelOptions::default();
    let joiner = joining_channel(&served.addr.to_string(), fleet.root.pin(), &options).unwrap();
    let refusal = ask(joiner).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unauthenticated);
    assert!(refusal.message().contains("no client certificate"), "{refusal}");
    served.stop().await;
}

/// tonic's own types may say what they like: only our accept loop vouches for a caller.
#[tokio::test]
async fn a_connection_that_bypassed_the_loop_has_no_identity() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let mut tasks = JoinSet::new();
    tasks.spawn(
        Server::builder().add_service(Who(watch::Sender::new(0))).serve_with_incoming(incoming),
    );
    let plain = tonic::transport::Endpoint::from_shared(address).unwrap().connect_lazy();
    assert_eq!(ask(plain).await.unwrap_err().code(), Code::Unauthenticated);
    tasks.shutdown().await;
}

#[tokio::test]
async fn idle_connections_of_one_source_keep_nobody_else_out() {
    let fleet = Fleet::new();
    let served = Served::mutual(&fleet.controller()).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(served.bare(66).await);
    }
    let places = u64::try_from(Limits::default().handshakes_per_source).unwrap();
    served.until(|counts| counts.crowded == 200 - places).await;
    assert!(ask(served.channel(&fleet.agent("aws-1"))).await.is_ok());
    assert_eq!(served.watch.counts().timed_out, 0, "nobody had to wait for the idle to go");
    served.stop().await;
}

#[tokio::test]
async fn idle_connections_that_fill_every_place_are_cleared_in_time() {
    let fleet = Fleet::new();
    let limits = Limits {
        handshakes: 8,
        handshakes_per_source: 2,
        handshake_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let served = Served::start(Acceptor::mutual, &fleet.controller(), limits).await;
    let mut idle = Vec::new();
    for last in 60..72 {
        idle.push(served.bare(last).await);
        idle.push(served.bare(last).await);
    }
    assert!(ask(served.channel(&fleet.agent("aws-1"))).await.is_ok());
    served.until(|counts| counts.timed_out == 24).await;
    served.stop().await;
}

#[tokio::test]
async fn callers_that_gave_up_before_their_turn_cost_no_handshake() {
    let fleet = Fleet::new();
    let limits = Limits {
        handshakes: 1,
        handshake_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let served = Served::start(Acceptor::mutual, &fleet.controller(), limits).await;
    let idle = served.bare(60).await;
    let hello: &[u8] = &[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    for last in 61..71 {
        // In the backlog behind the idle one, and gone before it is cleared.
        served.bare(last).await.write_all(hello).await.unwrap();
    }
    served.until(|counts| counts.gone == 10).await;
    assert!(ask(served.channel(&fleet.agent("aws-1"))).await.is_ok());
    assert_eq!(served.watch.counts().refused, 0);
    drop(idle);
    served.stop().await;
}

#[tokio::test]
async fn garbage_does_not_stop_the_loop() {
    let fleet = Fleet::new();
    let served = Served::mutual(&fleet.controller()).await;
    let hello_of_a_liar: &[u8] = &[22, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xfb, 3, 3];
    let record_of_nothing: &[u8] = &[22, 3, 3, 0, 0];
    let mut noise = vec![0_u8; 20_000];
    getrandom::fill(&mut noise).unwrap();
    let garbage = [b"GET / HTTP/1.1\r\n\r\n", hello_of_a_liar, record_of_nothing, &noise, b""];
    for bytes in garbage {
        let mut bare = served.bare(66).await;
        // The server may have hung up before it read all of it.
        let _early = bare.write_all(bytes).await.is_err();
        let _closed = bare.shutdown().await.is_err();
        let mut rest = Vec::new();
        let _reset = timeout(PATIENCE, bare.read_to_end(&mut rest)).await.unwrap().is_err();
    }
    // Who has hung up before we looked is not even refused.
    served.until(|counts| counts.refused + counts.gone == 5).await;
    assert!(ask(served.channel(&fleet.agent("aws-1"))).await.is_ok());
    served.stop().await;
}

#[tokio::test]
async fn a_cut_ends_open_requests_of_the_condemned_and_of_nobody_else() {
    let fleet = Fleet::new();
    let served = Served::mutual(&fleet.controller()).await;
    let (condemned, spared) = (fleet.agent("aws-1"), fleet.agent("aws-2"));
    let channels = (served.channel(&condemned), served.channel(&spared));
    ask(channels.0.clone()).await.unwrap();
    ask(channels.1.clone()).await.unwrap();
    assert_eq!(served.connections.len(), 2);

    let mut open = JoinSet::new();
    open.spawn(call(channels.0.clone(), "/test.Who/Wait"));
    let mut waiting = served.waiting.subscribe();
    timeout(PATIENCE, waiting.wait_for(|waiting| *waiting == 1)).await.unwrap().unwrap();
    let denied = condemned.identity();
    assert_eq!(served.connections.cut(|peer| peer.identity == denied), 1);
    timeout(PATIENCE, waiting.wait_for(|waiting| *waiting == 0)).await.unwrap().unwrap();
    assert!(open.join_next().await.unwrap().unwrap().is_err());

    ask(channels.1.clone()).await.unwrap();
    assert_eq!(served.watch.counts().accepted, 2, "the spared one kept its connection");
    let serial = spared.verified().serial;
    assert_eq!(served.connections.cut(|peer| peer.serial != serial), 0);
    served.stop().await;
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    const HOUR: u64 = 3600 * 1000;
    let fleet = Fleet::new();
    let served = Served::mutual(&fleet.controller()).await;
    let old = fleet.agent_issued("aws-1", WallTime(now().0 - 23 * HOUR));
    let (old, fresh) = (served.channel(&old), served.channel(&fleet.agent("aws-2")));
    ask(old.clone()).await.unwrap();
    ask(fresh.clone()).await.unwrap();
    assert_eq!(served.connections.cut_expired(now()), 0);
    assert_eq!(served.connections.cut_expired(WallTime(now().0 + 2 * HOUR)), 1);
    ask(fresh).await.unwrap();
    assert_eq!(served.watch.counts().accepted, 2);
    served.stop().await;
}

#[tokio::test]
async fn renewed_certificates_are_used_without_a_restart() {
    let fleet = Fleet::new();
    let server = fleet.controller();
    let served = Served::mutual(&server).await;
    let client = fleet.agent("aws-1");
    let channel = served.channel(&client);
    let before = ask(channel.clone()).await.unwrap();

    let (region, node) = ("aws".parse().unwrap(), "aws-1".parse().unwrap());
    let key = SecretKey::generate().unwrap();
    let issued = fleet.issuer.issue_agent(&key.request().unwrap(), &region, &node, now());
    client.replace(issued.unwrap().chain, &key).unwrap();
    assert_eq!(ask(channel.clone()).await.unwrap(), before, "an open connection keeps its own");

    served.connections.cut_all();
    let reached = async {
        // The first request may still meet the lost connection; the channel dials again by itself.
        loop {
            if let Ok(answer) = ask(channel.clone()).await {
                return answer;
            }
        }
    };
    let after = timeout(PATIENCE, reached).await.unwrap();
    assert!(after.ends_with(&client.verified().serial), "{after}");
    assert_ne!(after, before);
    served.stop().await;
}
