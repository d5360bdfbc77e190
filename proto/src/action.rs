//! Actions: what a controller may ask of a node, and what the node says of them.
//!
//! An action is committed before it is sent and carries a fencing token; the agent journals each
//! step. Every hash is taken over canonical JSON, so both sides agree on what was asked.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{ActionId, NodeId, ServiceId, UpgradeId};
use crate::model::{Check, Driver, Release};
use crate::time::Span;

/// Fencing token: orders actions on one node whoever offers them (DESIGN rule 12).
///
/// Order is by epoch, then generation; the term is carried for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Rises only when the controllers were recovered by hand.
    pub epoch: u64,
    /// Term of the entry that committed the action.
    pub term: u64,
    /// Per-node counter, assigned in apply.
    pub generation: u64,
}

impl Fence {
    /// Returns the part that orders tokens.
    pub fn order(&self) -> (u64, u64) {
        (self.epoch, self.generation)
    }
}

/// Everything that decides what runs on a node: the release and how it is driven.
///
/// A rollback returns to a recorded value of this type, never to a version's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Release that runs.
    pub release: Release,
    /// How it is started and stopped.
    pub driver: Driver,
}

impl RunSpec {
    /// Returns the digest of the whole specification.
    pub fn digest(&self) -> Digest {
        Digest::of_value(self)
    }
}

/// One action on one node, exactly as it was committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Assigned in apply.
    pub id: ActionId,
    /// Node that performs it.
    pub node: NodeId,
    /// Service it is about.
    pub service: ServiceId,
    /// Upgrade it belongs to.
    pub upgrade: UpgradeId,
    /// Fencing token.
    pub fence: Fence,
    /// Longest it may take from acceptance on the agent's monotonic clock, undoing excluded.
    pub deadline: Span,
    /// What is to be done.
    pub kind: ActionKind,
}

impl Action {
    /// Returns the digest by which a repeated offer is recognised.
    pub fn hash(&self) -> Digest {
        Digest::of_value(self)
    }
}

/// What an action does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum ActionKind {
    /// Fetches the artifact and checks its digest; disturbs nothing.
    Stage {
        /// What will run later.
        target: RunSpec,
    },
    /// Stops what runs, starts the target, waits for health; then the revert is armed.
    Switch(Switch),
    /// Stops what runs; it stays down until a switch starts it.
    Halt(Halt),
    /// Ends an earlier switch, at whatever point it is, with the recorded previous release back.
    Revert {
        /// Switch to end; if it was never accepted, saying so is all there is to do.
        of: ActionId,
        /// What ran before the upgrade touched the node; `None` if nothing did.
        previous: Option<RunSpec>,
        /// Whether an operator had stopped that, so that it stays down.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stopped: bool,
        /// Longest wait for work in flight.
        drain: Span,
        /// URL of the number of requests in flight.
        in_flight: Option<String>,
    },
    /// Disarms the revert of a switch: it stays.
    Confirm {
        /// Switch that is confirmed.
        of: ActionId,
    },
}

/// Replaces what runs on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// What runs afterwards.
    pub target: RunSpec,
    /// Digest of what must run before; `None` if nothing does.
    pub expected: Option<Digest>,
    /// Longest wait for work in flight.
    pub drain: Span,
    /// URL of the number of requests in flight.
    pub in_flight: Option<String>,
    /// Unless confirmed this long after it was done, the agent reverts by itself.
    pub revert_after: Span,
    /// Whether what the driver made for the service is made anew even where nothing has changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recreate: bool,
    /// Whether an operator had stopped what ran before, so that undoing leaves it down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

/// Stops what runs on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// Digest of what must run before; `None` if nothing does.
    pub expected: Option<Digest>,
    /// Longest wait for work in flight.
    pub drain: Span,
    /// URL of the number of requests in flight.
    pub in_flight: Option<String>,
}

impl ActionKind {
    /// Returns whether it takes away what may be serving, so that the ledger has judged it.
    pub fn takes_capacity(&self) -> bool {
        matches!(self, Self::Switch(_) | Self::Halt(_))
    }
}

/// One journaled step of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Brings the artifact to the node and checks its digest.
    Fetch,
    /// Waits for work in flight to end.
    Quiesce,
    /// Stops what runs.
    Stop,
    /// Points the service at what runs next.
    Point,
    /// Starts it.
    Start,
    /// Waits until every check has risen.
    Gate,
    /// Arms the revert.
    Arm,
    /// Disarms the revert.
    Disarm,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Fetch => "fetch",
            Self::Quiesce => "quiesce",
            Self::Stop => "stop",
            Self::Point => "point",
            Self::Start => "start",
            Self::Gate => "gate",
            Self::Arm => "arm",
            Self::Disarm => "disarm",
        })
    }
}

/// What a node says of an action; numbered so that a repeated report changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Per-node counter that never repeats while the agent keeps its disk.
    pub seq: u64,
    /// Action it is about.
    pub action: ActionId,
    /// What became of it.
    pub progress: Progress,
}

/// How far an action has come on its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Progress {
    /// Journaled; it will be carried through or undone even if the agent dies.
    Accepted,
    /// A step has begun.
    Running {
        /// Step that has begun.
        step: Step,
    },
    /// All steps are done.
    Done,
    /// It could not be done; the node is as it was before.
    FailedUndone {
        /// Step that failed.
        step: Step,
        /// Why, for people.
        reason: String,
    },
    /// It could not be done, nor undone: a person must look.
    FailedDirty {
        /// Step that failed.
        step: Step,
        /// Why, for people.
        reason: String,
    },
    /// The switch was not confirmed in time, and the agent put the previous release back.
    RevertedAlone {
        /// Why, for people.
        reason: String,
    },
}

impl Progress {
    /// Returns whether nothing more will be said of the action itself.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Accepted | Self::Running { .. })
    }
}

/// What a node sees of one service: the truth of this moment, sent with every heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Whether it serves.
    pub state: ServiceState,
    /// Digest of the run specification that runs or last ran.
    pub running: Option<Digest>,
    /// Version of that, for people.
    pub version: Option<String>,
    /// Checks that do not pass, with the last message of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failing: BTreeMap<String, String>,
}

/// Whether a service serves on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Nothing was ever started.
    NeverStarted,
    /// It does not run, or some check fails.
    NotServing,
    /// It runs and every check passes.
    Serving,
}

/// What a node should know of one placed service: enough to run checks; disturbs nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Service placed on the node.
    pub service: ServiceId,
    /// Checks to run.
    pub checks: Vec<Check>,
    /// Numbers of them to report with every heartbeat, by check.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub wanted: BTreeMap<String, BTreeSet<String>>,
    /// Files that may be read for operators, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub logs: BTreeMap<String, String>,
}

/// Numbers that checks gave: by service, check and label, each as text.
pub type Samples = BTreeMap<ServiceId, BTreeMap<String, BTreeMap<String, String>>>;

/// Most numbers that a node reports; what is beyond is left out.
pub const SAMPLES_MAX: usize = 256;
