//! What the core asks of its holder, and the answers it understands.
//!
//! Effects are performed in order. A [`Effect::Persist`] must be on disk before any later effect
//! begins; neighbours may share one write. The rest may run while the core takes other inputs.

use serde::{Deserialize, Serialize};
use trireme_proto::action::{Report, RunSpec, Step};
use trireme_proto::id::{ActionId, ServiceId};
use trireme_proto::time::Span;

use super::accept::Refusal;
use super::state::{Direction, Record};

/// One thing to do, in its place in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write to the journal before going on.
    Persist(Record),
    /// Send, if connected; it stays queued until acknowledged.
    Report(Report),
    /// See what the service runs, then call `looked`.
    Look(Look),
    /// Find out whether a step was done before the crash, then call `probed`.
    Probe(Task),
    /// Do a step, then call `step_done`.
    Run(Task),
    /// Stop waiting in a step that only waits; its `step_done` follows.
    Interrupt(Key),
    /// An offer was not taken; a [`Refusal::Conflict`] is to be logged loudly.
    Ignored {
        /// Action that was offered.
        action: ActionId,
        /// Why nothing was done.
        refusal: Refusal,
    },
}

/// Asks what a service runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Action that wants to know.
    pub action: ActionId,
    /// Service to look at.
    pub service: ServiceId,
}

/// What a service runs at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What it is pointed at.
    pub spec: Option<RunSpec>,
    /// Whether its process runs.
    pub running: bool,
    /// Whether every check has risen since it was started.
    pub serving: bool,
}

/// Names one execution of a step; a start with the same key must happen once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Action it is part of.
    pub action: ActionId,
    /// Whether it leads on or back.
    pub direction: Direction,
    /// Which step.
    pub step: Step,
}

/// One step with all that the host needs to do or probe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its name; comes back with the answer.
    pub key: Key,
    /// Service it is about.
    pub service: ServiceId,
    /// What is to be done.
    pub work: Work,
}

/// What a step does on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Bring the artifact here; done when it lies there with the right digest.
    Fetch {
        /// What will run.
        spec: RunSpec,
    },
    /// Wait until no work is in flight, or for `drain`; may be interrupted and repeated.
    Quiesce {
        /// Longest wait.
        drain: Span,
        /// URL of the number of requests in flight.
        in_flight: Option<String>,
    },
    /// Stop what runs; done when nothing runs.
    Stop,
    /// Point the service at what runs next, or at nothing.
    Point {
        /// What runs next.
        spec: Option<RunSpec>,
    },
    /// Start it; done when a process of this specification runs.
    Start {
        /// What is started.
        spec: RunSpec,
        /// Whether what keeps something over a restart is made anew.
        recreate: bool,
    },
    /// Wait until it is healthy; may be interrupted and repeated.
    Gate {
        /// What must be healthy.
        spec: RunSpec,
    },
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It could not be done.
    Failed(String),
    /// It stopped waiting as asked; with what it still waited for, for people, if it can tell.
    Interrupted(Option<String>),
}

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// The step's effect is there.
    Done,
    /// It is certainly not.
    NotDone,
    /// It cannot be told.
    Unknown,
}
