//! Which regions serve, seen from outside: one answering node makes its region serve.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use trireme_proto::id::RegionId;

use super::http::get;

/// Time between rounds: well under the time that any restart takes.
const ROUND_EVERY: Duration = Duration::from_millis(75);
/// Longest wait for one node: longer than a busy machine makes a healthy one wait.
const NODE_WAIT: Duration = Duration::from_secs(1);

/// Addresses of a service's nodes by region.
pub type Targets = BTreeMap<RegionId, Vec<SocketAddr>>;

/// Asks every region's nodes for their health, round after round.
#[derive(Debug)]
pub struct Probe {
    targets: Targets,
    path: String,
    rounds: Mutex<Vec<Round>>,
}

#[derive(Debug)]
struct Round {
    begun: Instant,
    serving: usize,
}

impl Probe {
    /// Makes a probe of `path` on every target.
    pub fn new(targets: Targets, path: impl Into<String>) -> Self {
        Self { targets, path: path.into(), rounds: Mutex::default() }
    }

    /// Probes until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        let mut rounds = interval(ROUND_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let probing = async {
            let mut number = 0;
            loop {
                rounds.tick().await;
                let begun = Instant::now();
                let serving = self.serving(number).await;
                let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
                rounds.push(Round { begun, serving });
                number += 1;
            }
        };
        stop.run_until_cancelled(probing).await;
    }

    /// Returns how many regions are probed.
    pub fn regions(&self) -> usize {
        self.targets.len()
    }

    /// Returns how many regions served in the newest round.
    pub fn newest(&self) -> usize {
        let rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        rounds.last().map_or(0, |round| round.serving)
    }

    /// Returns how many regions serve now; each round begins with another node.
    pub async fn serving(&self, round: usize) -> usize {
        let regions = self.targets.values().map(async |nodes| {
            for offset in 0..nodes.len() {
                if self.answers(nodes[(round + offset) % nodes.len()]).await {
                    return true;
                }
            }
            false
        });
        join_all(regions).await.into_iter().filter(|serves| *serves).count()
    }

    /// Returns the fewest regions that served in any round begun since `from`, if there was one.
    pub fn fewest_since(&self, from: Instant) -> Option<usize> {
        let rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        rounds.iter().filter(|round| round.begun >= from).map(|round| round.serving).min()
    }

    async fn answers(&self, node: SocketAddr) -> bool {
        matches!(timeout(NODE_WAIT, get(node, &self.path)).await,
            Ok(Ok(answer)) if answer.status.is_success())
    }
}
