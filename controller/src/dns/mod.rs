//! The built-in DNS: every controller answers for the fleet's domain, with authority.
//!
//! ```text
//!   packet ─▶ mod (sockets) ─▶ message (bytes to bytes) ─▶ zone (question to answer)
//! ```
//!
//! It does not recurse, forward, transfer or read zone files. The zone is swapped whole, and the
//! next query sees it. Sockets are served here rather than by hickory-server, which logs each query
//! and sets no bound on tasks and connections.
//!
//! Each address has one task for UDP, which answers in line, and one for TCP with bounded
//! connections. A wildcard address answers from whatever address the route prefers: list the
//! host's addresses where it has several.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::ResponseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

mod message;
pub mod zone;

#[cfg(test)]
mod tests;

pub use zone::{DomainError, ServiceRecords, Target, Zone};

use message::{Reply, Transport, respond};

/// Tries a reader with any bytes (class B12): whatever comes as a query, what is sent back is a
/// reply, no longer than its transport carries.
pub(crate) fn any_query(zone: &Zone, packet: &[u8]) {
    for (transport, most) in [
        (Transport::Udp, usize::from(message::UDP_REPLY_MAX)),
        (Transport::Tcp, usize::from(u16::MAX)),
    ] {
        if let Some(reply) = respond(zone, packet, transport, 0) {
            assert!(reply.bytes.len() <= most, "a reply of {} bytes", reply.bytes.len());
            // Replies are never replied to.
            assert!(respond(zone, &reply.bytes, transport, 0).is_none(), "a reply is a query");
        }
    }
}

/// Longest query read, in bytes: a question and its options need far less, and no query for one
/// record has a reason to be longer.
const QUERY_LEN_MAX: usize = 4096;

/// Open TCP connections per address. TCP is the way of truncated answers only; one more is closed
/// at once, and its client turns to another controller.
const CONNECTIONS_MAX: usize = 256;

/// Queries on one TCP connection, so that no client keeps its place for ever.
const CONNECTION_QUERIES_MAX: usize = 1000;

/// How long a TCP connection may wait for its next whole query, or for its reply to be taken
/// (RFC 7766 asks for a few seconds).
const IDLE_MAX: Duration = Duration::from_secs(5);

/// Pause after a socket's error, such as too many open files, which would otherwise come back in a
/// busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Attempts to find a port that is free for UDP and TCP alike when any port will do.
const PORT_ATTEMPTS: usize = 16;

/// Tells why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has the port.
    #[error(
        "dns cannot listen on {address} ({transport}): the port is in use; \
         `ss -lnp 'sport = :{port}'` names the holder: stop it or give dns another address",
        port = address.port()
    )]
    InUse {
        /// Address asked for.
        address: SocketAddr,
        /// udp or tcp.
        transport: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A low port without the right to it.
    #[error(
        "dns cannot listen on {address} ({transport}): not permitted; grant the unit \
         `AmbientCapabilities=CAP_NET_BIND_SERVICE` or give dns a port above 1023"
    )]
    Denied {
        /// Address asked for.
        address: SocketAddr,
        /// udp or tcp.
        transport: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Anything else, most often an address that the host does not have.
    #[error(
        "dns cannot listen on {address} ({transport}); `ip address` lists the addresses of this \
         host"
    )]
    Failed {
        /// Address asked for.
        address: SocketAddr,
        /// udp or tcp.
        transport: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl BindError {
    fn new(address: SocketAddr, transport: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address, transport, source },
            io::ErrorKind::PermissionDenied => Self::Denied { address, transport, source },
            _ => Self::Failed { address, transport, source },
        }
    }
}

/// The server, bound and not yet answering.
#[derive(Debug)]
pub struct Dns {
    sockets: Vec<(UdpSocket, TcpListener)>,
    responder: Arc<Responder>,
}

impl Dns {
    /// Listens on `addresses` by UDP and TCP; port 0 takes one that is free for both.
    pub async fn bind(
        addresses: &[SocketAddr],
        zone: Arc<ArcSwap<Zone>>,
    ) -> Result<Self, BindError> {
        let mut sockets = Vec::with_capacity(addresses.len());
        for address in addresses {
            sockets.push(bind_both(*address).await?);
        }
        Ok(Self { sockets, responder: Arc::new(Responder::new(zone)) })
    }

