//! The network between members: what is said to whom, whether it arrives, and when.
//!
//! [`super::line`] carries the calls of the real clients to the real services along it. A cut is
//! one-way; partitions of every shape are sets of cuts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use trireme_controller::raft::{Position, Service};
use trireme_proto::wire::raft_server::RaftServer;

use super::config::Config;
use super::registers::Registers;
use crate::sim::rng::Rng;

/// One way between two members.
pub type Way = (u64, u64);

/// A member as others reach it.
#[derive(Clone, Debug)]
pub struct End {
    /// Its service.
    pub server: RaftServer<Service<Registers>>,
    /// Goes with its power.
    pub power: CancellationToken,
}

/// Something that a member has told another, and that must outlive a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Its log holds this entry and all before.
    Holds(Position),
    /// It voted for this candidate in this term.
    Voted(u64, u64),
}

#[derive(Debug)]
struct Inner {
    rng: Rng,
    delay: u64,
    jitter: u64,
    loss: u64,
    twice: u64,
    cuts: BTreeSet<Way>,
    ends: BTreeMap<u64, End>,
    promises: Vec<(u64, Promise)>,
    lost: u64,
    doubled: u64,
}

/// The network.
#[derive(Debug)]
pub struct Net {
    inner: Mutex<Inner>,
    changed: Notify,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    /// Time on the way.
    pub delay: Duration,
    /// Whether it never arrives.
    pub lost: bool,
    /// Whether it arrives once more, this much later.
    pub again: Option<Duration>,
}

impl Net {
    /// Returns a network in which everything arrives.
    pub fn new(config: &Config) -> Self {
        let inner = Inner {
            rng: Rng::new(config.seed ^ 0x6e65_7477_6f72_6b31),
            delay: config.delay,
            jitter: config.jitter,
            loss: config.loss,
            twice: config.twice,
            cuts: BTreeSet::new(),
            ends: BTreeMap::new(),
            promises: Vec::new(),
            lost: 0,
            doubled: 0,
        };
        Self { inner: Mutex::new(inner), changed: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a member where others find it; nothing in place of one that is down.
    pub fn connect(&self, id: u64, end: Option<End>) {
        let mut inner = self.inner();
        match end {
            Some(end) => drop(inner.ends.insert(id, end)),
            None => drop(inner.ends.remove(&id)),
        }
    }

    /// Returns the member that has power now.
    pub fn end(&self, id: u64) -> Option<End> {
        self.inner().ends.get(&id).filter(|end| !end.power.is_cancelled()).cloned()
    }

    /// Cuts these ways and no others.
    pub fn cut(&self, cuts: BTreeSet<Way>) {
        self.inner().cuts = cuts;
        self.changed.notify_waiters();
    }

    /// Returns whether nothing arrives this way.
    pub fn is_cut(&self, way: Way) -> bool {
        self.inner().cuts.contains(&way)
    }

    /// Changes how messages fare from now on.
    pub fn weather(&self, delay: u64, jitter: u64, loss: u64, twice: u64) {
        let mut inner = self.inner();
        (inner.delay, inner.jitter, inner.loss, inner.twice) = (delay, jitter, loss, twice);
    }

    /// Decides about one message.
    pub fn fate(&self, way: Way) -> Fate {
        let mut inner = self.inner();
        let (delay, jitter, loss, twice) = (inner.delay, inner.jitter, inner.loss, inner.twice);
        let time = Duration::from_millis(delay + inner.rng.between(0, jitter));
        let lost = inner.rng.chance(loss);
        let again = inner.rng.chance(twice);
        let later = Duration::from_millis(inner.rng.between(1, 150));
        inner.lost += u64::from(lost);
        inner.doubled += u64::from(again);
        let lost = lost || inner.cuts.contains(&way);
        Fate { delay: time, lost, again: again.then_some(later) }
    }

    /// Decides by chance, `permille` times in a thousand.
    pub fn chance(&self, permille: u64) -> bool {
        self.inner().rng.chance(permille)
    }

    /// Waits until a way is open; false when that took longer than a connection lives.
    pub async fn is_open_within(&self, way: Way, limit: Duration) -> bool {
        let open = async {
            loop {
                let changed = self.changed.notified();
                if !self.is_cut(way) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, open).await.is_ok()
    }

    /// Remembers what a member has said.
    pub fn hear(&self, member: u64, promise: Promise) {
        self.inner().promises.push((member, promise));
    }

    /// Returns what was said since the last time.
    pub fn heard(&self) -> Vec<(u64, Promise)> {
        std::mem::take(&mut self.inner().promises)
    }

    /// Returns how many messages were lost by the weather, and how many arrived twice.
    pub fn mishaps(&self) -> (u64, u64) {
        let inner = self.inner();
        (inner.lost, inner.doubled)
    }
}
