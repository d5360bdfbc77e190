//! The accept loop: from a listening socket to verified connections, every step bounded.
//!
//! ```text
//! listener ─▶ seat (per source, in all) ─▶ handshake (how many, how long) ─▶ Incoming ─▶ tonic
//! ```
//!
//! tonic's own loop lets handshakes pile up without number or time and spins when the process is
//! out of file descriptors; so it is given finished connections instead. The main listener
//! demands a certificate of the fleet in the handshake; the join listener, for those who have
//! none yet, is another socket on which nothing but enrolment may be served.

mod connection;
mod peer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use trireme_proto::identity::{FleetName, Identity, subject};
use trireme_proto::tls::{Credentials, TlsError};

pub use self::connection::{Connection, Connections};
pub use self::peer::{Caller, Peer, caller_addr, peer_identity};

/// Pause after an error that the next accept would meet again, such as no file descriptors left.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Finished handshakes waiting for the server to take them; it does so at once unless stopping.
const INCOMING_MAX: usize = 64;

/// How much the outside may take of us before it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Handshakes under way; each takes some 20 KB and, near its end, half a millisecond of CPU.
    pub handshakes: usize,
    /// Handshakes under way from one source: well below all, so that none shuts the others out.
    pub handshakes_per_source: usize,
    /// Sockets held, open files being the scarcest resource.
    pub connections: usize,
    /// Sockets held by one source; a region behind one NAT address must fit in.
    pub connections_per_source: usize,
    /// Longest handshake; one across clouds with a lost packet takes under two seconds.
    pub handshake_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes: 128,
            handshakes_per_source: 32,
            connections: 20_000,
            connections_per_source: 10_000,
            handshake_timeout: Duration::from_secs(5),
        }
    }
}

/// What became of sockets, counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections handed to the server.
    pub accepted: u64,
    /// Sockets closed at once because their source, or all together, held too many.
    pub crowded: u64,
    /// Handshakes refused: no certificate, a foreign one, or no TLS at all.
    pub refused: u64,
    /// Handshakes that took too long.
    pub timed_out: u64,
    /// Sockets whose callers had given up before it was their turn.
    pub gone: u64,
    /// Errors of accept itself, followed by a pause.
    pub accept_errors: u64,
}

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    crowded: AtomicU64,
    refused: AtomicU64,
    timed_out: AtomicU64,
    gone: AtomicU64,
    accept_errors: AtomicU64,
}

/// Reads the counts of a running loop.
#[derive(Debug, Clone)]
pub struct Watch(Arc<Counters>);

impl Watch {
    /// Returns the counts as they stand.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            accepted: read(&self.0.accepted),
            crowded: read(&self.0.crowded),
            refused: read(&self.0.refused),
            timed_out: read(&self.0.timed_out),
            gone: read(&self.0.gone),
            accept_errors: read(&self.0.accept_errors),
        }
    }
}

/// Connections that passed the handshake, for tonic's `serve_with_incoming_shutdown`.
pub type Incoming = ReceiverStream<io::Result<Connection>>;

