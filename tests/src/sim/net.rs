//! The simulated network: messages are delayed, lost, doubled and overtaken; links are cut one way
//! or both.
//!
//! It is weaker than what the programs use: TCP neither loses nor doubles within a connection. The
//! order within a connection is kept, except in histories that are wilder than any network.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rng::Rng;

/// One end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// A controller, by its place in the world.
    Controller(usize),
    /// A node, by its place in the world.
    Node(usize),
    /// An operator; its links are never cut, only lossy.
    Operator(usize),
}

/// How bad the network is, in times out of a thousand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weather {
    /// Messages that never arrive.
    pub loss: u64,
    /// Messages that arrive twice.
    pub double: u64,
    /// Messages that take very long.
    pub slow: u64,
}

/// Slowest ordinary delivery: across an ocean.
const DELAY_MAX: u64 = 120;
/// Slowest delivery of all: a stalled connection that recovers just before it is given up.
pub const SLOW_MAX: u64 = 3000;

/// Links that are cut, and the weather on all others.
#[derive(Debug, Default)]
pub struct Net {
    cuts: BTreeMap<(Peer, Peer), u64>,
    /// Last arrival on each link, for those that keep the order.
    last: BTreeMap<(Peer, Peer), u64>,
    /// Whether messages overtake each other even within a connection, as TCP never lets them.
    pub wild: bool,
    /// Weather of this history.
    pub weather: Weather,
}

impl Net {
    /// Cuts the link from `from` to `to` until `until`.
    pub fn cut(&mut self, from: Peer, to: Peer, until: u64) {
        let end = self.cuts.entry((from, to)).or_default();
        *end = until.max(*end);
    }

    /// Returns whether nothing gets from `from` to `to` at `now`.
    pub fn is_cut(&self, from: Peer, to: Peer, now: u64) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|until| now < *until)
    }

    /// Returns whether messages get through both ways.
    pub fn is_open(&self, one: Peer, other: Peer, now: u64) -> bool {
        !self.is_cut(one, other, now) && !self.is_cut(other, one, now)
    }

    /// Returns whether every message gets through, once and in time.
    pub fn is_calm(&self, now: u64) -> bool {
        self.weather == Weather::default() && self.cuts.values().all(|until| *until <= now)
    }

    /// Mends everything.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.weather = Weather::default();
        self.wild = false;
    }

    /// Returns when each copy of a message arrives: none, one or two.
    pub fn fate(&mut self, rng: &mut Rng, now: u64, from: Peer, to: Peer) -> [Option<u64>; 2] {
        if let Some(until) = self.cuts.get(&(from, to)).filter(|until| now < **until) {
            // A connection may outlive a short cut and deliver what it held.
            let held = until - now;
            let delivered = held < SLOW_MAX && rng.chance(500);
            let at = now + held + rng.between(1, DELAY_MAX);
            return [delivered.then(|| self.in_order(from, to, at)), None];
        }
        if rng.chance(self.weather.loss) {
            return [None, None];
        }
        let first = now + self.delay(rng);
        let first = self.in_order(from, to, first);
        let second = rng.chance(self.weather.double).then(|| now + self.delay(rng));
        [Some(first), second.map(|at| self.in_order(from, to, at))]
    }

    /// Returns when something that could arrive at `at` arrives behind what was sent before it.
    fn in_order(&mut self, from: Peer, to: Peer, at: u64) -> u64 {
        let connected = matches!(
            (from, to),
            (Peer::Node(_), Peer::Controller(_)) | (Peer::Controller(_), Peer::Node(_))
        );
        if self.wild || !connected {
            return at;
        }
        let last = self.last.entry((from, to)).or_default();
        *last = at.max(*last);
        *last
    }

    fn delay(&self, rng: &mut Rng) -> u64 {
        if rng.chance(self.weather.slow) {
            rng.between(DELAY_MAX, SLOW_MAX)
        } else {
            // Most links are short.
            rng.between(1, DELAY_MAX).min(rng.between(1, DELAY_MAX))
        }
    }
}
