//! The journaled state and the changes it is folded from.
//!
//! Everything that must outlive a crash is here, and it changes only through [`State::apply`].
//! Reports travel inside the record of the change they tell of, so that a crash between two
//! records can neither lose nor repeat one.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use trireme_proto::action::{Action, ActionKind, Fence, Progress, Report, RunSpec, Step};
use trireme_proto::digest::Digest;
use trireme_proto::id::{ActionId, ServiceId};

use super::Millis;

/// Most reports kept for controllers that are away: a dozen actions' worth. Beyond it the oldest
/// that only tell of a step begun are forgotten; outcomes never are.
pub const REPORTS_MAX: usize = 256;

/// All that the agent remembers of its actions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Newest action ever accepted.
    pub last: Option<Last>,
    /// Action that runs.
    pub current: Option<Current>,
    /// What earlier actions left behind.
    pub services: BTreeMap<ServiceId, Memory>,
    /// Reports not yet acknowledged.
    pub queue: VecDeque<Report>,
    /// Number of the newest report.
    pub seq: u64,
}

/// The newest accepted action: older offers are stale, the same one is answered again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// Its id.
    pub action: ActionId,
    /// Its fencing token.
    pub fence: Fence,
    /// Its digest.
    pub hash: Digest,
    /// Newest report about it.
    pub report: Option<Report>,
}

/// The action that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// What was asked for.
    pub action: Action,
    /// Whether it is carried out or undone.
    pub direction: Direction,
    /// Since when it goes in this direction.
    pub since: Millis,
    /// Its steps in this direction; `None` until the host was looked at.
    pub steps: Option<Vec<Step>>,
    /// What came of them so far.
    pub status: BTreeMap<Step, Status>,
    /// What ran before it.
    pub previous: Option<RunSpec>,
    /// Whether that served, so that an undo must bring it to serve again.
    pub served: bool,
    /// Why it is undone.
    pub failure: Option<Failure>,
    /// Whether it was done before, and is undone because nobody confirmed it.
    pub alone: bool,
    /// Actions it interrupted half-way; they end as it ends.
    pub takes_over: Vec<Superseded>,
}

/// Which way an action goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Towards what was asked for.
    Forward,
    /// Back to what ran before.
    Undo,
}

/// How far a step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was about to begin: it may or may not have happened.
    Intent,
    /// It has happened.
    Done,
}

/// A step that failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step.
    pub step: Step,
    /// Why, for people.
    pub reason: String,
}

/// An action that was cut off by a revert at a safe point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superseded {
    /// The action.
    pub action: ActionId,
    /// Step it had reached.
    pub step: Step,
}

/// What earlier actions left behind on one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Whether anything was ever started.
    pub started: bool,
    /// Whether an action left it half-way.
    pub dirty: bool,
    /// Revert that happens unless it is confirmed.
    pub armed: Option<Armed>,
    /// How the newest armed revert ended.
    pub settled: Option<(ActionId, Settled)>,
}

/// A revert that the agent performs by itself unless told that the switch stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    /// Switch it would revert.
    pub action: Action,
    /// What ran before it.
    pub previous: Option<RunSpec>,
    /// Whether that served.
    pub served: bool,
    /// When it happens.
    pub due: Millis,
}

/// How an armed revert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// The switch was confirmed.
    Confirmed,
    /// A revert was ordered.
    Reverted,
    /// The agent reverted by itself.
    RevertedAlone,
}

/// One entry of the journal: a change and the reports it gave rise to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What changed.
    pub change: Change,
    /// What is said of it, numbered on from the newest report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<Report>,
}

/// One change of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Change {
    /// An action was accepted; with `cut`, the one that ran was cut off at that step.
    Accepted {
        /// The action.
        action: Action,
        /// When.
        at: Millis,
        /// Step the interrupted action had reached.
        cut: Option<Step>,
    },
    /// An armed revert has begun.
    Alone {
        /// Service it is about.
        service: ServiceId,
        /// When.
        at: Millis,
        /// Why, for people.
        reason: String,
    },
    /// The host was looked at and the steps are known.
    Planned {
        /// Steps in order.
        steps: Vec<Step>,
        /// What ran before.
        previous: Option<RunSpec>,
        /// Whether that served.
        served: bool,
    },
    /// A step is about to begin.
    Intent {
        /// The step.
        step: Step,
    },
    /// A step is done.
    Done {
        /// The step.
        step: Step,
    },
    /// A switch has failed after something was stopped.
    Undoing {
        /// When.
        at: Millis,
        /// Why.
        failure: Failure,
        /// Steps back.
        steps: Vec<Step>,
    },
    /// The action is over.
    Ended {
        /// When.
        at: Millis,
        /// How.
        progress: Progress,
    },
    /// The agent was restarted while time was being counted.
    Restarted {
        /// When, on a clock that may be new.
        at: Millis,
        /// Whether the machine was booted, which starts the clock anew.
        rebooted: bool,
    },
    /// Reports up to this number were acknowledged.
    Acked {
        /// The number.
        seq: u64,
    },
}

