//! What the proxy does to each link at this moment: how long it takes, and whether it works.
//!
//! A link goes one way, from one site to another; what is asked on a link comes back on the
//! opposite one. Both ways of a pair may be in different health: that is a half-open link.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::sim::rng::Rng;

/// Somebody who speaks over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// A controller, by its position.
    Controller(usize),
    /// An agent, by its position.
    Agent(usize),
    /// Whoever sits at a keyboard.
    Operators,
}

/// What a link does with what is sent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    /// It arrives, late.
    #[default]
    Open,
    /// It is kept and arrives once the link is open again, as packets that are sent again do.
    Held,
    /// It is lost, and the connection with it, without a word to anybody.
    Lost,
    /// Connections are reset and refused.
    Cut,
}

/// How long things take one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// At least this.
    pub base: Duration,
    /// At most this more.
    pub jitter: Duration,
}

/// State of every link.
#[derive(Debug)]
pub struct Network {
    seed: u64,
    links: Mutex<BTreeMap<(Site, Site), Flow>>,
    /// Factor on delays, in percent, of links that end or begin at a site.
    slow: Mutex<BTreeMap<Site, u32>>,
    changed: watch::Sender<u64>,
}

/// Shortest and longest base of a link's delay: 30 to 120 ms there and back.
const BASE_MS: std::ops::RangeInclusive<u64> = 15..=60;
/// Most that one delay is above its link's base: with it 150 ms there and back are not exceeded.
const JITTER: Duration = Duration::from_millis(15);

impl Network {
    /// Makes a network in which everything works, with delays drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            links: Mutex::default(),
            slow: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<(Site, Site), Flow>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slow(&self) -> MutexGuard<'_, BTreeMap<Site, u32>> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the flow of the links from each of `from` to each of `to`.
    pub fn set(&self, from: &[Site], to: &[Site], flow: Flow) {
        let mut links = self.links();
        for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))) {
            links.insert((from, to), flow);
        }
        drop(links);
        self.changed.send_modify(|version| *version += 1);
    }

    /// Sets the flow both ways between `one` and `other`.
    pub fn set_between(&self, one: &[Site], other: &[Site], flow: Flow) {
        self.set(one, other, flow);
        self.set(other, one, flow);
    }

    /// Makes the links of some sites slower; 100 percent is what they are.
    pub fn slow_down(&self, sites: &[Site], percent: u32) {
        self.slow().extend(sites.iter().map(|site| (*site, percent)));
    }

    /// Makes everything work again; connections that were lost stay lost.
    pub fn heal(&self) {
        self.links().clear();
        self.slow().clear();
        self.changed.send_modify(|version| *version += 1);
    }

    /// Returns what a link does now.
    pub fn flow(&self, from: Site, to: Site) -> Flow {
        self.links().get(&(from, to)).copied().unwrap_or_default()
    }

    /// Returns the delay of a link; the same in every run of one seed.
    pub fn delay(&self, from: Site, to: Site) -> Delay {
        // Both ways of a pair take the same.
        let (low, high) = (from.min(to), from.max(to));
        let mut rng = Rng::new(self.seed ^ number(low) ^ number(high).rotate_left(24));
        let base = Duration::from_millis(rng.between(*BASE_MS.start(), *BASE_MS.end()));
        let slow = self.slow();
        let percent = [from, to].iter().filter_map(|site| slow.get(site)).max();
        let percent = percent.copied().unwrap_or(100);
        Delay { base: base * percent / 100, jitter: JITTER * percent / 100 }
    }

    /// Returns a view of the moments at which some link changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Returns the stream of chance of one connection.
    pub fn chance(&self, from: Site, to: Site, connection: u64) -> Rng {
        let pair = number(from).rotate_left(13) ^ number(to).rotate_left(37);
        Rng::new(self.seed ^ pair ^ connection.rotate_left(48))
    }
}

fn number(site: Site) -> u64 {
    let of = |kind: u64, position: usize| (kind << 16) + u64::try_from(position).unwrap_or(0) + 1;
    match site {
        Site::Controller(position) => of(1, position),
        Site::Agent(position) => of(2, position),
        Site::Operators => of(3, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Site = Site::Controller(0);
    const B: Site = Site::Controller(1);

    #[test]
    fn delays_are_within_their_range_and_the_same_for_one_seed() {
        let (one, again) = (Network::new(7), Network::new(7));
        let sites: Vec<Site> =
            (0..5).map(Site::Controller).chain((0..30).map(Site::Agent)).collect();
        let mut distinct = std::collections::BTreeSet::new();
        for (from, to) in sites.iter().flat_map(|from| sites.iter().map(move |to| (*from, *to))) {
            let delay = one.delay(from, to);
            assert_eq!(delay, again.delay(from, to));
            assert_eq!(delay, one.delay(to, from));
            let there_and_back = 2 * delay.base.as_millis();
            assert!((30..=120).contains(&there_and_back), "{delay:?}");
            assert!(there_and_back + 2 * delay.jitter.as_millis() <= 150);
            distinct.insert(delay.base);
        }
        assert!(distinct.len() > 20, "links differ: {distinct:?}");
        one.slow_down(&[B], 300);
        assert_eq!(one.delay(A, B).base, 3 * again.delay(A, B).base);
        one.heal();
        assert_eq!(one.delay(A, B), again.delay(A, B));
    }

    #[test]
    fn one_way_may_fail_while_the_other_works() {
        let network = Network::new(0);
        let changes = network.changes();
        network.set(&[A], &[B], Flow::Held);
        assert!(changes.has_changed().unwrap());
        assert_eq!((network.flow(A, B), network.flow(B, A)), (Flow::Held, Flow::Open));
        network.set_between(&[A], &[B, Site::Operators], Flow::Cut);
        assert_eq!(network.flow(Site::Operators, A), Flow::Cut);
        network.heal();
        assert_eq!(network.flow(A, B), Flow::Open);
    }
}
