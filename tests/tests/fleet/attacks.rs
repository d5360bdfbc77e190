//! What befell others is done to a running fleet: each test names its class (B1 to B18).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use trireme_proto::action::{Progress, Report, Step};
use trireme_proto::channel::{ChannelOptions, channel, joining_channel};
use trireme_proto::id::ActionId;
use trireme_proto::identity::Identity;
use trireme_proto::key::SecretKey;
use trireme_proto::tls::{Credentials, Server};
use trireme_proto::token::Token;
use trireme_proto::view::NodeView;
use trireme_proto::wire::agent_client::AgentClient;
use trireme_proto::wire::agent_message::Is as Said;
use trireme_proto::wire::controller_message::Is as Told;
use trireme_proto::wire::enrol_client::EnrolClient;
use trireme_proto::wire::{AgentMessage, Heartbeat, Hello, JoinRequest, RenewRequest, Reports};

use super::people;
use super::rig::{Rig, bounded, until};
use super::web::{self, Spec, WEB};

/// An agent that says what it likes, with a certificate that it came by in the proper way.
struct Rogue {
    credentials: Credentials,
    api: String,
}

/// Its stream, once it was let in.
struct Line {
    say: mpsc::Sender<AgentMessage>,
    told: tonic::Streaming<trireme_proto::wire::ControllerMessage>,
}

impl Rogue {
    const INCARNATION: &'static str = "00000000000000000000000000000bad";

    /// Joins as a node with a token that an operator gave out for it.
    async fn join(rig: &Rig, node: &str) -> Self {
        let make = ["token", "create", "--node", node, "--region", "aws"];
        let made = rig.trictl(&[&make[..], &["--address", "127.9.9.9"]].concat()).await.exits(0);
        let token = made.json()["token"].as_str().unwrap().to_owned();
        let pin = people::root(rig).pin();
        let door = joining_channel(&people::enrol(rig), pin, &ChannelOptions::default()).unwrap();
        let key = SecretKey::generate().unwrap();
        let asked = JoinRequest {
            token: token.clone(),
            csr: key.request().unwrap().into(),
            incarnation: Self::INCARNATION.to_owned(),
        };
        let reply = EnrolClient::new(door.clone()).join(asked.clone()).await.unwrap().into_inner();
        // B6: said again by whoever listened, with another key, the same token opens nothing.
        let other = SecretKey::generate().unwrap().request().unwrap();
        let incarnation = "0000000000000000000000000000beef".to_owned();
        let replayed = JoinRequest { csr: other.into(), incarnation, ..asked };
        let refused = EnrolClient::new(door).join(replayed).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
        assert!(token.parse::<Token>().is_ok());
        let der = |bytes: &[u8]| rustls::pki_types::CertificateDer::from(bytes.to_vec());
        let chain = reply.chain.iter().map(|bytes| der(bytes)).collect();
        let credentials = Credentials::new(vec![der(&reply.root)], chain, &key).unwrap();
        Self { credentials, api: rig.fleet.controllers()[0].api.to_string() }
    }

    fn client(&self) -> AgentClient<tonic::transport::Channel> {
        let options = ChannelOptions::default();
        let door = channel(&self.api, &Server::AnyController, &self.credentials, &options);
        AgentClient::new(door.unwrap())
    }

    /// Begins a stream; who is not let in is told why.
    async fn session(&self, incarnation: &str) -> Result<Line, Status> {
        let (say, said) = mpsc::channel(64);
        let hello = Hello {
            agent_version: "0".to_owned(),
            incarnation: incarnation.to_owned(),
            boot_id: String::new(),
            first: Some(Heartbeat { nonce: vec![1; 16].into(), ..Heartbeat::default() }),
        };
        say.send(AgentMessage { is: Some(Said::Hello(hello)) }).await.unwrap();
        let told = self.client().session(ReceiverStream::new(said)).await?.into_inner();
        Ok(Line { say, told })
    }
}

impl Line {
    async fn say(&self, said: Said) {
        self.say.send(AgentMessage { is: Some(said) }).await.unwrap();
    }

    /// Waits until a message is told that `is` likes; the end of the stream is its failure.
    async fn until(&mut self, what: &str, is: impl Fn(&Told) -> bool) -> Told {
        let wait = async {
            loop {
                let message = self.told.message().await.unwrap();
                let told = message.unwrap_or_else(|| panic!("the stream ended before {what}")).is;
                if let Some(told) = told.filter(&is) {
                    return told;
                }
            }
        };
        timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("{what} is missing"))
    }
}