impl Record {
    /// Returns whether losing it in a crash costs no more than a repeated report.
    pub fn may_be_lost(&self) -> bool {
        matches!(self.change, Change::Acked { .. })
    }
}

impl Current {
    /// Returns a step whose end is not journaled though its beginning is.
    pub fn unfinished(&self) -> Option<Step> {
        let intent =
            |(step, status): (&Step, &Status)| (*status == Status::Intent).then_some(*step);
        self.status.iter().find_map(intent)
    }

    /// Returns the first step that has not begun.
    pub fn next(&self) -> Option<Step> {
        self.steps.iter().flatten().copied().find(|step| !self.status.contains_key(step))
    }

    /// Returns the step it has reached, for people.
    pub fn reached(&self) -> Step {
        let newest = || self.status.keys().next_back().copied();
        self.unfinished().or_else(newest).unwrap_or_else(|| first_step(&self.action.kind))
    }

    /// Returns whether it may have changed what runs.
    pub fn touched(&self) -> bool {
        self.direction == Direction::Undo
            || [Step::Stop, Step::Point, Step::Start].iter().any(|s| self.status.contains_key(s))
    }

    /// Returns whether it gives capacity back rather than taking it.
    pub fn restores(&self) -> bool {
        self.direction == Direction::Undo || matches!(self.action.kind, ActionKind::Revert { .. })
    }

    /// Returns whether its start makes anew what is as it should be: what was before comes back as
    /// it was.
    pub fn recreates(&self) -> bool {
        let asked = matches!(&self.action.kind, ActionKind::Switch(switch) if switch.recreate);
        asked && self.direction == Direction::Forward
    }

    /// Returns when its time in this direction is up.
    pub fn limit(&self) -> Millis {
        self.since.saturating_add(self.action.deadline.0)
    }
}

impl State {
    /// Returns the fence of the newest accepted action.
    pub fn fence(&self) -> Option<Fence> {
        self.last.as_ref().map(|last| last.fence)
    }

    /// Folds one record in; the same records in the same order make the same state.
    pub fn apply(&mut self, record: &Record) {
        match &record.change {
            Change::Accepted { action, at, cut } => self.accepted(action, *at, *cut),
            Change::Alone { service, at, reason } => self.alone(service, *at, reason),
            Change::Ended { at, progress } => self.ended(*at, progress),
            Change::Restarted { at, rebooted } => self.restarted(*at, *rebooted),
            Change::Acked { seq } => self.queue.retain(|report| report.seq > *seq),
            Change::Planned { steps, previous, served } => {
                if let Some(current) = &mut self.current {
                    current.steps = Some(steps.clone());
                    current.previous.clone_from(previous);
                    current.served = *served;
                }
            }
            Change::Intent { step } => self.step(*step, Status::Intent),
            Change::Done { step } => self.step(*step, Status::Done),
            Change::Undoing { at, failure, steps } => {
                if let Some(current) = &mut self.current {
                    current.direction = Direction::Undo;
                    current.since = *at;
                    current.steps = Some(steps.clone());
                    current.status.clear();
                    current.failure = Some(failure.clone());
                }
            }
        }
        for report in &record.reports {
            self.queue_report(report);
        }
    }

    fn accepted(&mut self, action: &Action, at: Millis, cut: Option<Step>) {
        let takes_over = match (self.current.take(), cut) {
            (Some(old), Some(step)) => {
                let mut list = old.takes_over;
                // A switch that was done has had its final report.
                if !old.alone {
                    list.push(Superseded { action: old.action.id, step });
                }
                list
            }
            (Some(_) | None, _) => Vec::new(),
        };
        let steps = match &action.kind {
            ActionKind::Stage { .. } => Some(vec![Step::Fetch]),
            ActionKind::Confirm { .. } => Some(vec![Step::Disarm]),
            ActionKind::Switch(_) | ActionKind::Halt(_) | ActionKind::Revert { .. } => None,
        };
        self.last = Some(Last {
            action: action.id,
            fence: action.fence,
            hash: action.hash(),
            report: None,
        });
        self.current = Some(Current {
            action: action.clone(),
            direction: Direction::Forward,
            since: at,
            steps,
            status: BTreeMap::new(),
            previous: None,
            served: false,
            failure: None,
            alone: false,
            takes_over,
        });
    }

