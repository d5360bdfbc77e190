//! Finds a service through the fleet's DNS, and uses no answer longer than its TTL allows.
//!
//! The time of an answer counts from when its question was sent, so that it ends for us no later
//! than for whoever gave it. It is asked for anew ahead of its end, in the background; a server
//! that stays silent makes room for the next one long before the answer at hand has ended.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Longest wait for one server: three of them fit into what is left of a TTL of one second.
const SERVER_WAIT: Duration = Duration::from_millis(150);
/// Longest wait of a request for an answer, where there is none that may be used.
const PICK_WAIT: Duration = Duration::from_secs(2);
/// Pause after no server had an answer.
const PAUSE: Duration = Duration::from_millis(50);
/// Largest answer by UDP that is read; more would have been truncated anyway.
const PACKET_LEN_MAX: usize = 4096;

/// Tells why there is no address to send a request to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolverError {
    /// The name is none.
    #[error("`{0}` is not a domain name")]
    Name(String),
    /// No server had a usable answer in time.
    #[error("no DNS server has an answer for {name}: {why}")]
    NoAnswer {
        /// Name that was asked for.
        name: String,
        /// What the servers said, newest first.
        why: String,
    },
}

/// An answer and until when it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    addresses: Arc<[IpAddr]>,
    asked: Instant,
    ttl: Duration,
}

impl Found {
    fn until(&self) -> Instant {
        self.asked + self.ttl
    }
}

/// Finds one service.
#[derive(Debug)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    name: Name,
    /// Server that answered last.
    current: AtomicUsize,
    /// Addresses given out, so that each gets its turn.
    turns: AtomicUsize,
    found: watch::Sender<Result<Found, String>>,
}

impl Resolver {
    /// Makes a resolver for `name`, asking `servers`; nothing is asked before it runs.
    pub fn new(servers: Vec<SocketAddr>, name: &str) -> Result<Self, ResolverError> {
        let name = Name::from_ascii(name).map_err(|_| ResolverError::Name(name.to_owned()))?;
        let found = watch::Sender::new(Err("nothing was asked yet".to_owned()));
        Ok(Self { servers, name, current: AtomicUsize::new(0), turns: AtomicUsize::new(0), found })
    }

    /// Keeps the answer fresh until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                match self.ask_all().await {
                    Ok(found) => {
                        // Early enough for every server to stay silent once before the end.
                        let again = found.asked + found.ttl * 2 / 5;
                        drop(self.found.send_replace(Ok(found)));
                        // A TTL of zero must not make a busy loop.
                        sleep_until(again.max(Instant::now() + PAUSE)).await;
                    }
                    Err(why) => {
                        self.found.send_if_modified(|found| {
                            let ended = !matches!(found, Ok(f) if f.until() > Instant::now());
                            if ended {
                                *found = Err(why);
                            }
                            ended
                        });
                        sleep(PAUSE).await;
                    }
                }
            }
        })
        .await;
    }

    /// Returns the address of a node that the DNS names at this moment; each gets its turn.
    pub async fn pick(&self) -> Result<IpAddr, ResolverError> {
        let mut found = self.found.subscribe();
        let end = Instant::now() + PICK_WAIT;
        loop {
            let why = match &*found.borrow_and_update() {
                Ok(found) if found.until() > Instant::now() => {
                    let turn = self.turns.fetch_add(1, Ordering::Relaxed);
                    return Ok(found.addresses[turn % found.addresses.len()]);
                }
                Ok(_) => "the last answer has expired".to_owned(),
                Err(why) => why.clone(),
            };
            // A sender that is gone answers no more; the deadline says so.
            if !matches!(timeout_at(end, found.changed()).await, Ok(Ok(()))) {
                return Err(ResolverError::NoAnswer { name: self.name.to_string(), why });
            }
        }
    }

    /// Asks the servers in turn, beginning with the one that answered last.
    async fn ask_all(&self) -> Result<Found, String> {
        let first = self.current.load(Ordering::Relaxed);
        let mut why = Vec::new();
        for offset in 0..self.servers.len() {
            let position = (first + offset) % self.servers.len();
            let server = self.servers[position];
            match timeout(SERVER_WAIT, self.ask(server)).await {
                Ok(Ok(found)) => {
                    self.current.store(position, Ordering::Relaxed);
                    return Ok(found);
                }
                Ok(Err(error)) => why.push(format!("{server}: {error}")),
                Err(_) => why.push(format!("{server}: silent for {SERVER_WAIT:?}")),
            }
        }
        Err(why.join(", "))
    }

    async fn ask(&self, server: SocketAddr) -> io::Result<Found> {
        let other = |text: String| io::Error::other(text);
        let id = u16::try_from(getrandom::u32()? & 0xffff).unwrap_or_default();
        let mut question = Message::new(id, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(self.name.clone(), RecordType::A));
        let packet = question.to_vec().map_err(|error| other(error.to_string()))?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        // Connected, so that only this server's packets arrive, and its absence is told at once.
        socket.connect(server).await?;
        let asked = Instant::now();
        socket.send(&packet).await?;
        let mut reply = vec![0; PACKET_LEN_MAX];
        loop {
            let length = socket.recv(&mut reply).await?;
            let Ok(answer) = Message::from_vec(&reply[..length]) else { continue };
            if answer.metadata.id == id {
                return read(&answer, asked).map_err(other);
            }
        }
    }
}

/// Reads the addresses of an answer.
fn read(answer: &Message, asked: Instant) -> Result<Found, String> {
    if answer.metadata.response_code != ResponseCode::NoError {
        return Err(format!("it answered {}", answer.metadata.response_code));
    }
    if answer.metadata.truncation {
        return Err("its answer was truncated".to_owned());
    }
    let records = answer.answers.iter().filter_map(|r| Some((r.data.ip_addr()?, r.ttl)));
    let (addresses, ttls): (Vec<_>, Vec<_>) = records.unzip();
    match ttls.iter().min() {
        Some(ttl) => {
            let ttl = Duration::from_secs(u64::from(*ttl));
            Ok(Found { addresses: addresses.into(), asked, ttl })
        }
        None => Err("it named no address".to_owned()),
    }
}
