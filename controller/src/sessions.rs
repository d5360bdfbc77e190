//! Agents connected to this controller: what each last said, and how to wake its stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, watch};
use trireme_proto::id::NodeId;
use trireme_proto::time::Span;

use crate::machine::Wake;
use crate::presence::Seen;

/// What a stream shares with the rest of the controller.
#[derive(Debug)]
pub struct Session {
    /// Rises whenever the node may have something new waiting.
    pub wake: Notify,
    /// Cancelled when another stream of the same node takes over.
    pub replaced: Notify,
    said: Mutex<Option<(Instant, Seen)>>,
}

impl Session {
    /// Records a heartbeat.
    pub fn heard(&self, seen: Seen) {
        *lock(&self.said) = Some((Instant::now(), seen));
    }

    /// Returns what the agent last said, with its age.
    pub fn seen(&self) -> Option<Seen> {
        let said = lock(&self.said);
        let (at, seen) = said.as_ref()?;
        Some(Seen { age: elapsed(*at), ..seen.clone() })
    }
}

/// All streams of this controller.
#[derive(Debug, Clone)]
pub struct Sessions {
    streams: Arc<Mutex<BTreeMap<NodeId, Arc<Session>>>>,
    changed: watch::Sender<()>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { streams: Arc::default(), changed: watch::Sender::new(()) }
    }
}

impl Sessions {
    /// Registers a stream of `node`; an older one of the same node is told to end.
    pub fn open(&self, node: &NodeId) -> Arc<Session> {
        let session = Arc::new(Session {
            wake: Notify::new(),
            replaced: Notify::new(),
            said: Mutex::new(None),
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

    /// Returns what every connected agent last said.
    pub fn digest(&self) -> BTreeMap<NodeId, Seen> {
        lock(&self.streams)
            .iter()
            .filter_map(|(node, session)| Some((node.clone(), session.seen()?)))
            .collect()
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
