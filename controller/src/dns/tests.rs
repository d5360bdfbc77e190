//! Real sockets: an independent resolver, and packets built by hand.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, TokioResolver};
use tokio::task::JoinHandle;

use super::*;

/// Longest wait for what must come; reached only where a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on loopback with one address, stopped when it is dropped.
struct Running {
    address: SocketAddr,
    zone: Arc<ArcSwap<Zone>>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(zone: Zone) -> Self {
        let zone = Arc::new(ArcSwap::from_pointee(zone));
        let any = "127.0.0.1:0".parse().unwrap();
        let dns = Dns::bind(&[any], Arc::clone(&zone)).await.unwrap();
        let address = dns.addresses()[0];
        let shutdown = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "stop awaits it")]
        let task = tokio::spawn(dns.run(shutdown.clone()));
        Self { address, zone, shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }

    async fn udp(&self, packet: &[u8]) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(packet, self.address).await.unwrap();
        let mut reply = [0; 4096];
        let (length, peer) =
            timeout(PATIENCE, socket.recv_from(&mut reply)).await.unwrap().unwrap();
        assert_eq!(peer, self.address);
        Message::from_vec(&reply[..length]).unwrap()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    fn resolver(&self) -> TokioResolver {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = self.address.port();
        }
        let server = NameServerConfig::new(self.address.ip(), true, connections);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        // The resolver then checks that replies keep the case of its questions.
        builder.options_mut().case_randomization = true;
        builder.options_mut().edns0 = true;
        builder.build().unwrap()
    }
}

fn zone_with(targets: &[(&str, &str)]) -> Zone {
    let mut zone = Zone::new("prod.example", "c1").unwrap();
    zone.nameservers.push(("c1".to_owned(), "127.0.0.1".parse().unwrap()));
    let targets = targets.iter().map(|(node, address)| Target {
        node: (*node).to_owned(),
        address: address.parse().unwrap(),
    });
    let records = ServiceRecords { ttl: Duration::ZERO, port: 8080, targets: targets.collect() };
    zone.services.insert("dvn".to_owned(), records);
    zone
}

fn three() -> Zone {
    zone_with(&[("a1", "10.1.0.1"), ("b1", "10.2.0.1"), ("b1", "fd00::b1")])
}

fn hundred() -> Zone {
    let names: Vec<_> = (0..100).map(|i| (format!("n{i}"), format!("10.0.0.{i}"))).collect();
    let targets: Vec<_> = names.iter().map(|(n, a)| (n.as_str(), a.as_str())).collect();
    zone_with(&targets)
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn packet(name: &str, kind: RecordType) -> Vec<u8> {
    query(name, kind).to_vec().unwrap()
}

async fn send(stream: &mut TcpStream, packet: &[u8]) {
    let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], packet].concat()).await.unwrap();
}

async fn receive(stream: &mut TcpStream) -> Message {
    let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
    let mut reply = vec![0; length.into()];
    timeout(PATIENCE, stream.read_exact(&mut reply)).await.unwrap().unwrap();
    Message::from_vec(&reply).unwrap()
}

/// Waits for the server to close `stream` and asserts that it said nothing more.
async fn assert_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is a close as well: it tells that the server left something unread.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"");
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    let mut all: Vec<_> = message.answers.iter().filter_map(|r| r.data.ip_addr()).collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn a_resolver_finds_services_nodes_and_ports() {
    let running = Running::start(three()).await;
    let resolver = running.resolver();

    let both = resolver.lookup_ip("dvn.prod.example.").await.unwrap();
    let mut found: Vec<_> = both.iter().map(|ip| ip.to_string()).collect();
    found.sort_unstable();
    assert!(found.starts_with(&["10.1.0.1".to_owned(), "10.2.0.1".to_owned()]), "{found:?}");

    let six = resolver.ipv6_lookup("b1.dvn.prod.example.").await.unwrap();
    assert_eq!(addresses(six.message()), ["fd00::b1".parse::<IpAddr>().unwrap()]);

    let srv = resolver.srv_lookup("_dvn._tcp.prod.example.").await.unwrap();
    let mut ports: Vec<_> = srv.answers().iter().map(|r| r.data.to_string()).collect();
    ports.sort_unstable();
    assert_eq!(ports, ["0 1 8080 a1.dvn.prod.example.", "0 1 8080 b1.dvn.prod.example."]);

    let soa = resolver.soa_lookup("prod.example.").await.unwrap();
    assert_eq!(soa.answers().len(), 1);
    let ns = resolver.ns_lookup("prod.example.").await.unwrap();
    assert_eq!(ns.answers()[0].data.to_string(), "c1.prod.example.");
    running.stop().await;
}