/// B4, B5, B6, B7: an agent speaks for its own node, once, and of nothing but what it was asked.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_lies_changes_nothing_of_others() {
    bounded(async {
        let rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0"]).await;
        let rogue = Rogue::join(&rig, "aws-8").await;

        // Not with a disk that is not its own.
        let refused = rogue.session("another").await.map(drop).unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");

        // A certificate for more than it is cannot be had by asking for it.
        let key = rcgen::KeyPair::generate().unwrap();
        let mut wish = rcgen::CertificateParams::new(vec!["c-aws".to_owned()]).unwrap();
        wish.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let uri = "spiffe://e2e/region/aws/controller/c-aws".try_into().unwrap();
        wish.subject_alt_names.push(rcgen::SanType::URI(uri));
        let csr = wish.serialize_request(&key).unwrap().der().to_vec();
        let renewed = rogue.client().renew(RenewRequest { csr: csr.into() }).await.unwrap();
        let leaf = renewed.into_inner().chain[0].clone();
        let verified = Identity::from_certificate(&leaf).unwrap();
        assert_eq!(verified.identity.to_string(), "spiffe://e2e/region/aws/agent/aws-8");

        // What it reports of actions that are not its own, or that nobody ever asked for, is
        // acknowledged as heard and counts for nothing.
        let before: Vec<NodeView> = rig.look("node").await.unwrap();
        let mut line = rogue.session(Rogue::INCARNATION).await.unwrap();
        line.until("a welcome", |told| matches!(told, Told::Welcome(_))).await;
        let report = |seq, action| Report {
            seq,
            action: ActionId(action),
            progress: Progress::Running { step: Step::Start },
        };
        let lies: Vec<Report> = (1..200).map(|n| report(n, n)).collect();
        let lies = Reports { reports: serde_json::to_vec(&lies).unwrap().into() };
        line.say(Said::Reports(lies.clone())).await;
        line.until("an acknowledgement", |told| matches!(told, Told::Ack(_))).await;
        line.say(Said::Reports(lies)).await;
        let others = |nodes: Vec<NodeView>| {
            let others = nodes.into_iter().filter(|node| node.name.to_string() != "aws-8");
            others.map(|node| (node.name, node.services, node.action)).collect::<Vec<_>>()
        };
        let after: Vec<NodeView> = rig.look("node").await.unwrap();
        assert_eq!(others(after), others(before));

        // What only controllers say, said by an agent, ends its stream and nobody else's.
        line.say(Said::Hello(Hello::default())).await;
        let ended = timeout(Duration::from_secs(20), async {
            while let Ok(Some(_)) = line.told.message().await {}
        });
        ended.await.expect("the stream is ended");
        for unreadable in [&b"[{]"[..], &[0xff; 64], b"{\"seq\":1}"] {
            let mut line = rogue.session(Rogue::INCARNATION).await.unwrap();
            line.say(Said::Reports(Reports { reports: unreadable.to_vec().into() })).await;
            let ended = timeout(Duration::from_secs(20), async {
                while let Ok(Some(_)) = line.told.message().await {}
            });
            ended.await.expect("the stream is ended");
        }
        // The rest of the fleet noticed nothing.
        let restart = ["service", "restart", WEB, "--reason", "see", "--watch"];
        rig.trictl(&restart).await.exits(0);
    })
    .await;
}

/// Connections of the flood, to all controllers together.
const FLOOD: usize = 10_000;
/// Where it comes from. One source has a share of the handshakes under way; several together could
/// take all of them (ARCHITECTURE.md, "When thousands come at once").
const FLOOD_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 66, 0, 1);
/// A first record of TLS that never ends.
const HALF_HELLO: &[u8] = &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01];

/// Holds half a handshake open until it is dropped; begun again when it is cut off.
async fn hold(to: SocketAddr, from: Ipv4Addr, began: mpsc::Sender<()>) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind((from, 0).into()).unwrap();
        if let Ok(mut stream) = socket.connect(to).await {
            let _ = stream.write_all(HALF_HELLO).await;
            let _ = began.try_send(());
            let mut end = [0; 64];
            while matches!(stream.read(&mut end).await, Ok(read) if read > 0) {}
        }
        // As fast as an attacker would, but not so fast that the test is its own victim.
        sleep(Duration::from_secs(1)).await;
    }
}