    fn alone(&mut self, service: &ServiceId, at: Millis, reason: &str) {
        let Some(memory) = self.services.get_mut(service) else { return };
        let Some(armed) = memory.armed.take() else { return };
        memory.settled = Some((armed.action.id, Settled::RevertedAlone));
        self.current = Some(Current {
            action: armed.action,
            direction: Direction::Undo,
            since: at,
            steps: None,
            status: BTreeMap::new(),
            previous: armed.previous,
            served: armed.served,
            failure: Some(Failure { step: Step::Arm, reason: reason.to_owned() }),
            alone: true,
            takes_over: Vec::new(),
        });
    }

    fn step(&mut self, step: Step, status: Status) {
        let Some(current) = &mut self.current else { return };
        current.status.insert(step, status);
        if step == Step::Start {
            self.services.entry(current.action.service.clone()).or_default().started = true;
        }
    }

    fn ended(&mut self, at: Millis, progress: &Progress) {
        let Some(current) = self.current.take() else { return };
        let memory = self.services.entry(current.action.service.clone()).or_default();
        match (&current.action.kind, progress) {
            (ActionKind::Confirm { of }, Progress::Done) => {
                memory.armed = None;
                memory.settled = Some((*of, Settled::Confirmed));
            }
            (ActionKind::Switch(switch), Progress::Done) => {
                memory.dirty = false;
                memory.armed = Some(Armed {
                    due: at.saturating_add(switch.revert_after.0),
                    action: current.action,
                    previous: current.previous,
                    served: current.served,
                });
            }
            (ActionKind::Revert { of, .. }, Progress::Done) => {
                *memory = Memory {
                    started: memory.started,
                    settled: Some((*of, Settled::Reverted)),
                    ..Memory::default()
                };
            }
            // The revert was the armed one's own cause; trying it again unasked helps nobody.
            (ActionKind::Revert { of, .. }, _) => {
                memory.dirty = true;
                memory.armed = None;
                memory.settled = Some((*of, Settled::Reverted));
            }
            (ActionKind::Switch(_) | ActionKind::Halt(_), Progress::FailedDirty { .. }) => {
                memory.dirty = true;
            }
            (ActionKind::Switch(_), Progress::RevertedAlone { .. })
            | (ActionKind::Halt(_), Progress::Done) => memory.dirty = false,
            (
                ActionKind::Stage { .. }
                | ActionKind::Confirm { .. }
                | ActionKind::Switch(_)
                | ActionKind::Halt(_),
                _,
            ) => {}
        }
    }

    fn restarted(&mut self, at: Millis, rebooted: bool) {
        if let Some(current) = &mut self.current
            && (rebooted || current.restores())
        {
            current.since = at;
        }
        for armed in self.services.values_mut().filter_map(|memory| memory.armed.as_mut()) {
            if let ActionKind::Switch(switch) = &armed.action.kind
                && rebooted
            {
                armed.due = at.saturating_add(switch.revert_after.0);
            }
        }
    }

    fn queue_report(&mut self, report: &Report) {
        self.seq = report.seq;
        if let Some(last) = &mut self.last
            && last.action == report.action
        {
            last.report = Some(report.clone());
        }
        self.queue.push_back(report.clone());
        if self.queue.len() > REPORTS_MAX {
            let chatter = |r: &Report| matches!(r.progress, Progress::Running { .. });
            if let Some(oldest) = self.queue.iter().position(chatter) {
                self.queue.remove(oldest);
            }
        }
    }
}

/// Returns the step an action begins with, for reports about one that never began.
pub(super) fn first_step(kind: &ActionKind) -> Step {
    match kind {
        ActionKind::Stage { .. } | ActionKind::Switch(_) => Step::Fetch,
        ActionKind::Halt(_) | ActionKind::Revert { .. } => Step::Quiesce,
        ActionKind::Confirm { .. } => Step::Disarm,
    }
}
