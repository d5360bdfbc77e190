//! A TCP proxy that does to connections what the [`Network`] says.
//!
//! ```text
//!  dialler ──▶ door ── who is it? ──▶ pipe out  ── late, kept, lost or reset ──▶ controller
//!                                 ◀── pipe back ──
//! ```
//!
//! Each direction is read into a queue in which every piece has the moment it is due; what comes
//! out of the queue waits for its link to be open. An end or a reset of the other side is a piece
//! like any other: while a link is down nobody hears of it, as on a real one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::network::{Flow, Network, Site};
use super::origin::Origins;
use crate::sim::rng::Rng;

/// Largest piece that is passed on at once.
const PIECE_LEN: usize = 16 * 1024;
/// Pieces under way on one link of one connection: a second of a busy one; then senders wait.
const PIECES_MAX: usize = 256;
/// Pause after the system refused to accept, so that a lack of files makes no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who comes by a door.
#[derive(Debug, Clone)]
pub enum Guests {
    /// Always this one.
    Only(Site),
    /// Processes of the fleet, told apart by whose socket it is.
    Processes(Arc<Origins>),
}

/// One address to come by.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    guests: Guests,
    to: Site,
    behind: SocketAddr,
}

impl Door {
    /// Listens at `at` for guests of `to`, which is at `behind`.
    pub async fn open(
        at: SocketAddr,
        guests: Guests,
        to: Site,
        behind: SocketAddr,
    ) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(at).await?, guests, to, behind })
    }

    /// Passes on for ever; ends, connections included, when it is dropped.
    pub async fn run(self, network: Arc<Network>) {
        let mut connections = JoinSet::new();
        let at = self.listener.local_addr().unwrap_or(self.behind);
        for number in 0_u64.. {
            let accepted = loop {
                tokio::select! {
                    accepted = self.listener.accept() => break accepted,
                    Some(_) = connections.join_next() => {}
                }
            };
            let Ok((stream, peer)) = accepted else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (guests, network) = (self.guests.clone(), Arc::clone(&network));
            let (to, behind) = (self.to, self.behind);
            connections.spawn(async move {
                let from = match guests {
                    Guests::Only(site) => Some(site),
                    Guests::Processes(origins) => origins.find(peer, at).await,
                };
                // Whoever is not of the fleet, or has gone already, is sent away.
                if let Some(from) = from {
                    Link { network, from, to }.connect(stream, behind, number).await;
                }
            });
        }
    }
}

/// Both ways between two sites.
#[derive(Debug, Clone)]
struct Link {
    network: Arc<Network>,
    from: Site,
    to: Site,
}

/// Something on its way.
#[derive(Debug)]
enum Piece {
    Data(Bytes),
    End,
    Reset,
}

/// A connection came to its end in another way than by both sides ending it.
#[derive(Debug)]
struct Broken;

impl Link {
    /// Passes one connection on until it ends.
    async fn connect(self, guest: TcpStream, behind: SocketAddr, number: u64) {
        let broken = tokio::select! {
            result = self.pass(&guest, behind, number) => match result {
                Ok((near, far)) => {
                    self.pipes(guest, near, far).await;
                    return;
                }
                Err(Broken) => true,
            },
            () = self.is_cut() => true,
        };
        if broken {
            reset(&guest);
        }
    }

    /// Reaches the other side, as late as the link is, once it is open.
    async fn pass(
        &self,
        guest: &TcpStream,
        behind: SocketAddr,
        number: u64,
    ) -> Result<(Rng, (TcpStream, Rng)), Broken> {
        guest.set_nodelay(true).map_err(|_| Broken)?;
        // There and back of a handshake that the system has answered in our place.
        let (there, back) =
            (self.network.delay(self.from, self.to), self.network.delay(self.to, self.from));
        sleep(there.base + back.base).await;
        for (from, to) in [(self.from, self.to), (self.to, self.from)] {
            let direction = Direction { network: Arc::clone(&self.network), from, to };
            if !direction.passes().await? {
                // Lost for good: nobody answers until the guest gives up.
                std::future::pending::<()>().await;
            }
        }
        let far = TcpStream::connect(behind).await.map_err(|_| Broken)?;
        far.set_nodelay(true).map_err(|_| Broken)?;
        let chance = |from, to| self.network.chance(from, to, number);
        Ok((chance(self.from, self.to), (far, chance(self.to, self.from))))
    }

