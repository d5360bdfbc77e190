//! Live traffic: requests as clients send them, and what became of each.
//!
//! ```text
//!  resolver ── addresses, never used beyond their TTL ──▶ load ── one connection a request ──▶ nodes
//!  probe ───── which nodes answer on their health URL ──▶ how many regions serve
//! ```
//!
//! The load is open: a request is sent when it is due, whether or not earlier ones were answered,
//! and its time counts from when it was due. Nothing is sent twice: what failed has failed.

mod http;
mod probe;
mod resolver;
mod samples;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

pub use self::http::{Answer, GetError, get};
pub use self::probe::{Probe, Targets};
pub use self::resolver::{Resolver, ResolverError};
pub use self::samples::Numbers;

use self::samples::Samples;

/// Time between looks whether every request of a range has come to its end.
const SETTLE_EVERY: Duration = Duration::from_millis(20);

/// What is sent, how often, and how long an answer may take.
#[derive(Debug, Clone)]
pub struct Options {
    /// Requests a second.
    pub rate: u32,
    /// Port of the service.
    pub port: u16,
    /// Path that is asked for.
    pub path: String,
    /// Longest time for one request, from when it was due.
    pub timeout: Duration,
}

/// Sends requests at a steady rate and remembers what became of each.
#[derive(Debug)]
pub struct Load {
    options: Options,
    resolver: Arc<Resolver>,
    samples: Samples,
}

/// Why one request failed.
#[derive(Debug)]
enum Failed {
    Resolve(ResolverError),
    Get(SocketAddr, GetError),
    Status(SocketAddr, u16),
    TooLong,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => error.fmt(f),
            Self::Get(address, error) => write!(f, "{address}: {error}"),
            Self::Status(address, status) => write!(f, "{address}: status {status}"),
            Self::TooLong => f.write_str("no answer in time"),
        }
    }
}

impl Load {
    /// Makes a load that has sent nothing yet.
    pub fn new(resolver: Arc<Resolver>, options: Options) -> Self {
        Self { options, resolver, samples: Samples::default() }
    }

    /// Sends requests until told to stop, then waits for the last answers.
    pub async fn run(&self, stop: CancellationToken) {
        let period = Duration::from_secs(1) / self.options.rate.max(1);
        let begun = Instant::now();
        let mut requests = FuturesUnordered::new();
        for number in 0.. {
            let due = begun + period * number;
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = sleep_until(due) => break,
                    Some(()) = requests.next() => {}
                }
            }
            if stop.is_cancelled() {
                break;
            }
            requests.push(self.request(due));
        }
        while requests.next().await.is_some() {}
    }

    /// Returns what became of the requests that were due from `from` until now, once all ended.
    pub async fn since(&self, from: Instant) -> Numbers {
        let until = Instant::now();
        // Each request ends by its own timeout, so this does too.
        while self.samples.open(from, until) {
            sleep(SETTLE_EVERY).await;
        }
        self.samples.numbers(from, until)
    }

    /// Returns how many requests were due since `from`, and how many of them have failed so far.
    pub fn so_far(&self, from: Instant) -> (u64, u64) {
        self.samples.so_far(from)
    }

    async fn request(&self, due: Instant) {
        let number = self.samples.sent(due);
        let result = match timeout_at(due + self.options.timeout, self.exchange()).await {
            Ok(result) => result,
            Err(_) => Err(Failed::TooLong),
        };
        let failure = result.err().map(|failed| failed.to_string());
        self.samples.ended(number, due.elapsed(), failure);
    }

    async fn exchange(&self) -> Result<(), Failed> {
        let address = self.resolver.pick().await.map_err(Failed::Resolve)?;
        let address = SocketAddr::new(address, self.options.port);
        let answer = get(address, &self.options.path).await;
        let answer = answer.map_err(|error| Failed::Get(address, error))?;
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(Failed::Status(address, answer.status.as_u16()))
        }
    }
}