    /// Returns the addresses in use, in the order given, with the ports that 0 became.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|(udp, _)| udp.local_addr().ok()).collect()
    }

    /// Answers until `shutdown`, then closes all connections.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        for (udp, tcp) in self.sockets {
            tasks.spawn(serve_udp(udp, Arc::clone(&self.responder), shutdown.clone()));
            tasks.spawn(serve_tcp(tcp, Arc::clone(&self.responder), shutdown.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

/// What all sockets share: the zone, and where the next answer's rotation starts.
#[derive(Debug)]
struct Responder {
    zone: Arc<ArcSwap<Zone>>,
    /// Keyed hash over a counter. The counter alone would not do: clients that ask for A and AAAA
    /// in turn would see every second start only.
    seed: RandomState,
    asked: AtomicU64,
}

impl Responder {
    fn new(zone: Arc<ArcSwap<Zone>>) -> Self {
        Self { zone, seed: RandomState::new(), asked: AtomicU64::new(0) }
    }

    fn respond(&self, packet: &[u8], transport: Transport, peer: SocketAddr) -> Option<Reply> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        // Half of the hash is as random as all of it, and fits every usize.
        let rotate = (self.seed.hash_one(asked) >> 32) as u32 as usize;
        let reply = respond(&self.zone.load(), packet, transport, rotate);
        match &reply {
            Some(reply) if reply.code != ResponseCode::FormErr => {}
            // Anybody can send these, so they must not fill the log.
            _ => tracing::debug!(%peer, ?transport, length = packet.len(), "malformed dns query"),
        }
        reply
    }
}

async fn bind_both(address: SocketAddr) -> Result<(UdpSocket, TcpListener), BindError> {
    let mut attempts = if address.port() == 0 { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let tcp = TcpListener::bind(address)
            .await
            .map_err(|source| BindError::new(address, "tcp", source))?;
        let chosen = tcp.local_addr().map_err(|source| BindError::new(address, "tcp", source))?;
        match UdpSocket::bind(chosen).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) if attempts > 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(BindError::new(chosen, "udp", source)),
        }
    }
}

async fn serve_udp(socket: UdpSocket, responder: Arc<Responder>, shutdown: CancellationToken) {
    let mut packet = vec![0; QUERY_LEN_MAX];
    loop {
        let received = tokio::select! {
            () = shutdown.cancelled() => return,
            received = socket.recv_from(&mut packet) => received,
        };
        let (length, peer) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "receiving a dns query failed");
                sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let reply = responder.respond(&packet[..length], Transport::Udp, peer);
        if let Some(reply) = reply
            && let Err(error) = socket.send_to(&reply.bytes, peer).await
        {
            tracing::debug!(%peer, %error, "sending a dns reply failed");
        }
    }
}

async fn serve_tcp(listener: TcpListener, responder: Arc<Responder>, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((_, peer)) if connections.len() >= CONNECTIONS_MAX => {
                tracing::debug!(%peer, limit = CONNECTIONS_MAX, "dns connection over the limit");
            }
            Ok((stream, peer)) => {
                connections.spawn(serve_connection(stream, peer, Arc::clone(&responder)));
            }
            Err(error) => {
                tracing::debug!(%error, "accepting a dns connection failed");
                sleep(ERROR_PAUSE).await;
            }
        }
    }
    connections.shutdown().await;
}

async fn serve_connection(mut stream: TcpStream, peer: SocketAddr, responder: Arc<Responder>) {
    if let Err(error) = answer_stream(&mut stream, peer, &responder).await {
        tracing::debug!(%peer, %error, "dns connection ended early");
    }
}

/// Answers the queries of one connection in their order, until the client or a limit ends it.
async fn answer_stream(
    stream: &mut TcpStream,
    peer: SocketAddr,
    responder: &Responder,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    for _ in 0..CONNECTION_QUERIES_MAX {
        let Some(query) = timeout(IDLE_MAX, read_query(stream)).await?? else {
            break;
        };
        let Some(reply) = responder.respond(&query, Transport::Tcp, peer) else {
            break;
        };
        let length = u16::try_from(reply.bytes.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &reply.bytes].concat();
        timeout(IDLE_MAX, stream.write_all(&framed)).await??;
    }
    stream.shutdown().await
}

/// Reads one query behind its length, or none at the end of the stream.
async fn read_query(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..]).await?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > QUERY_LEN_MAX {
        return Err(io::Error::other(format!(
            "query of {length} bytes is longer than {QUERY_LEN_MAX}"
        )));
    }
    let mut query = vec![0; length];
    stream.read_exact(&mut query).await?;
    Ok(Some(query))
}