/// Tells why a handshake led nowhere.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("handshake took too long")]
    TimedOut,
    #[error("client gave up before its turn")]
    Gone,
    #[error("handshake failed")]
    Handshake(#[source] io::Error),
    #[error("client sent no certificate")]
    Anonymous,
    #[error("client certificate is not one of ours")]
    Identity(#[from] trireme_proto::identity::IdentityError),
    #[error("client is {0}, of another fleet")]
    Fleet(Box<Identity>),
}

/// One listener and its loop.
pub struct Acceptor {
    listener: TcpListener,
    handshake: Handshake,
    places: Arc<Semaphore>,
    limits: Limits,
    connections: Connections,
    counters: Arc<Counters>,
    ready: mpsc::Sender<io::Result<Connection>>,
    on_refused: OnRefused,
}

/// Who is told of a handshake that was refused, from where, and why.
pub type OnRefused = Arc<dyn Fn(SocketAddr, &str) + Send + Sync>;

/// What it takes to get in.
#[derive(Clone)]
struct Handshake {
    tls: TlsAcceptor,
    /// Whose certificates are demanded; `None` on the join listener.
    ours: Option<Ours>,
    timeout: Duration,
}

/// The fleet whose certificates count.
#[derive(Debug, Clone)]
struct Ours {
    fleet: FleetName,
    /// Names of its roots.
    roots: Arc<[String]>,
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("ours", &self.ours).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("handshake", &self.handshake).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Makes the main listener's loop: who has no certificate of our fleet does not get in.
    pub fn mutual(
        listener: TcpListener,
        credentials: &Credentials,
        limits: Limits,
        connections: Connections,
    ) -> Result<(Self, Incoming), TlsError> {
        let roots = credentials.roots().iter().map(|root| subject(root));
        let ours = Ours {
            fleet: credentials.identity().fleet().clone(),
            roots: roots.collect::<Result<_, _>>()?,
        };
        let tls = credentials.server_config()?.into();
        Ok(Self::new(listener, tls, Some(ours), limits, connections))
    }

    /// Makes the join listener's loop: anybody gets in, so serve enrolment there and nothing else.
    pub fn joining(
        listener: TcpListener,
        credentials: &Credentials,
        limits: Limits,
        connections: Connections,
    ) -> Result<(Self, Incoming), TlsError> {
        let tls = credentials.joining_server_config()?.into();
        Ok(Self::new(listener, tls, None, limits, connections))
    }

    fn new(
        listener: TcpListener,
        tls: TlsAcceptor,
        ours: Option<Ours>,
        limits: Limits,
        connections: Connections,
    ) -> (Self, Incoming) {
        let (ready, incoming) = mpsc::channel(INCOMING_MAX);
        let handshake = Handshake { tls, ours, timeout: limits.handshake_timeout };
        let places = Arc::new(Semaphore::new(limits.handshakes));
        let counters = Arc::default();
        let on_refused: OnRefused = Arc::new(|_, _| ());
        let acceptor =
            Self { listener, handshake, places, limits, connections, counters, ready, on_refused };
        (acceptor, ReceiverStream::new(incoming))
    }

    /// Returns it with somebody who is told of refused handshakes.
    #[must_use]
    pub fn telling(mut self, on_refused: OnRefused) -> Self {
        self.on_refused = on_refused;
        self
    }

    /// Returns a reader of the loop's counts.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.counters))
    }

    /// Accepts until told to stop or until nobody takes connections any more.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut handshakes = JoinSet::new();
        let mut streak = 0_u64;
        loop {
            let next = tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.ready.closed() => break,
                Some(_) = handshakes.join_next() => continue,
                next = self.next() => next,
            };
            match next {
                Ok((tcp, addr, place)) => {
                    streak = 0;
                    self.begin(&mut handshakes, tcp, addr, place);
                }
                Err(error) if concerns_one_socket(&error) => {}
                Err(error) => {
                    streak += 1;
                    self.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                    if streak == 1 {
                        warn!(%error, "cannot accept connections");
                    }
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        () = sleep(ACCEPT_BACKOFF) => {}
                    }
                }
            }
        }
        handshakes.shutdown().await;
    }

    /// Waits for a free place first and a socket second: what we cannot serve yet waits in the
    /// kernel's backlog, where it costs us no file descriptor.
    async fn next(&self) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let (tcp, addr) = self.listener.accept().await?;
        Ok((tcp, addr, place))
    }

    fn begin(
        &self,
        handshakes: &mut JoinSet<()>,
        tcp: TcpStream,
        addr: SocketAddr,
        place: OwnedSemaphorePermit,
    ) {
        let Some(seat) = self.connections.enter(addr.ip(), &self.limits) else {
            self.counters.crowded.fetch_add(1, Ordering::Relaxed);
            debug!(%addr, "closed a connection: too many from there or in all");
            return;
        };
        let (handshake, counters) = (self.handshake.clone(), Arc::clone(&self.counters));
        let (ready, on_refused) = (self.ready.clone(), Arc::clone(&self.on_refused));
        handshakes.spawn(async move {
            match handshake.perform(tcp, addr).await {
                Ok((tls, caller)) => {
                    counters.accepted.fetch_add(1, Ordering::Relaxed);
                    let connection = Connection::new(tls, caller, seat);
                    // Fails only when the server is gone, and the connection goes with it.
                    let _gone = ready.send(Ok(connection)).await.is_err();
                }
                Err(refused) => {
                    counters.note(addr, &refused);
                    if !matches!(refused, Refused::TimedOut | Refused::Gone) {
                        on_refused(addr, &refused.to_string());
                    }
                }
            }
            drop(place);
        });
    }
}

impl Counters {
    fn note(&self, addr: SocketAddr, refused: &Refused) {
        let counter = match refused {
            Refused::TimedOut => &self.timed_out,
            Refused::Gone => &self.gone,
            _ => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let cause = std::error::Error::source(refused).map(ToString::to_string);
        debug!(%addr, cause, "{refused}");
    }
}

impl Handshake {
    async fn perform(
        self,
        tcp: TcpStream,
        addr: SocketAddr,
    ) -> Result<(TlsStream<TcpStream>, Caller), Refused> {
        tcp.set_nodelay(true).map_err(Refused::Handshake)?;
        // In a storm callers wait in the backlog longer than they have patience. A handshake with
        // one who has left would cost as much as any, and let others wait longer still.
        if has_left(&tcp) {
            return Err(Refused::Gone);
        }
        let tls = timeout(self.timeout, self.tls.accept(tcp)).await;
        let tls = tls.map_err(|_| Refused::TimedOut)?.map_err(Refused::Handshake)?;
        let Some(Ours { fleet, roots }) = self.ours else {
            return Ok((tls, Caller { addr, peer: None }));
        };
        let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
        let leaf = chain.first().ok_or(Refused::Anonymous)?;
        let verified = Identity::from_certificate(leaf)?;
        if *verified.identity.fleet() != fleet {
            return Err(Refused::Fleet(Box::new(verified.identity)));
        }
        let peer = Some(Arc::new(Peer::new(verified, addr, &roots)));
        Ok((tls, Caller { addr, peer }))
    }
}

/// Returns whether the other end has closed its side: nobody does who waits for an answer.
fn has_left(tcp: &TcpStream) -> bool {
    let mut end = [PollFd::new(tcp, PollFlags::RDHUP)];
    poll(&mut end, Some(&Timespec::default())).is_ok_and(|found| found > 0)
}

/// Returns whether an error of accept belongs to the one socket that was at the head of the queue.
fn concerns_one_socket(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}

#[cfg(test)]
mod tests;
