//! Decides whether a history of one object is linearizable: whether every operation can have taken
//! effect at one moment between its call and its return, in an order that the model accepts.
//!
//! Wing and Gong's search as Lowe made it fast: calls and returns in one list, the first call that
//! the model accepts is lifted out of it, a return that is met before its call was lifted means to
//! go back; no pair of operations done and state reached is looked at twice.
//!
//! An operation whose outcome nobody knows has no return: it may have taken effect at any moment
//! since its call, or never. Of several such operations that say the same only the oldest is
//! tried, since any of them could take its place.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// An object as one client after the other would see it.
pub trait Model {
    /// What it remembers.
    type State: Clone + Eq + Hash;
    /// An operation together with what it was answered.
    type Act: Clone + Eq + Hash + fmt::Debug;

    /// Returns the state before the first operation.
    fn initial(&self) -> Self::State;

    /// Returns the state after `act`; `None` if it would have been answered otherwise.
    fn step(&self, state: &Self::State, act: &Self::Act) -> Option<Self::State>;
}

/// One operation of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op<A> {
    /// Who asked; for people who read the history.
    pub client: u64,
    /// When it was asked, in nanoseconds since the beginning.
    pub call: u64,
    /// When the answer came; `None` if none did, or one that leaves the outcome open.
    pub end: Option<u64>,
    /// What was done.
    pub act: A,
}

/// What is known of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none; how far it goes, for people.
    Violation(String),
    /// The search ended before it found out.
    Unknown(String),
}

/// Memory that the looked-at configurations may take: a fraction of a small machine's.
const SEEN_BYTES_MAX: usize = 1 << 30;
/// Rounds of the search between two looks at the clock.
const LOOK_EVERY: u64 = 1024;
/// Operations of a story: enough to see what contradicts what.
const STORY_OPS: usize = 12;

/// Looks for an order, at most for `limit`.
pub fn check<M: Model>(model: &M, history: &[Op<M::Act>], limit: Duration) -> Verdict {
    Search::new(model, history).run(limit)
}

/// Position of the head of the list, and of nothing behind its last entry.
const HEAD: usize = 0;

#[derive(Debug, Clone, Copy)]
struct Entry {
    op: usize,
    is_call: bool,
    previous: usize,
    next: usize,
    /// The return of a call that has one.
    partner: Option<usize>,
}

struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [Op<M::Act>],
    entries: Vec<Entry>,
    /// Of unknown operations: the older one that says the same.
    older: Vec<Option<usize>>,
    state: M::State,
    done: Vec<u64>,
    /// Known operations that are not done.
    left: usize,
    stack: Vec<(usize, M::State)>,
    seen: HashSet<(Box<[u64]>, M::State)>,
    /// The longest order found so far, and the return that could not be passed.
    best: (Vec<usize>, Option<usize>),
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, history: &'a [Op<M::Act>]) -> Self {
        Self {
            model,
            history,
            entries: list(history),
            older: older(history),
            state: model.initial(),
            done: vec![0; history.len().div_ceil(64)],
            left: history.iter().filter(|op| op.end.is_some()).count(),
            stack: Vec::new(),
            seen: HashSet::new(),
            best: (Vec::new(), None),
        }
    }

    fn run(mut self, limit: Duration) -> Verdict {
        let begun = Instant::now();
        let seen_max = SEEN_BYTES_MAX / (self.done.len() * 8 + size_of::<M::State>() + 48);
        let mut entry = self.entries[HEAD].next;
        for round in 1_u64.. {
            if self.left == 0 {
                return Verdict::Linearizable;
            }
            if round.is_multiple_of(LOOK_EVERY) && begun.elapsed() > limit {
                return Verdict::Unknown(format!("no answer within {limit:?}"));
            }
            if self.seen.len() > seen_max {
                return Verdict::Unknown(format!("more than {seen_max} configurations"));
            }
            if entry != HEAD && self.entries[entry].is_call {
                entry =
                    if self.try_next(entry) { self.entries[HEAD].next } else { self.after(entry) };
            } else {
                self.note_best(entry);
                let Some((call, state)) = self.stack.pop() else {
                    return Verdict::Violation(self.story());
                };
                self.state = state;
                self.put_back(call);
                entry = self.after(call);
            }
        }
        Verdict::Unknown("the search has no end".to_owned())
    }

    fn after(&self, entry: usize) -> usize {
        self.entries[entry].next
    }

    /// Takes the operation of this call as the next one, if it can be and that is news.
    fn try_next(&mut self, call: usize) -> bool {
        let op = self.entries[call].op;
        if self.older[op].is_some_and(|older| !self.is_done(older)) {
            return false;
        }
        let Some(state) = self.model.step(&self.state, &self.history[op].act) else {
            return false;
        };
        self.done[op / 64] |= 1 << (op % 64);
        if !self.seen.insert((self.done.clone().into_boxed_slice(), state.clone())) {
            self.done[op / 64] &= !(1 << (op % 64));
            return false;
        }
        self.stack.push((call, std::mem::replace(&mut self.state, state)));
        self.left -= usize::from(self.history[op].end.is_some());
        self.unlink(call);
        if let Some(end) = self.entries[call].partner {
            self.unlink(end);
        }
        true
    }

    fn put_back(&mut self, call: usize) {
        let Entry { op, partner, .. } = self.entries[call];
        // In the opposite order of their removal, or neighbours would be missed.
        if let Some(end) = partner {
            self.link(end);
        }
        self.link(call);
        self.done[op / 64] &= !(1 << (op % 64));
        self.left += usize::from(self.history[op].end.is_some());
    }

    fn is_done(&self, op: usize) -> bool {
        self.done[op / 64] & (1 << (op % 64)) != 0
    }

    fn unlink(&mut self, entry: usize) {
        let Entry { previous, next, .. } = self.entries[entry];
        self.entries[previous].next = next;
        self.entries[next].previous = previous;
    }

    fn link(&mut self, entry: usize) {
        let Entry { previous, next, .. } = self.entries[entry];
        self.entries[previous].next = entry;
        self.entries[next].previous = entry;
    }

    fn note_best(&mut self, stuck: usize) {
        if self.best.1.is_none() || self.stack.len() > self.best.0.len() {
            let order = self.stack.iter().map(|(call, _)| self.entries[*call].op).collect();
            let stuck = (stuck != HEAD).then(|| self.entries[stuck].op);
            self.best = (order, stuck);
        }
    }

    /// Tells the end of the longest order and what cannot follow it.
    fn story(&self) -> String {
        let (order, stuck) = &self.best;
        let tell = |op: &usize| {
            let Op { client, call, end, act } = &self.history[*op];
            let ms = |at: u64| format!("{}.{:03} ms", at / 1_000_000, at / 1000 % 1000);
            let end = end.map_or("?".to_owned(), ms);
            format!("  client {client}, {} to {end}: {act:?}", ms(*call))
        };
        let mut lines = vec![format!("{} operations can be ordered, at last:", order.len())];
        lines.extend(order.iter().skip(order.len().saturating_sub(STORY_OPS)).map(tell));
        lines.push("then this one must have taken effect and cannot:".to_owned());
        lines.extend(stuck.iter().map(tell));
        lines.push("others under way or next:".to_owned());
        let mut open: Vec<usize> = (0..self.history.len()).collect();
        open.retain(|op| !order.contains(op) && Some(*op) != *stuck);
        open.sort_by_key(|op| self.history[*op].call);
        lines.extend(open.iter().take(STORY_OPS).map(tell));
        lines.join("\n")
    }
}

/// Returns calls and returns in the order of time; at one moment calls come first, so that
/// operations that touch are concurrent.
fn list<A>(history: &[Op<A>]) -> Vec<Entry> {
    let calls = history.iter().enumerate().map(|(op, one)| (one.call, false, op));
    let ends = history.iter().enumerate().filter_map(|(op, one)| Some((one.end?, true, op)));
    let mut events: Vec<_> = calls.chain(ends).collect();
    events.sort_unstable();
    let count = events.len() + 1;
    let head = Entry { op: 0, is_call: false, previous: count - 1, next: 1 % count, partner: None };
    let mut entries = vec![head];
    let mut call_of = vec![HEAD; history.len()];
    for (at, (_, is_end, op)) in (1..).zip(events) {
        let (previous, next) = (at - 1, (at + 1) % count);
        entries.push(Entry { op, is_call: !is_end, previous, next, partner: None });
        if is_end {
            entries[call_of[op]].partner = Some(at);
        } else {
            call_of[op] = at;
        }
    }
    entries
}

/// Returns for each unknown operation the youngest older one that says the same.
fn older<A: Clone + Eq + Hash>(history: &[Op<A>]) -> Vec<Option<usize>> {
    let mut order: Vec<usize> =
        (0..history.len()).filter(|op| history[*op].end.is_none()).collect();
    order.sort_by_key(|op| history[*op].call);
    let mut last: HashMap<&A, usize> = HashMap::new();
    let mut older = vec![None; history.len()];
    for op in order {
        older[op] = last.insert(&history[op].act, op);
    }
    older
}