#[tokio::test]
async fn a_resolver_tells_a_missing_name_from_missing_records() {
    let running = Running::start(three()).await;
    let resolver = running.resolver();
    let missing = resolver.ipv4_lookup("nosuch.prod.example.").await.unwrap_err();
    assert!(missing.is_nx_domain(), "{missing}");
    let empty = resolver.ipv6_lookup("a1.dvn.prod.example.").await.unwrap_err();
    assert!(empty.is_no_records_found() && !empty.is_nx_domain(), "{empty}");
    running.stop().await;
}

#[tokio::test]
async fn a_resolver_gets_by_tcp_what_is_too_long_for_udp() {
    let running = Running::start(hundred()).await;
    let all = running.resolver().ipv4_lookup("dvn.prod.example.").await.unwrap();
    assert_eq!(all.answers().len(), 100);
    running.stop().await;
}

#[tokio::test]
async fn a_truncated_reply_is_whole_by_tcp() {
    let running = Running::start(hundred()).await;
    let mut asked = query("dvn.prod.example.", RecordType::A);
    let plain = running.udp(&asked.to_vec().unwrap()).await;
    assert!(plain.truncation && plain.edns.is_none());
    assert_eq!(plain.answers, []);

    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    asked.set_edns(edns);
    let capped = running.udp(&asked.to_vec().unwrap()).await;
    assert!(capped.truncation);
    assert_eq!(capped.edns.unwrap().max_payload(), 1232);

    let mut stream = running.connect().await;
    send(&mut stream, &asked.to_vec().unwrap()).await;
    let whole = receive(&mut stream).await;
    assert!(!whole.truncation && whole.edns.is_some());
    assert_eq!(whole.answers.len(), 100);
    running.stop().await;
}