/// B11: ten thousand handshakes of one source that never end, begun again whenever they are cut, keep
/// neither an agent out that comes in the middle of it, nor an operator.
#[tokio::test(flavor = "multi_thread")]
async fn b11_a_flood_of_half_open_handshakes_keeps_no_agent_out() {
    bounded(async {
        let (soft, hard) = files();
        let wanted = 3000 + FLOOD as u64;
        assert!(hard >= wanted, "at most {hard} files may be open here (now {soft}): ulimit -Hn");
        let mut rig = Rig::start(1).await;
        let targets: Vec<SocketAddr> = rig.fleet.controllers().iter().map(|one| one.api).collect();
        let node = "aws-1".parse().unwrap();
        rig.kill_agent(&node).await;
        let mut flood = JoinSet::new();
        let (began, mut beginnings) = mpsc::channel(FLOOD);
        for n in 0..FLOOD {
            flood.spawn(hold(targets[n % targets.len()], FLOOD_SOURCE, began.clone()));
        }
        // More than all controllers together ever work on at once are under way.
        for _ in 0..500 {
            timeout(Duration::from_secs(20), beginnings.recv()).await.expect("a flood").unwrap();
        }
        rig.fleet.agent_mut(&node).unwrap().process.start().unwrap();
        until("the agent that came in the middle of it", async || {
            rig.node("aws-1").await?.connected_to
        })
        .await;
        rig.trictl(&["get", "node"]).await.exits(0);
        assert_eq!(rig.dead(), Vec::<String>::new());
        flood.shutdown().await;
    })
    .await;
}

/// Allows this process as many open files as it may have; returns what it was, and what it is.
fn files() -> (u64, u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).unwrap();
    (limit.current.unwrap_or(u64::MAX), most)
}

/// Says something that is no protocol to an address, and waits for whatever comes back.
async fn shout(to: SocketAddr, said: &[u8]) {
    let Ok(Ok(mut stream)) = timeout(Duration::from_secs(2), TcpStream::connect(to)).await else {
        return;
    };
    let _ = stream.write_all(said).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(2), stream.read_to_end(&mut answer)).await;
}

/// B12: what is no protocol at all, at every door, and no file left to open, end no daemon.
#[tokio::test(flavor = "multi_thread")]
async fn b12_garbage_at_every_door_and_no_files_left_end_no_daemon() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0"]).await;
        let mut doors = Vec::new();
        for controller in rig.fleet.controllers() {
            let api = controller.api;
            // Peers are one port below, those who join one above.
            doors.extend([api.port() - 1, api.port(), api.port() + 1].map(|p| (api.ip(), p)));
        }
        let long = vec![0x16; 200_000];
        let http = [b"GET / HTTP/1.1\r\n".to_vec(), vec![b'a'; 100_000]].concat();
        let frames =
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\xff\xff\xff\xff\xff\xff";
        let huge = [vec![0x16, 3, 1, 0xff, 0xff], vec![0xff; 70_000]].concat();
        for (ip, port) in doors {
            for said in [&b""[..], b"\0", &long, &http, frames, &huge, HALF_HELLO] {
                shout(SocketAddr::new(ip, port), said).await;
            }
        }
        let dns = rig.fleet.controllers()[0].dns;
        let socket = UdpSocket::bind((IpAddr::from(Ipv4Addr::LOCALHOST), 0)).await.unwrap();
        for said in [&b""[..], b"\0", &[0xff; 512], &[0; 4000], &[0xc0; 1400]] {
            socket.send_to(said, dns).await.unwrap();
            shout(dns, said).await;
        }
        // A controller that may open no more files goes on, and takes callers again afterwards.
        let leader = rig.leader(None).await;
        let api = rig.fleet.controller_mut(&leader).unwrap().api;
        let pid = rig.fleet.controller_mut(&leader).unwrap().process.pid().unwrap();
        let was = limit_files(pid, 16);
        let mut held = Vec::new();
        for _ in 0..100 {
            if let Ok(Ok(stream)) =
                timeout(Duration::from_millis(50), TcpStream::connect(api)).await
            {
                held.push(stream);
            }
        }
        sleep(Duration::from_millis(500)).await;
        drop(held);
        limit_files(pid, was);
        assert_eq!(rig.dead(), Vec::<String>::new());
        let restart = ["service", "restart", WEB, "--reason", "see", "--watch"];
        rig.trictl(&restart).await.exits(0);
    })
    .await;
}

/// Sets how many files a process may have open; returns how many it was.
fn limit_files(pid: u32, most: u64) -> u64 {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    let was = rustix::process::getrlimit(Resource::Nofile);
    let limit = Rlimit { current: Some(most), maximum: was.maximum };
    prlimit(pid, Resource::Nofile, limit).unwrap().current.unwrap_or(u64::MAX)
}
