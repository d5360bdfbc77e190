//! The two objects that histories are checked against, both offered by the operators' API.
//!
//! A *register* is the field `cloud` of one region that nothing else touches: written by `apply`,
//! read by a linearizable `get`. The *revision* of all manifests counts the writes; a write with a
//! base revision is a compare-and-set on it.

use super::checker::{Model, Op};
use super::history::{Event, What, Written};

/// One region's field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register;

/// What was done with a register.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RegisterAct {
    /// It was read; `None` if the region did not exist.
    Read(Option<u64>),
    /// It was written. No two writes of a history write the same.
    Write(u64),
}

impl Model for Register {
    type State = Option<u64>;
    type Act = RegisterAct;

    fn initial(&self) -> Self::State {
        None
    }

    fn step(&self, state: &Self::State, act: &RegisterAct) -> Option<Self::State> {
        match act {
            RegisterAct::Read(found) => (found == state).then_some(*state),
            RegisterAct::Write(value) => Some(Some(*value)),
        }
    }
}

/// The counter of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    /// Its value before the first operation.
    pub initial: u64,
}

/// What was done with the revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RevisionAct {
    /// It was read.
    Read(u64),
    /// Something was written, after which it was this, if that was answered.
    Count(Option<u64>),
    /// Something was written if it was `base`.
    CountIf {
        /// Revision on which the write depended.
        base: u64,
        /// Revision after it, if that was answered.
        after: Option<u64>,
    },
    /// Nothing was written since it was not `base`, but `seen`.
    Conflict {
        /// Revision on which the write depended.
        base: u64,
        /// Revision that was answered.
        seen: u64,
    },
}

impl Model for Revision {
    type State = u64;
    type Act = RevisionAct;

    fn initial(&self) -> u64 {
        self.initial
    }

    fn step(&self, state: &u64, act: &RevisionAct) -> Option<u64> {
        let next = state + 1;
        let answered = |after: &Option<u64>| after.is_none_or(|after| after == next);
        match act {
            RevisionAct::Read(found) => (found == state).then_some(*state),
            RevisionAct::Count(after) => answered(after).then_some(next),
            RevisionAct::CountIf { base, after } => {
                (base == state && answered(after)).then_some(next)
            }
            RevisionAct::Conflict { base, seen } => {
                (seen == state && base != state).then_some(*state)
            }
        }
    }
}

/// Returns what happened to each register.
///
/// A write whose outcome is unknown and whose value nobody read is left out: in any order that
/// holds it, nothing reads between it and the next write, so the order holds without it too.
pub fn registers(events: &[Event], keys: usize) -> Vec<Vec<Op<RegisterAct>>> {
    let mut histories = vec![Vec::new(); keys];
    for event in events {
        let op = |end, act| Op { client: event.client, call: event.call, end, act };
        match &event.what {
            What::Read { key, found } => {
                histories[*key].push(op(Some(event.end), RegisterAct::Read(*found)));
            }
            What::ReadAll { found, .. } => {
                for (history, found) in histories.iter_mut().zip(found) {
                    history.push(op(Some(event.end), RegisterAct::Read(*found)));
                }
            }
            What::Write { key, value, written, .. } => match written {
                Written::At(_) => {
                    histories[*key].push(op(Some(event.end), RegisterAct::Write(*value)));
                }
                Written::Unknown => histories[*key].push(op(None, RegisterAct::Write(*value))),
                Written::Conflict(_) => {}
            },
        }
    }
    for history in &mut histories {
        let read: std::collections::HashSet<u64> = history
            .iter()
            .filter_map(|op| match op.act {
                RegisterAct::Read(found) => found,
                RegisterAct::Write(_) => None,
            })
            .collect();
        history.retain(|op| match op.act {
            RegisterAct::Write(value) => op.end.is_some() || read.contains(&value),
            RegisterAct::Read(_) => true,
        });
    }
    histories
}

/// Returns what happened to the revision.
pub fn revisions(events: &[Event]) -> Vec<Op<RevisionAct>> {
    let op = |event: &Event| {
        let (act, known) = match &event.what {
            What::Read { .. } => return None,
            What::ReadAll { revision, .. } => (RevisionAct::Read(*revision), true),
            What::Write { base, written, .. } => match (*base, *written) {
                (None, Written::At(after)) => (RevisionAct::Count(Some(after)), true),
                (None, Written::Unknown) => (RevisionAct::Count(None), false),
                (Some(base), Written::At(after)) => {
                    (RevisionAct::CountIf { base, after: Some(after) }, true)
                }
                (Some(base), Written::Unknown) => {
                    (RevisionAct::CountIf { base, after: None }, false)
                }
                // Nobody who gave no base is told of a conflict with it: no order holds this.
                (base, Written::Conflict(seen)) => {
                    (RevisionAct::Conflict { base: base.unwrap_or(seen), seen }, true)
                }
            },
        };
        let end = known.then_some(event.end);
        Some(Op { client: event.client, call: event.call, end, act })
    };
    events.iter().filter_map(op).collect()
}
