//! Open connections: counted by where they come from, and cut at a word.
//!
//! Every accepted socket takes a [`Seat`], which bounds how many one source and all together may
//! hold, and gives it back when dropped. An established [`Connection`] fails its next read or
//! write once cut, which ends every request and stream on it at once: HTTP/2 would let them run.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use trireme_proto::time::WallTime;

use super::Limits;
use super::peer::{Caller, Peer};

/// All connections of a controller; clones share one state.
#[derive(Clone, Default)]
pub struct Connections(Arc<Mutex<Registry>>);

#[derive(Default)]
struct Registry {
    next: u64,
    seats: usize,
    sources: HashMap<IpAddr, Source>,
    open: HashMap<u64, Open>,
}

#[derive(Default)]
struct Source {
    seats: usize,
    handshakes: usize,
}

struct Open {
    caller: Caller,
    cut: Arc<Cut>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("open", &self.len()).finish_non_exhaustive()
    }
}

impl Connections {
    /// Returns how many connections are established.
    pub fn len(&self) -> usize {
        self.lock().open.len()
    }

    /// Returns whether no connection is established.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes at once every connection of a peer that `condemned` picks; returns how many.
    ///
    /// Requests already dispatched lose their connection; a peer that dials again is met by the
    /// check of each request, so apply the denial first and cut second.
    pub fn cut(&self, condemned: impl Fn(&Peer) -> bool) -> usize {
        self.cut_where(|caller| caller.peer.as_deref().is_some_and(&condemned))
    }

    /// Closes every connection whose certificate has ended: the handshake looked only once, so
    /// call this every few seconds.
    pub fn cut_expired(&self, now: WallTime) -> usize {
        self.cut(|peer| peer.not_after <= now)
    }

    /// Closes every connection, also those without a peer: for the end of a shutdown's grace.
    pub fn cut_all(&self) -> usize {
        self.cut_where(|_| true)
    }

    fn cut_where(&self, condemned: impl Fn(&Caller) -> bool) -> usize {
        let cuts: Vec<_> = {
            let registry = self.lock();
            let open = registry.open.values().filter(|open| condemned(&open.caller));
            open.map(|open| Arc::clone(&open.cut)).collect()
        };
        // Waking may drop a connection, which takes the lock: so only after it is released.
        for cut in &cuts {
            cut.now();
        }
        cuts.len()
    }

    /// Takes a seat for a new socket, unless its source or all together hold too many.
    pub(super) fn enter(&self, ip: IpAddr, limits: &Limits) -> Option<Seat> {
        let ip = source_of(ip);
        let mut registry = self.lock();
        if registry.seats >= limits.connections {
            return None;
        }
        let source = registry.sources.entry(ip).or_default();
        if source.handshakes >= limits.handshakes_per_source
            || source.seats >= limits.connections_per_source
        {
            return None;
        }
        source.handshakes += 1;
        source.seats += 1;
        registry.seats += 1;
        drop(registry);
        Some(Seat { connections: self.clone(), ip, open: None })
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // Nothing panics while it is held, and counts would stay right if something did.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what counts as one source: an address, or the network that one IPv6 customer gets.
fn source_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// One socket's place, from accept to close.
#[derive(Debug)]
pub(super) struct Seat {
    connections: Connections,
    ip: IpAddr,
    /// Number in the registry once the handshake is done.
    open: Option<u64>,
}

impl Seat {
    /// Notes that the handshake is done, which makes the connection visible to cuts.
    fn establish(&mut self, caller: Caller) -> Arc<Cut> {
        let cut = Arc::new(Cut::default());
        let mut registry = self.connections.lock();
        let id = registry.next;
        registry.next += 1;
        registry.open.insert(id, Open { caller, cut: Arc::clone(&cut) });
        if let Some(source) = registry.sources.get_mut(&self.ip) {
            source.handshakes -= 1;
        }
        self.open = Some(id);
        cut
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut registry = self.connections.lock();
        registry.seats -= 1;
        if let Some(source) = registry.sources.get_mut(&self.ip) {
            source.seats -= 1;
            source.handshakes -= usize::from(self.open.is_none());
            if source.seats == 0 {
                registry.sources.remove(&self.ip);
            }
        }
        if let Some(id) = self.open {
            registry.open.remove(&id);
        }
    }
}

/// The word to close, and whom to wake with it.
#[derive(Default)]
struct Cut {
    spoken: AtomicBool,
    waker: AtomicWaker,
}

impl Cut {
    fn now(&self) {
        self.spoken.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Fails once cut; otherwise makes sure the polling task is woken when that happens.
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.waker.register(cx.waker());
        if self.spoken.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "connection was cut"));
        }
        Ok(())
    }
}

/// An established connection, as the server takes it over.
pub struct Connection {
    io: Box<TlsStream<TcpStream>>,
    caller: Caller,
    cut: Arc<Cut>,
    _seat: Seat,
}

impl Connection {
    pub(super) fn new(io: TlsStream<TcpStream>, caller: Caller, mut seat: Seat) -> Self {
        let cut = seat.establish(caller.clone());
        Self { io: Box::new(io), caller, cut, _seat: seat }
    }

    /// Returns who is at the other end.
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// Requests find the [`Caller`] in their extensions, and not tonic's own types: one source of
/// truth, read once when the connection was made.
impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.cut.check(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.cut.check(cx)?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.check(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.check(cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.cut.check(cx)?;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(handshakes: usize, per_source: usize, all: usize) -> Limits {
        Limits {
            handshakes_per_source: handshakes,
            connections_per_source: per_source,
            connections: all,
            ..Limits::default()
        }
    }

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    #[test]
    fn one_source_cannot_take_the_seats_of_others() {
        let (connections, limits) = (Connections::default(), limits(2, 9, 9));
        let seats: Vec<_> = (0..5).filter_map(|_| connections.enter(v4(1), &limits)).collect();
        assert_eq!(seats.len(), 2);
        assert!(connections.enter(v4(2), &limits).is_some());
        drop(seats);
        assert!(connections.enter(v4(1), &limits).is_some());
        assert!(connections.lock().sources.is_empty(), "sources are forgotten with their seats");
    }

    #[test]
    fn a_done_handshake_frees_its_place_but_not_its_seat() {
        let (connections, limits) = (Connections::default(), limits(1, 2, 9));
        let caller = Caller { addr: (v4(1), 1).into(), peer: None };
        let mut first = connections.enter(v4(1), &limits).unwrap();
        assert!(connections.enter(v4(1), &limits).is_none());
        let _cut = first.establish(caller);
        let second = connections.enter(v4(1), &limits).unwrap();
        drop(second);
        assert_eq!(connections.len(), 1);
        drop(first);
        assert!(connections.is_empty());
        assert_eq!(connections.lock().seats, 0);
    }

    #[test]
    fn all_sources_together_are_bounded() {
        let (connections, limits) = (Connections::default(), limits(9, 9, 3));
        let seats: Vec<_> = (1..9).filter_map(|ip| connections.enter(v4(ip), &limits)).collect();
        assert_eq!(seats.len(), 3);
    }

    #[test]
    fn one_customers_network_is_one_source() {
        let source = |text: &str| source_of(text.parse().unwrap()).to_string();
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(source("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(source("192.0.2.1"), "192.0.2.1");
    }
}