    async fn pipes(&self, guest: TcpStream, out: Rng, (far, back): (TcpStream, Rng)) {
        let [direction_out, direction_back] = [(self.from, self.to), (self.to, self.from)]
            .map(|(from, to)| Direction { network: Arc::clone(&self.network), from, to });
        let (guest_in, guest_out) = guest.into_split();
        let (far_in, far_out) = far.into_split();
        let mut guest_out = guest_out;
        let mut far_out = far_out;
        let is_broken = tokio::select! {
            ended = async { tokio::try_join!(
                direction_out.pipe(guest_in, &mut far_out, out),
                direction_back.pipe(far_in, &mut guest_out, back),
            ) } => ended.is_err(),
            () = self.is_cut() => true,
        };
        if is_broken {
            for half in [guest_out, far_out] {
                reset(half.as_ref());
                // Dropped, it would end the connection politely first.
                half.forget();
            }
        }
    }

    /// Waits until the link is cut either way.
    async fn is_cut(&self) {
        let mut changes = self.network.changes();
        loop {
            changes.mark_unchanged();
            let flow = |from, to| self.network.flow(from, to);
            if flow(self.from, self.to) == Flow::Cut || flow(self.to, self.from) == Flow::Cut {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// One way of a link.
#[derive(Debug)]
struct Direction {
    network: Arc<Network>,
    from: Site,
    to: Site,
}

impl Direction {
    /// Waits until something may pass; returns whether it arrives, or is lost.
    async fn passes(&self) -> Result<bool, Broken> {
        let mut changes = self.network.changes();
        loop {
            changes.mark_unchanged();
            match self.network.flow(self.from, self.to) {
                Flow::Open => return Ok(true),
                Flow::Lost => return Ok(false),
                Flow::Cut => return Err(Broken),
                Flow::Held => {}
            }
            if changes.changed().await.is_err() {
                return Err(Broken);
            }
        }
    }

    /// Passes on until the reading side has ended.
    async fn pipe(
        &self,
        from: OwnedReadHalf,
        to: &mut OwnedWriteHalf,
        rng: Rng,
    ) -> Result<(), Broken> {
        let (put, mut take) = mpsc::channel::<(Instant, Piece)>(PIECES_MAX);
        let writing = async {
            let mut is_lost = false;
            while let Some((due, piece)) = take.recv().await {
                sleep_until(due).await;
                // What was lost once cannot be joined to what comes later.
                is_lost = is_lost || !self.passes().await?;
                match piece {
                    _ if is_lost => {}
                    Piece::Data(bytes) => to.write_all(&bytes).await.map_err(|_| Broken)?,
                    Piece::End => {
                        to.shutdown().await.map_err(|_| Broken)?;
                        return Ok(());
                    }
                    Piece::Reset => return Err(Broken),
                }
            }
            // Ended on one side, and the other never hears of it: the connection stays half open.
            std::future::pending::<()>().await;
            Ok(())
        };
        let reading = self.read(from, put, rng);
        tokio::select! {
            result = writing => result,
            () = async { reading.await; std::future::pending().await } => Ok(()),
        }
    }

    async fn read(
        &self,
        mut from: OwnedReadHalf,
        put: mpsc::Sender<(Instant, Piece)>,
        mut rng: Rng,
    ) {
        let mut last = Instant::now();
        loop {
            let mut buffer = BytesMut::with_capacity(PIECE_LEN);
            let piece = match from.read_buf(&mut buffer).await {
                Ok(0) => Piece::End,
                Ok(_) => Piece::Data(buffer.freeze()),
                Err(_) => Piece::Reset,
            };
            let is_last = !matches!(piece, Piece::Data(_));
            let delay = self.network.delay(self.from, self.to);
            let jitter = u64::try_from(delay.jitter.as_micros()).unwrap_or(0);
            let jitter = Duration::from_micros(rng.between(0, jitter));
            // TCP keeps the order: nothing overtakes what was sent before it.
            last = last.max(Instant::now() + delay.base + jitter);
            if put.send((last, piece)).await.is_err() || is_last {
                return;
            }
        }
    }
}

/// Ends a connection without the manners of its protocol.
fn reset(stream: &TcpStream) {
    // Where it is gone already there is nothing to reset.
    let _ = stream.set_zero_linger();
}
