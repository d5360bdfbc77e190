//! A closed loop of clients, each on a connection of its own, and what they meet.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::idle::cpu_seconds;
use super::stats::quantile;

/// Bytes of a value that is written.
pub const VALUE_LEN: usize = 256;

/// Longest wait for one request under load; one that takes longer is an error.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// A group of three that takes writes and answers reads.
pub trait System {
    /// Its clients.
    type Client: Client;
    /// Returns a client on a connection of its own: the first to the leader, the others to all
    /// members in turn.
    fn connect(&self, number: usize) -> impl Future<Output = Result<Self::Client>>;
    /// Returns its server processes.
    fn pids(&mut self) -> Result<Vec<u32>>;
}

/// A group whose leader can be taken away.
pub trait Group: System {
    /// How one of its members is called.
    type Member;
    /// Finds out who leads.
    fn find_leader(&mut self) -> impl Future<Output = Result<()>>;
    /// Hands the lead to another member.
    fn transfer(&mut self) -> impl Future<Output = Result<()>>;
    /// Kills the leader with SIGKILL.
    fn kill_leader(&mut self) -> impl Future<Output = Result<Self::Member>>;
    /// Starts a killed member again and waits until it is one of the group.
    fn bring_back(&mut self, member: Self::Member) -> impl Future<Output = Result<()>>;
}

/// One client with one request under way at a time.
pub trait Client: Send + 'static {
    /// Has 256 bytes committed, different for each `number`.
    fn write(&mut self, number: u64) -> impl Future<Output = Result<()>> + Send;
    /// Reads a value, linearizably.
    fn read(&mut self) -> impl Future<Output = Result<()>> + Send;
    /// Reads a value on the leader's lease, where there is such a thing.
    fn lease_read(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Commands of 256 bytes.
    Writes,
    /// Linearizable reads.
    Reads,
    /// Reads on the leader's lease.
    LeaseReads,
}

/// What came of one round of one cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Requests answered in a second.
    pub per_second: f64,
    /// Half of them were answered within this.
    pub p50_ms: f64,
    /// All but one in a hundred were answered within this.
    pub p99_ms: f64,
    /// Processor time of all servers for one request, in microseconds.
    pub cpu_us: f64,
    /// Requests that failed.
    pub errors: usize,
}

/// Lets `clients` clients work for `warm`, and then for `lasts`, which is measured.
pub async fn run<S: System>(
    system: &mut S,
    work: Work,
    clients: usize,
    warm: Duration,
    lasts: Duration,
) -> Result<Cell> {
    let (measuring, ending) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        let client = system.connect(number).await?;
        let (measuring, ending) = (Arc::clone(&measuring), Arc::clone(&ending));
        tasks.spawn(drive(client, work, measuring, ending));
    }
    tokio::time::sleep(warm).await;
    let pids = system.pids()?;
    let used = || pids.iter().map(|pid| cpu_seconds(*pid)).sum::<Result<f64>>();
    let before = used()?;
    let began = Instant::now();
    measuring.store(true, Ordering::Relaxed);
    tokio::time::sleep(lasts).await;
    measuring.store(false, Ordering::Relaxed);
    let (wall, cpu) = (began.elapsed().as_secs_f64(), used()? - before);
    ending.store(true, Ordering::Relaxed);
    let (mut times, mut errors) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (met, failed) = done.context("a client has panicked")?;
        times.extend(met);
        errors += failed;
    }
    times.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 requests")]
    let count = times.len() as f64;
    Ok(Cell {
        per_second: count / wall,
        p50_ms: quantile(&times, 0.5),
        p99_ms: quantile(&times, 0.99),
        cpu_us: cpu / count * 1e6,
        errors,
    })
}

async fn drive<C: Client>(
    mut client: C,
    work: Work,
    measuring: Arc<AtomicBool>,
    ending: Arc<AtomicBool>,
) -> (Vec<f64>, usize) {
    let (mut times, mut errors, mut number) = (Vec::new(), 0, 0);
    while !ending.load(Ordering::Relaxed) {
        number += 1;
        let began = Instant::now();
        let request = async {
            match work {
                Work::Writes => client.write(number).await,
                Work::Reads => client.read().await,
                Work::LeaseReads => client.lease_read().await,
            }
        };
        let done = tokio::time::timeout(REQUEST_MAX, request).await;
        let failed = !matches!(done, Ok(Ok(())));
        if measuring.load(Ordering::Relaxed) {
            if failed {
                errors += 1;
            } else {
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    (times, errors)
}
