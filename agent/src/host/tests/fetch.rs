//! Artifacts: only the named file ever arrives, and whatever goes wrong leaves nothing.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use trireme_proto::digest::Digest;
use trireme_proto::model::Artifact;

use crate::host::artifact::{FetchError, Fetched, fetch};
use crate::http::{Client, HttpError};

/// Answers each connection with bytes made from the number of those before it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start_with(None, answer).await
    }

    async fn start_with(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                match &tls {
                    None => serve(stream, &seen, &answer).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, &seen, &answer).await;
                        }
                    }
                }
            }
        });
        Self { address, requests, _tasks: tasks }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    seen: &Mutex<Vec<String>>,
    answer: &impl Fn(usize) -> Vec<u8>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    let first = String::from_utf8_lossy(&head).lines().next().unwrap_or("").to_owned();
    let count = seen.lock().unwrap().len();
    seen.lock().unwrap().push(first);
    let _ = stream.write_all(&answer(count)).await;
    let _ = stream.shutdown().await;
}

const BODY: &[u8] = b"#!/bin/sh\nexit 0\n";

fn answer(body: &[u8], length: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn artifact(url: impl Into<String>, body: &[u8]) -> Artifact {
    Artifact { url: url.into(), sha256: Digest::of(body) }
}

async fn fetched(artifact: &Artifact, to: &Path) -> Result<Fetched, FetchError> {
    fetch(&Client::new(), artifact, to).await
}

/// Returns the names in a directory.
fn names(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn a_file_is_brought_once_and_mended_when_it_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a b"), dir.path().join("artifact"));
    fs::write(&from, BODY).unwrap();
    let artifact = artifact(format!("file://{}/a%20b", dir.path().display()), BODY);
    let now = Fetched::Now { bytes: BODY.len() as u64 };
    assert_eq!(fetched(&artifact, &to).await.unwrap(), now);
    assert_eq!(fetched(&artifact, &to).await.unwrap(), Fetched::Already);
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o755);
    fs::write(&to, "edited").unwrap();
    assert_eq!(fetched(&artifact, &to).await.unwrap(), now);
    assert_eq!(fs::read(&to).unwrap(), BODY);
}

#[tokio::test]
async fn another_file_than_the_named_one_is_refused_and_nothing_is_left() {
    let server = Server::start(|_| answer(b"evil", 4)).await;
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://{}/web-1.0.0", server.address);
    let artifact = artifact(&url, BODY);
    let error = fetched(&artifact, &dir.path().join("artifact")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "artifact {url} has digest {}, expected {}: nothing was kept",
            Digest::of(b"evil"),
            Digest::of(BODY)
        )
    );
    assert_eq!(names(dir.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_file_comes_over_http_and_a_body_cut_short_is_refused() {
    let server =
        Server::start(|count| answer(BODY, if count == 0 { BODY.len() + 1 } else { BODY.len() }))
            .await;
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("artifact");
    let artifact = artifact(format!("http://{}/web", server.address), BODY);
    let error = fetched(&artifact, &to).await.unwrap_err();
    assert!(matches!(error, FetchError::Http { got: 17, .. }), "{error:?}");
    assert_eq!(names(dir.path()), Vec::<PathBuf>::new());
    assert_eq!(fetched(&artifact, &to).await.unwrap(), Fetched::Now { bytes: 17 });
    assert_eq!(server.requests(), ["GET /web HTTP/1.1", "GET /web HTTP/1.1"]);
}

#[tokio::test]
async fn redirects_are_followed_a_few_times_and_never_out_of_http() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("artifact");
    let send_to = |location: &str| {
        format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
            .into_bytes()
    };
    let once =
        Server::start(
            move |count| {
                if count == 0 { send_to("/store?x=1") } else { answer(BODY, BODY.len()) }
            },
        )
        .await;
    let found = artifact(format!("http://{}/web", once.address), BODY);
    assert!(matches!(fetched(&found, &to).await.unwrap(), Fetched::Now { .. }));
    assert_eq!(once.requests()[1], "GET /store?x=1 HTTP/1.1");

    for (location, why, asked) in
        [("/again", "is one too many", 6), ("file:///etc/passwd", "is not an http or https URL", 1)]
    {
        let server = Server::start(move |_| send_to(location)).await;
        let lost = artifact(format!("http://{}/web", server.address), b"another");
        let error = fetched(&lost, &to).await.unwrap_err();
        assert!(error.to_string().ends_with(why), "{error}");
        assert_eq!(server.requests().len(), asked);
    }
}

#[tokio::test]
async fn what_cannot_be_had_is_said_with_its_url() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Server::start(|_| b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec()).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (url, message) in [
        (format!("http://{}/web", missing.address), "the server answered 404"),
        (format!("http://{closed}/web"), "cannot be fetched: got 0 bytes"),
        ("file:///no/such/file".to_owned(), "cannot be read"),
        ("file://relative".to_owned(), "names no absolute path"),
        ("ftp://127.0.0.1/web".to_owned(), "cannot be fetched: got 0 bytes"),
    ] {
        let error = fetched(&artifact(&url, BODY), &dir.path().join("artifact")).await.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.to_string().contains(&url), "{error}");
    }
    assert_eq!(names(dir.path()), Vec::<PathBuf>::new());
}

/// Returns a server's side of TLS for 127.0.0.1, and a client that trusts it.
fn tls() -> (TlsAcceptor, Client) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (TlsAcceptor::from(Arc::new(server)), Client::with_tls(Arc::new(client)))
}

#[tokio::test]
async fn https_trusts_the_known_alone_and_is_never_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("artifact");
    let (acceptor, client) = tls();
    let plain = Server::start(|_| answer(b"evil", 4)).await;
    let elsewhere = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n",
        plain.address
    );
    let server = Server::start_with(Some(acceptor), move |count| {
        if count == 0 { answer(BODY, BODY.len()) } else { elsewhere.clone().into_bytes() }
    })
    .await;
    let wanted = artifact(format!("https://{}/web", server.address), BODY);

    let (_, stranger) = tls();
    let error = fetch(&stranger, &wanted, &to).await.unwrap_err();
    let FetchError::Http { source, .. } = error else { panic!("{error:?}") };
    assert!(matches!(source, HttpError::Tls { .. }), "{source}");

    assert!(matches!(fetch(&client, &wanted, &to).await.unwrap(), Fetched::Now { .. }));
    fs::remove_file(&to).unwrap();
    let error = fetch(&client, &wanted, &to).await.unwrap_err();
    assert!(error.to_string().ends_with("gives up encryption"), "{error}");
    assert_eq!(plain.requests(), Vec::<String>::new());
}
