//! Agents connected to this controller: what each last said, and how to wake its stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use trireme_proto::id::NodeId;
use trireme_proto::time::Span;

use crate::clock::Instant;
use crate::machine::Wake;
use crate::presence::Seen;

/// What a stream shares with the rest of the controller.
#[derive(Debug)]
pub struct Session {
    /// Rises whenever the node may have something new waiting.
    pub wake: Notify,
    /// Cancelled when another stream of the same node takes over.
    pub replaced: Notify,
    said: Mutex<Option<Said>>,
    count: Arc<AtomicU64>,
}

/// A heartbeat.
#[derive(Debug)]
struct Said {
    at: Instant,
    /// Which heartbeat of this controller it is.
    number: u64,
    seen: Seen,
}

impl Session {
    /// Records a heartbeat that says the same as the last one but for its age.
    ///
    /// Returns whether there was one.
    pub fn heard_again(&self) -> bool {
        let mut said = lock(&self.said);
        let Some(said) = said.as_mut() else { return false };
        (said.at, said.number) = (Instant::now(), self.number());
        true
    }

    /// Records a heartbeat; returns whether it says something else than the last one.
    pub fn heard(&self, seen: Seen) -> bool {
        let mut said = lock(&self.said);
        let changed = said.as_ref().is_none_or(|said| said.seen != seen);
        *said = Some(Said { at: Instant::now(), number: self.number(), seen });
        changed
    }

    /// Returns what the agent last said, as it was said then.
    pub fn last<T>(&self, look: impl FnOnce(&Seen) -> T) -> Option<T> {
        lock(&self.said).as_ref().map(|said| look(&said.seen))
    }

    /// Numbers a heartbeat; only while `said` is locked, so that whoever has read the count finds
    /// every heartbeat up to it.
    fn number(&self) -> u64 {
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// All streams of this controller.
#[derive(Debug, Clone)]
pub struct Sessions {
    streams: Arc<Mutex<BTreeMap<NodeId, Arc<Session>>>>,
    changed: watch::Sender<()>,
    count: Arc<AtomicU64>,
    run: u64,
}

/// What agents have said since some point.
#[derive(Debug)]
pub struct Digest {
    /// What they last said, with its age.
    pub nodes: BTreeMap<NodeId, Seen>,
    /// Where to go on from.
    pub until: Point,
}

/// A point in what one run of a controller has heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Point {
    /// Random mark of the run.
    pub run: u64,
    /// Heartbeats heard by then.
    pub count: u64,
}

impl Point {
    /// After everything, in any run: for who wants to know of no node.
    pub const END: Self = Self { run: 0, count: u64::MAX };
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            streams: Arc::default(),
            changed: watch::Sender::new(()),
            count: Arc::default(),
            run: getrandom::u64().unwrap_or_default(),
        }
    }
}

impl Sessions {
    /// Registers a stream of `node`; an older one of the same node is told to end.
    pub fn open(&self, node: &NodeId) -> Arc<Session> {
        let session = Arc::new(Session {
            wake: Notify::new(),
            replaced: Notify::new(),
            said: Mutex::new(None),
            count: Arc::clone(&self.count),
        });
        let older = lock(&self.streams).insert(node.clone(), Arc::clone(&session));
        if let Some(older) = older {
            older.replaced.notify_one();
        }
        session
    }

    /// Forgets a stream that has ended, unless a newer one has its place.
    pub fn close(&self, node: &NodeId, session: &Arc<Session>) {
        let mut streams = lock(&self.streams);
        if streams.get(node).is_some_and(|current| Arc::ptr_eq(current, session)) {
            streams.remove(node);
        }
    }

    /// Tells that what some agent says has changed.
    pub fn note_change(&self) {
        self.changed.send_replace(());
    }

    /// Returns a receiver that is told of such changes.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Returns what every connected agent last said, of those heard from after `since`.
    pub fn digest(&self, since: Point) -> Digest {
        let since = if since == Point::END || since.run == self.run { since.count } else { 0 };
        let until = Point { run: self.run, count: self.count.load(Ordering::SeqCst) };
        let said_after = |(node, session): (&NodeId, &Arc<Session>)| {
            let said = lock(&session.said);
            let said = said.as_ref().filter(|said| said.number > since)?;
            Some((node.clone(), Seen { age: elapsed(said.at), ..said.seen.clone() }))
        };
        let nodes = lock(&self.streams).iter().filter_map(said_after).collect();
        Digest { nodes, until }
    }

    /// Returns how many agents are connected.
    pub fn len(&self) -> usize {
        lock(&self.streams).len()
    }

    /// Returns whether no agent is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes every stream, as when a leader is heard from again.
    pub fn wake_all(&self) {
        for session in lock(&self.streams).values() {
            session.wake.notify_one();
        }
    }
}

impl Wake for Sessions {
    fn nodes(&self, nodes: BTreeSet<NodeId>) {
        let streams = lock(&self.streams);
        for node in nodes {
            if let Some(session) = streams.get(&node) {
                session.wake.notify_one();
            }
        }
    }
}

/// Returns the time since `at` in whole milliseconds, rounded up: an age is never understated.
pub fn elapsed(at: Instant) -> Span {
    Span(u64::try_from(at.elapsed().as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(generation: u64) -> Seen {
        let agent_version = String::new();
        Seen { age: Span(0), generation, agent_version, observed: BTreeMap::new() }
    }

    fn names(digest: &Digest) -> Vec<String> {
        digest.nodes.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn a_digest_tells_only_what_was_heard_since_the_one_before() {
        let sessions = Sessions::default();
        let (a, b) = (sessions.open(&"a".parse().unwrap()), sessions.open(&"b".parse().unwrap()));
        assert!(!a.heard_again(), "nothing was said yet");
        assert!(a.heard(seen(1)) && b.heard(seen(1)));
        let all = sessions.digest(Point::default());
        assert_eq!(names(&all), ["a", "b"]);
        assert!(sessions.digest(all.until).nodes.is_empty());
        assert!(b.heard_again() && !b.heard(seen(1)) && b.heard(seen(2)));
        let news = sessions.digest(all.until);
        assert_eq!(names(&news), ["b"]);
        assert_eq!(news.nodes.values().next().unwrap().generation, 2);
        // A controller that was restarted has not said anything yet to whoever asks.
        let other = Point { run: all.until.run ^ 1, ..news.until };
        assert_eq!(names(&sessions.digest(other)), ["a", "b"]);
        assert!(sessions.digest(Point::END).nodes.is_empty());
    }
}
