//! Who is answered at the door, and what becomes of those who only hold it open.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use trireme_proto::identity::Role;
use trireme_proto::key::SecretKey;
use trireme_proto::pki::{Issuer, Root};
use trireme_proto::time::WallTime;
use trireme_proto::tls::Server;

use super::*;

struct Page;

impl Site for Page {
    fn answer<'a>(&'a self, asked: &'a Asked) -> Option<Reply<'a>> {
        let body = format!("{} {}\n", asked.verbose, asked.format.media_type());
        (asked.path == "/livez")
            .then(|| -> Reply<'a> { Box::pin(async move { Answer::text(200, body) }) })
    }
}

struct Served {
    at: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn served(hosts: &[&str]) -> Served {
    let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
    let options = Options { hosts, ..Options::default() };
    let usual = "127.0.0.1:0".parse().unwrap();
    let door = Door::open(&options, usual, None).await.unwrap().unwrap();
    let (at, stop) = (door.address().unwrap(), CancellationToken::new());
    #[expect(clippy::disallowed_methods, reason = "it is awaited when it was told to stop")]
    let task = tokio::spawn(door.serve(Arc::new(Page), stop.clone()));
    Served { at, stop, task }
}

impl Served {
    async fn send(&self, request: &str) -> String {
        let mut tcp = TcpStream::connect(self.at).await.unwrap();
        // An early refusal may close it before all was sent.
        let _sent = tcp.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _cut = tcp.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn status(&self, host: &str) -> String {
        let answer = self.send(&format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        answer.split_whitespace().nth(1).unwrap_or_default().to_owned()
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// B16: a page of somebody else that had its own name point here gets nothing.
#[tokio::test]
async fn only_requests_to_our_own_address_or_name_are_answered() {
    let served = served(&["c1.internal"]).await;
    let port = served.at.port();
    for good in ["127.0.0.1", "localhost", "LOCALHOST", "c1.internal", "C1.Internal"] {
        assert_eq!(served.status(good).await, "200", "{good}");
        assert_eq!(served.status(&format!("{good}:{port}")).await, "200", "{good}");
        assert_eq!(served.status(&format!("{good}:1")).await, "421", "{good} at another port");
    }
    for bad in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "c1.internal.evil.example",
        "127.0.0.2",
        "[::1]",
        "0.0.0.0",
        "evil@127.0.0.1",
        "a b",
        "",
    ] {
        let status = served.status(bad).await;
        assert!(["421", "400"].contains(&status.as_str()), "{bad:?} gave {status}");
    }
    let two = "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n";
    assert!(served.send(two).await.starts_with("HTTP/1.1 421"));
    let line = "GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert!(served.send(line).await.starts_with("HTTP/1.1 421"));
    let none = "GET /livez HTTP/1.0\r\n\r\n";
    assert!(served.send(none).await.starts_with("HTTP/1.0 421"));
    served.end().await;
}

#[tokio::test]
async fn what_is_asked_for_is_read_and_nothing_else_is_there() {
    let served = served(&[]).await;
    let get = async |line: &str, headers: &str| {
        served.send(&format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")).await
    };
    let open = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let answer = get("GET /livez?verbose", open).await;
    assert!(
        answer
            .ends_with("\r\n\r\ntrue application/openmetrics-text; version=1.0.0; charset=utf-8\n")
    );
    assert!(answer.contains("cache-control: no-store"), "{answer}");
    let answer = get("GET /livez", "").await;
    assert!(
        answer.ends_with("\r\n\r\nfalse text/plain; version=0.0.4; charset=utf-8\n"),
        "{answer}"
    );
    assert!(get("GET /", "").await.starts_with("HTTP/1.1 404"));
    assert!(get("GET /livez/../etc", "").await.starts_with("HTTP/1.1 404"));
    let answer = get("POST /livez", "Content-Length: 0\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET, HEAD"), "{answer}");
    served.end().await;
}

/// B11: heads without end are cut off, and silence takes no more than its share.
#[tokio::test]
async fn a_head_that_is_too_large_or_never_ends_is_given_up() {
    let served = served(&[]).await;
    let large =
        format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(9000));
    assert!(served.send(&large).await.starts_with("HTTP/1.1 431"));
    let many = "X: y\r\n".repeat(200);
    let many = served.send(&format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{many}\r\n")).await;
    assert!(many.starts_with("HTTP/1.1 431"), "{many}");
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(served.at).await.unwrap());
    }
    // As soon as those who say nothing are given up, there is room again.
    assert_eq!(served.status("localhost").await, "200");
    for mut tcp in silent {
        assert_eq!(tcp.read(&mut [0; 64]).await.unwrap_or(0), 0, "it was closed without a word");
    }
    served.end().await;
}

#[tokio::test]
async fn it_need_not_be_there() {
    let off = Options { listen: Some(Listen::Off), hosts: Vec::new() };
    assert!(Door::open(&off, "127.0.0.1:0".parse().unwrap(), None).await.unwrap().is_none());
}

/// Certificates of a fleet: of a controller to listen with, and of those who ask.
struct Fleet {
    root: Root,
    issuer: Issuer,
}

fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    WallTime(u64::try_from(since.as_millis()).unwrap())
}

impl Fleet {
    fn new() -> Self {
        let name = "test".parse().unwrap();
        let root = Root::generate(&name, now()).unwrap();
        let key = SecretKey::generate().unwrap();
        let signed =
            root.issue_intermediate(&key.request().unwrap(), &"c1".parse().unwrap(), now());
        let issuer = Issuer::new(name, signed.unwrap(), &key).unwrap();
        Self { root, issuer }
    }

