//! The service that the demo upgrades: HTTP, some work a request, a graceful end.
//!
//! ```text
//!  /           the version, after some milliseconds of work
//!  /health     200, or what the release says
//!  /in-flight  number of requests to / that are under way
//! ```
//!
//! On SIGTERM it takes what has already knocked, closes its door, and finishes. Each start is
//! recorded durably in its working directory before it listens: the demo counts from these records
//! whether anything happened twice.

use std::convert::Infallible;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::context::now;

/// Name of the file in the working directory that every start is recorded in.
pub(super) const STARTS: &str = "starts.jsonl";
/// Time for requests under way to end once it was told to stop.
const DRAIN: Duration = Duration::from_secs(1);
/// Longest time a connection may take to send its request.
const HEADER_WAIT: Duration = Duration::from_secs(2);

/// What a release behaves like: the content of its artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Behaviour {
    /// Version that it answers with.
    pub(super) version: String,
    /// Status of its health check.
    pub(super) health: u16,
    /// Work of one request.
    pub(super) work_ms: u64,
}

/// One start of the service, as it recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Start {
    /// Version that was started.
    pub(super) version: String,
    /// Its process.
    pub(super) pid: u32,
    /// Node it runs on.
    pub(super) node: String,
    /// Action that started it.
    pub(super) action: String,
    /// Starts since that action's own.
    pub(super) restart: String,
    /// When, for people.
    pub(super) time: String,
}

/// Tells why the service ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The artifact cannot be read.
    #[error("release {path} cannot be read", path = path.display())]
    Artifact {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The artifact is none.
    #[error("release {path} is not an artifact of the demo", path = path.display())]
    Format {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The start cannot be recorded, so it must not happen.
    #[error("the start cannot be recorded in {STARTS}")]
    Record(#[source] io::Error),
    /// The address cannot be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

struct Server {
    behaviour: Behaviour,
    in_flight: AtomicUsize,
}

/// Serves until SIGTERM.
pub(crate) async fn run(release: &Path, listen: SocketAddr) -> Result<(), ServiceError> {
    let path = || release.to_owned();
    let text =
        fs::read(release).map_err(|source| ServiceError::Artifact { path: path(), source })?;
    let behaviour: Behaviour = serde_json::from_slice(&text)
        .map_err(|source| ServiceError::Format { path: path(), source })?;
    record(&behaviour).map_err(ServiceError::Record)?;
    let failed = |source| ServiceError::Listen { address: listen, source };
    // Before the door opens: nobody can ask it to stop sooner than it can hear.
    let mut stop = signal(SignalKind::terminate()).map_err(failed)?;
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let server = Arc::new(Server { behaviour, in_flight: AtomicUsize::new(0) });
    let stopping = CancellationToken::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stop.recv() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(Arc::clone(&server), stream, stopping.clone()));
                }
            }
        }
    }
    // Whoever has been let in by the system before the end is served as well.
    while let Ok(Ok((stream, _))) = timeout(Duration::ZERO, listener.accept()).await {
        connections.spawn(serve(Arc::clone(&server), stream, stopping.clone()));
    }
    drop(listener);
    stopping.cancel();
    let finished = async { while connections.join_next().await.is_some() {} };
    // What takes longer is cut off with the process.
    let _ = timeout(DRAIN, finished).await;
    Ok(())
}

async fn serve(server: Arc<Server>, stream: TcpStream, stopping: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(server.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A client that breaks off is no news to anybody here.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopping.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

impl Server {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, text) = match request.uri().path() {
            "/health" => {
                let status = StatusCode::from_u16(self.behaviour.health);
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, self.behaviour.version.clone())
            }
            "/in-flight" => (StatusCode::OK, self.in_flight.load(Ordering::SeqCst).to_string()),
            "/" => {
                let _held = Held::new(&self.in_flight);
                tokio::time::sleep(Duration::from_millis(self.behaviour.work_ms)).await;
                (StatusCode::OK, self.behaviour.version.clone())
            }
            _ => (StatusCode::NOT_FOUND, "there is nothing here".to_owned()),
        };
        let mut response = Response::new(Full::from(text + "\n"));
        *response.status_mut() = status;
        response
    }
}

/// Counts a request as under way as long as it is, also if its client breaks off.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Records this start so that a crash right after it does not lose it.
fn record(behaviour: &Behaviour) -> io::Result<()> {
    let told =
        |name: &str| std::env::var_os(name).unwrap_or_default().to_string_lossy().into_owned();
    let start = Start {
        version: behaviour.version.clone(),
        pid: std::process::id(),
        node: told("TRIREME_NODE"),
        action: told("TRIREME_ACTION"),
        restart: told("TRIREME_RESTART"),
        time: now().to_string(),
    };
    let mut line = serde_json::to_vec(&start)?;
    line.push(b'\n');
    let mut file = OpenOptions::new().create(true).append(true).open(STARTS)?;
    file.write_all(&line)?;
    file.sync_all()
}
