//! Agents connected to this controller: what each last said, and how to wake its stream.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use trireme_proto::id::NodeId;
use trireme_proto::time::Span;

use crate::clock::Instant;
use crate::machine::Wake;
use crate::presence::Seen;
use crate::query::Desk;

/// What a stream shares with the rest of the controller.
#[derive(Debug)]
pub struct Session {
    /// Rises whenever the node may have something new waiting.
    pub wake: Notify,
    /// Told when another stream of the same node takes over.
    pub replaced: Notify,
    /// Where questions to the agent wait.
    pub desk: Arc<Desk>,
    node: NodeId,
    said: Mutex<Option<Said>>,
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
    /// Returns what the agent last said, as it was said then.
    pub fn last<T>(&self, look: impl FnOnce(&Seen) -> T) -> Option<T> {
        lock(&self.said).as_ref().map(|said| look(&said.seen))
    }
}

/// All streams of this controller.
#[derive(Debug, Clone)]
pub struct Sessions {
    streams: Arc<Mutex<Streams>>,
    changed: watch::Sender<()>,
    run: u64,
}

/// Streams by node and by heartbeat. Its lock is taken before that of a session, and after that of
/// the replicated state.
#[derive(Debug, Default)]
struct Streams {
    by_node: BTreeMap<NodeId, Arc<Session>>,
    /// Each stream under its last heartbeat: what was said since some point is found without a
    /// look at those who have said nothing.
    by_number: BTreeMap<u64, Arc<Session>>,
    /// Heartbeats heard so far.
    count: u64,
}

impl Streams {
    fn is_current(&self, session: &Arc<Session>) -> bool {
        self.by_node.get(&session.node).is_some_and(|current| Arc::ptr_eq(current, session))
    }

    fn forget(&mut self, session: &Session) {
        if let Some(said) = lock(&session.said).as_ref() {
            self.by_number.remove(&said.number);
        }
    }
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
            desk: Arc::default(),
            node: node.clone(),
            said: Mutex::new(None),
        });
        let mut streams = lock(&self.streams);
        if let Some(older) = streams.by_node.insert(node.clone(), Arc::clone(&session)) {
            streams.forget(&older);
            older.replaced.notify_one();
        }
        session
    }

    /// Forgets a stream that has ended, unless a newer one has its place.
    pub fn close(&self, session: &Arc<Session>) {
        let mut streams = lock(&self.streams);
        if streams.is_current(session) {
            streams.by_node.remove(&session.node);
            streams.forget(session);
        }
    }

    /// Records a heartbeat that says the same as the last one but for its age.
    ///
    /// Returns whether there was one.
    pub fn heard_again(&self, session: &Arc<Session>) -> bool {
        self.record(session, None)
    }

    /// Records a heartbeat; returns whether it says something else than the last one.
    pub fn heard(&self, session: &Arc<Session>, seen: Seen) -> bool {
        let changed = session.last(|last| !last.agrees(&seen)).unwrap_or(true);
        self.record(session, Some(seen)) && changed
    }

    /// Takes down a heartbeat: one that says `seen`, or what the last one said.
    fn record(&self, session: &Arc<Session>, seen: Option<Seen>) -> bool {
        let mut streams = lock(&self.streams);
        let mut said = lock(&session.said);
        // One that was replaced and has not ended yet is not found by its number any more.
        let listed = match said.as_ref() {
            Some(said) => streams.by_number.remove(&said.number).is_some(),
            None => streams.is_current(session),
        };
        let Some(seen) = seen.or_else(|| said.take().map(|said| said.seen)) else { return false };
        streams.count += 1;
        let number = streams.count;
        if listed {
            streams.by_number.insert(number, Arc::clone(session));
        }
        *said = Some(Said { at: Instant::now(), number, seen });
        true
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
        let streams = lock(&self.streams);
        let until = Point { run: self.run, count: streams.count };
        let news = (Bound::Excluded(since), Bound::Unbounded);
        let nodes = streams.by_number.range(news).filter_map(|(_, session)| {
            let said = lock(&session.said);
            let said = said.as_ref()?;
            Some((session.node.clone(), Seen { age: elapsed(said.at), ..said.seen.clone() }))
        });
        Digest { nodes: nodes.collect(), until }
    }

    /// Returns where questions to a connected agent wait, and how long ago it was heard from.
    pub fn desk(&self, node: &NodeId) -> Option<(Arc<Desk>, Span)> {
        let session = Arc::clone(lock(&self.streams).by_node.get(node)?);
        let at = lock(&session.said).as_ref()?.at;
        Some((Arc::clone(&session.desk), elapsed(at)))
    }

    /// Returns how many agents are connected.
    pub fn len(&self) -> usize {
        lock(&self.streams).by_node.len()
    }

    /// Returns whether no agent is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes every stream, as when a leader is heard from again.
    pub fn wake_all(&self) {
        for session in lock(&self.streams).by_node.values() {
            session.wake.notify_one();
        }
    }
}

impl Wake for Sessions {
    fn nodes(&self, nodes: BTreeSet<NodeId>) {
        let streams = lock(&self.streams);
        for node in nodes {
            if let Some(session) = streams.by_node.get(&node) {
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
        Seen { generation, ..Seen::default() }
    }

    fn names(digest: &Digest) -> Vec<String> {
        digest.nodes.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn a_digest_tells_only_what_was_heard_since_the_one_before() {
        let sessions = Sessions::default();
        let (a, b) = (sessions.open(&"a".parse().unwrap()), sessions.open(&"b".parse().unwrap()));
        assert!(!sessions.heard_again(&a), "nothing was said yet");
        assert!(sessions.heard(&a, seen(1)) && sessions.heard(&b, seen(1)));
        let all = sessions.digest(Point::default());
        assert_eq!(names(&all), ["a", "b"]);
        assert!(sessions.digest(all.until).nodes.is_empty());
        assert!(sessions.heard_again(&b));
        assert!(!sessions.heard(&b, seen(1)) && sessions.heard(&b, seen(2)));
        let news = sessions.digest(all.until);
        assert_eq!(names(&news), ["b"]);
        assert_eq!(news.nodes.values().next().unwrap().generation, 2);
        // A controller that was restarted has not said anything yet to whoever asks.
        let other = Point { run: all.until.run ^ 1, ..news.until };
        assert_eq!(names(&sessions.digest(other)), ["a", "b"]);
        assert!(sessions.digest(Point::END).nodes.is_empty());
    }

    #[test]
    fn who_was_replaced_or_has_closed_is_told_of_no_more() {
        let sessions = Sessions::default();
        let node = "a".parse().unwrap();
        let older = sessions.open(&node);
        assert!(sessions.heard(&older, seen(1)));
        let newer = sessions.open(&node);
        assert!(sessions.digest(Point::default()).nodes.is_empty(), "the newer said nothing yet");
        // It was on its way when the other took over.
        assert!(sessions.heard(&older, seen(2)) && sessions.heard_again(&older));
        assert!(sessions.digest(Point::default()).nodes.is_empty());
        assert!(sessions.heard(&newer, seen(3)));
        sessions.close(&older);
        assert_eq!(sessions.digest(Point::default()).nodes.values().next().unwrap().generation, 3);
        assert_eq!(sessions.len(), 1);
        sessions.close(&newer);
        assert!(sessions.digest(Point::default()).nodes.is_empty() && sessions.is_empty());
    }
}