#[tokio::test]
async fn garbage_does_not_stop_the_server() {
    let running = Running::start(three()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for garbage in [&b""[..], b"x", &[0xff; 600], &[0; 12], &vec![0xc0; 60_000]] {
        socket.send_to(garbage, running.address).await.unwrap();
    }
    let mut stream = running.connect().await;
    send(&mut stream, &[0xff; 30]).await;
    assert_closed(&mut stream).await;

    let reply = running.udp(&packet("dvn.prod.example.", RecordType::A)).await;
    assert_eq!(addresses(&reply).len(), 2);
    let mut stream = running.connect().await;
    send(&mut stream, &packet("dvn.prod.example.", RecordType::AAAA)).await;
    assert_eq!(addresses(&receive(&mut stream).await).len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn refuses_what_is_outside_the_zone() {
    let running = Running::start(three()).await;
    let reply = running.udp(&packet("www.example.com.", RecordType::A)).await;
    assert_eq!(reply.response_code, ResponseCode::Refused);
    assert!(!reply.authoritative);
    running.stop().await;
}

#[tokio::test]
async fn the_next_query_sees_a_new_zone() {
    let running = Running::start(three()).await;
    let asked = packet("dvn.prod.example.", RecordType::A);
    let mut stream = running.connect().await;
    send(&mut stream, &asked).await;
    assert_eq!(addresses(&receive(&mut stream).await).len(), 2);

    running.zone.store(Arc::new(zone_with(&[("g1", "10.3.0.1")])));
    let now = ["10.3.0.1".parse::<IpAddr>().unwrap()];
    assert_eq!(addresses(&running.udp(&asked).await), now);
    send(&mut stream, &asked).await;
    assert_eq!(addresses(&receive(&mut stream).await), now);
    let gone = running.udp(&packet("a1.dvn.prod.example.", RecordType::A)).await;
    assert_eq!(gone.response_code, ResponseCode::NXDomain);
    running.stop().await;
}

#[tokio::test]
async fn each_target_comes_first_in_some_reply() {
    let running = Running::start(three()).await;
    let asked = packet("dvn.prod.example.", RecordType::A);
    let mut first = std::collections::BTreeSet::new();
    // With two targets, 64 equal starts in a row have a chance of 1 in 2^63.
    for _ in 0..64 {
        let reply = running.udp(&asked).await;
        first.extend(reply.answers[0].data.ip_addr());
    }
    assert_eq!(first.len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn a_connection_ends_with_its_last_query() {
    let running = Running::start(three()).await;
    let asked = packet("dvn.prod.example.", RecordType::A);
    let mut stream = running.connect().await;
    for _ in 0..CONNECTION_QUERIES_MAX {
        send(&mut stream, &asked).await;
        assert_eq!(receive(&mut stream).await.answers.len(), 2);
    }
    assert_closed(&mut stream).await;
    running.stop().await;
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_places_come_free() {
    let running = Running::start(three()).await;
    let asked = packet("dvn.prod.example.", RecordType::A);
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = running.connect().await;
        send(&mut stream, &asked).await;
        receive(&mut stream).await;
        open.push(stream);
    }
    assert_closed(&mut running.connect().await).await;
    let reply = running.udp(&asked).await;
    assert_eq!(reply.answers.len(), 2);

    let mut freed = open.pop().unwrap();
    freed.shutdown().await.unwrap();
    assert_closed(&mut freed).await;
    // The place is free once the server has seen the task end, which it tells nobody.
    let served = async {
        loop {
            let mut stream = running.connect().await;
            let length = u16::try_from(asked.len()).unwrap().to_be_bytes();
            let sent = stream.write_all(&[&length[..], &asked].concat()).await;
            if sent.is_ok() && stream.read_u16().await.is_ok() {
                return;
            }
        }
    };
    timeout(PATIENCE, served).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let running = Running::start(three()).await;
    let mut silent = running.connect().await;
    let mut stuck = running.connect().await;
    stuck.write_all(&[0]).await.unwrap();
    assert_closed(&mut silent).await;
    assert_closed(&mut stuck).await;
    running.stop().await;
}

#[tokio::test]
async fn a_query_that_claims_to_be_huge_ends_the_connection() {
    let running = Running::start(three()).await;
    let mut stream = running.connect().await;
    stream.write_all(&[0xff, 0xff]).await.unwrap();
    assert_closed(&mut stream).await;
    running.stop().await;
}

#[tokio::test]
async fn shutdown_closes_connections_and_frees_the_port() {
    let running = Running::start(three()).await;
    let mut stream = running.connect().await;
    send(&mut stream, &packet("dvn.prod.example.", RecordType::A)).await;
    receive(&mut stream).await;
    let address = running.address;
    running.stop().await;
    assert_closed(&mut stream).await;
    let zone = Arc::new(ArcSwap::from_pointee(three()));
    assert!(Dns::bind(&[address], zone).await.is_ok());
}

#[tokio::test]
async fn tells_who_has_the_port_and_what_to_do() {
    let zone = || Arc::new(ArcSwap::from_pointee(three()));
    // A port that nobody has for TCP either: another test may have just that one.
    let (holder, address) = loop {
        let holder = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = holder.local_addr().unwrap();
        if TcpListener::bind(address).await.is_ok() {
            break (holder, address);
        }
    };
    let error = Dns::bind(&[address], zone()).await.unwrap_err();
    drop(holder);
    let port = address.port();
    assert_eq!(
        error.to_string(),
        format!(
            "dns cannot listen on {address} (udp): the port is in use; \
             `ss -lnp 'sport = :{port}'` names the holder: stop it or give dns another address"
        )
    );
    assert!(std::error::Error::source(&error).is_some());

    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = holder.local_addr().unwrap();
    let error = Dns::bind(&[address], zone()).await.unwrap_err();
    assert!(matches!(error, BindError::InUse { transport: "tcp", .. }), "{error}");

    let elsewhere = "192.0.2.1:0".parse().unwrap();
    let error = Dns::bind(&[elsewhere], zone()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "dns cannot listen on 192.0.2.1:0 (tcp); `ip address` lists the addresses of this host"
    );

    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    let error = BindError::new("127.0.0.1:53".parse().unwrap(), "tcp", denied);
    assert!(error.to_string().contains("CAP_NET_BIND_SERVICE"), "{error}");
}
