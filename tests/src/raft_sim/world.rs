//! Everything that one history shares: members, network, clients' words, story and counters.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use trireme_controller::raft::simulation::Syncing;

use super::config::{Config, MEMBERS};
use super::coverage::{Counter, Coverage};
use super::member::{Member, Running};
use super::net::Net;
use super::scene::Told;
use crate::sim::rng::Rng;
use crate::sim::story::Story;

/// What the members' disks are like, set by faults.
#[derive(Debug)]
pub struct Tempers {
    rng: Rng,
    usual: u64,
    slow: BTreeMap<u64, u64>,
}

/// What clients have sent and were told.
#[derive(Debug, Default)]
pub struct Words {
    /// Writes sent since the last look, with their registers.
    pub sent: Vec<((u64, u64), u8)>,
    /// Answers since the last look.
    pub told: Vec<Told>,
    /// The highest index that anybody has been told of.
    pub floor: u64,
}

/// All of it. Locks are held for one step and never across a wait.
#[derive(Debug)]
pub struct World {
    /// The parameters.
    pub config: Config,
    /// The network.
    pub net: Arc<Net>,
    members: Mutex<BTreeMap<u64, Member>>,
    words: Mutex<Words>,
    story: Mutex<Story>,
    coverage: Mutex<Coverage>,
    tempers: Arc<Mutex<Tempers>>,
    began: Instant,
}

/// Begins a task beside the one that runs.
#[expect(
    clippy::disallowed_methods,
    reason = "what a message or a crash sets off has no owner but its history, whose runtime ends it"
)]
pub(super) fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(task)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Returns a world in which nothing has happened.
    pub fn new(config: Config, root: &Path, story: Story) -> Self {
        let members = (1..=MEMBERS).map(|id| (id, Member::new(id, root))).collect();
        let tempers = Tempers {
            rng: Rng::new(config.seed ^ 0x6469_736b_7465_6d70),
            usual: config.sync,
            slow: BTreeMap::new(),
        };
        Self {
            net: Arc::new(Net::new(&config)),
            config,
            members: Mutex::new(members),
            words: Mutex::default(),
            story: Mutex::new(story),
            coverage: Mutex::default(),
            tempers: Arc::new(Mutex::new(tempers)),
            began: Instant::now(),
        }
    }

    /// Returns the simulated milliseconds since the beginning.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until a moment.
    pub async fn until(&self, at: u64) {
        tokio::time::sleep_until(self.began + Duration::from_millis(at)).await;
    }

    /// Returns what tells how long each fsync takes.
    pub fn syncing(&self) -> Arc<Syncing> {
        let tempers = Arc::clone(&self.tempers);
        Arc::new(move |path| {
            let tempers = &mut *lock(&tempers);
            let slow = tempers.slow.get(&Member::of_path(path)).copied();
            let most = slow.unwrap_or(tempers.usual);
            Duration::from_millis(tempers.rng.between(most / 4, most))
        })
    }

    /// Makes a disk slow, or as fast as usual.
    pub fn slow(&self, id: u64, most: Option<u64>) {
        let slow = &mut lock(&self.tempers).slow;
        match most {
            Some(most) => drop(slow.insert(id, most)),
            None => drop(slow.remove(&id)),
        }
    }

    /// Returns the members.
    pub fn members(&self) -> MutexGuard<'_, BTreeMap<u64, Member>> {
        lock(&self.members)
    }

    /// Returns a member that has power.
    pub fn running(&self, id: u64) -> Option<Running> {
        let running = self.members().get(&id)?.running.clone();
        running.filter(|running| !running.power.is_cancelled())
    }

    /// Returns all that have power, with their ids.
    pub fn all_running(&self) -> Vec<(u64, Running)> {
        (1..=MEMBERS).filter_map(|id| Some((id, self.running(id)?))).collect()
    }

    /// Returns what clients have said and heard.
    pub fn words(&self) -> MutexGuard<'_, Words> {
        lock(&self.words)
    }

    /// Writes down that `who` did `what`.
    pub fn say(&self, who: &str, what: impl FnOnce() -> String) {
        lock(&self.story).say(self.now(), who, what);
    }

    /// Counts one more.
    pub fn count(&self, counter: Counter) {
        lock(&self.coverage).count(counter);
    }

    /// Counts some more.
    pub fn count_all(&self, counter: Counter, times: u64) {
        lock(&self.coverage).count_all(counter, times);
    }

    /// Returns what was counted.
    pub fn coverage(&self) -> Coverage {
        lock(&self.coverage).clone()
    }

    /// Returns the lines of the story.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.story).lines().map(str::to_owned).collect()
    }
}