    fn credentials(&self, kind: &str) -> Credentials {
        let key = SecretKey::generate().unwrap();
        let (request, region) = (key.request().unwrap(), "aws".parse().unwrap());
        let issued = match kind {
            "controller" => {
                self.issuer.issue_controller(&request, &region, &"c1".parse().unwrap(), now())
            }
            "agent" => self.issuer.issue_agent(&request, &region, &"n1".parse().unwrap(), now()),
            _ => {
                let (name, role) = ("ann".parse().unwrap(), Role::Auditor);
                self.issuer.issue_user(&request, &name, role, now())
            }
        };
        let roots = vec![self.root.certificate().clone()];
        Credentials::new(roots, issued.unwrap().chain, &key).unwrap()
    }
}

async fn ask_over_tls(at: SocketAddr, credentials: &Credentials) -> String {
    let config = credentials.client_config(&Server::AnyController).unwrap();
    let name = "any.invalid".try_into().unwrap();
    let asked = async {
        let tcp = TcpStream::connect(at).await?;
        let mut tls = TlsConnector::from(config).connect(name, tcp).await?;
        tls.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = String::new();
        tls.read_to_string(&mut answer).await.map(|_| answer)
    };
    asked.await.unwrap_or_default()
}

/// DMP-36: where it is not the loopback, it speaks TLS and asks who is there.
#[tokio::test]
async fn with_certificates_only_people_and_controllers_are_answered() {
    let fleet = Fleet::new();
    let own = fleet.credentials("controller");
    let admit: Admit = Arc::new(|caller, _| !matches!(caller.identity, Identity::Agent { .. }));
    let tls = Some((TlsAcceptor::from(own.server_config().unwrap()), admit));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let door = Door { listener, tls, hosts: Arc::new([]) };
    let (at, stop) = (door.address().unwrap(), CancellationToken::new());
    #[expect(clippy::disallowed_methods, reason = "it is awaited when it was told to stop")]
    let task = tokio::spawn(door.serve(Arc::new(Page), stop.clone()));
    let served = Served { at, stop, task };
    for good in ["user", "controller"] {
        let answer = ask_over_tls(at, &fleet.credentials(good)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{good}: {answer}");
    }
    assert_eq!(ask_over_tls(at, &fleet.credentials("agent")).await, "");
    let foreign = Fleet::new().credentials("user");
    assert_eq!(ask_over_tls(at, &foreign).await, "");
    assert_eq!(
        served.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.len(),
        7,
        "an alert"
    );
    served.end().await;
}
