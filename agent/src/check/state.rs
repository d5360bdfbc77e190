//! What the findings of a node's checks add up to; pure.
//!
//! ```text
//!            rise passes in a row               fall failures in a row
//!  Pending ───────────────────────▶ Passing ◀──────────────────────────▶ Failing
//!     └─────────── fall failures in a row ───────────────────────────────▶ ┘
//! ```
//!
//! A service passes while all of its checks do. A start puts its checks back to pending, and
//! findings of runs that began before the start are never counted.

use std::collections::BTreeMap;

use trireme_proto::id::ServiceId;
use trireme_proto::model::Check;
use trireme_proto::time::WallTime;

use super::{Finding, Outcome, Status};

/// What a check says after rise and fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not enough findings yet.
    Pending,
    /// Well.
    Passing,
    /// Not well.
    Failing,
}

/// A change of a check's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// What it was.
    pub from: Health,
    /// What it is.
    pub to: Health,
}

/// Counts one check's findings.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckState {
    check: Check,
    health: Health,
    since: WallTime,
    passes: u32,
    failures: u32,
    /// Findings of runs up to this one are not counted any more.
    newest: Option<u64>,
    last: Option<Outcome>,
}

impl CheckState {
    /// Begins to count, with `health` until enough findings say otherwise.
    pub fn new(check: Check, health: Health, now: WallTime) -> Self {
        Self { check, health, since: now, passes: 0, failures: 0, newest: None, last: None }
    }

    /// Returns the health.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Returns since when the health is what it is, for people.
    pub fn since(&self) -> WallTime {
        self.since
    }

    /// Returns the newest finding.
    pub fn last(&self) -> Option<&Outcome> {
        self.last.as_ref()
    }

    /// Counts a finding; one older than another that was counted changes nothing.
    pub fn record(&mut self, seq: u64, outcome: Outcome, now: WallTime) -> Option<Transition> {
        if self.newest.is_some_and(|newest| seq <= newest) {
            return None;
        }
        self.newest = Some(seq);
        let passes = outcome.status.passes();
        self.last = Some(outcome);
        if passes {
            (self.passes, self.failures) = (self.passes.saturating_add(1), 0);
        } else {
            (self.passes, self.failures) = (0, self.failures.saturating_add(1));
        }
        let to = if passes && self.passes >= self.check.rise {
            Health::Passing
        } else if !passes && self.failures >= self.check.fall {
            Health::Failing
        } else {
            return None;
        };
        let from = std::mem::replace(&mut self.health, to);
        if from == to {
            return None;
        }
        self.since = now;
        Some(Transition { from, to })
    }

    /// Forgets all findings; runs that began before `floor` are not counted any more.
    fn restart(&mut self, floor: u64, now: WallTime) {
        let fresh = Self::new(self.check.clone(), Health::Pending, now);
        *self = Self { newest: floor.checked_sub(1), ..fresh };
    }
}

/// What a service's checks say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Failing if one fails, passing if all pass, else pending.
    pub health: Health,
    /// Worst status of the newest findings.
    pub worst: Status,
    /// Checks that do not pass, with the message of the newest finding.
    pub failing: BTreeMap<String, String>,
}

/// The state of all checks of a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Board {
    services: BTreeMap<ServiceId, BTreeMap<String, CheckState>>,
}

impl Board {
    /// Replaces the set of checks.
    ///
    /// A check that is the same keeps its state. One that was changed keeps its health, and one
    /// that is added to a service that passes begins as passing, until findings say otherwise: a
    /// manifest reaches all nodes at once and must not darken them all until `rise`.
    pub fn set<'a>(
        &mut self,
        assigned: impl IntoIterator<Item = (&'a ServiceId, &'a [Check])>,
        now: WallTime,
    ) {
        let mut before = std::mem::take(&mut self.services);
        for (service, checks) in assigned {
            let mut known = before.remove(service);
            let added = match &known {
                Some(known) => verdict(known).health,
                None => Health::Pending,
            };
            let states = checks.iter().map(|check| {
                let state = match known.as_mut().and_then(|known| known.remove(&check.name)) {
                    Some(state) if state.check == *check => state,
                    Some(state) => CheckState {
                        since: state.since,
                        newest: state.newest,
                        ..CheckState::new(check.clone(), state.health, now)
                    },
                    None if added == Health::Passing => {
                        CheckState::new(check.clone(), Health::Passing, now)
                    }
                    None => CheckState::new(check.clone(), Health::Pending, now),
                };
                (check.name.clone(), state)
            });
            self.services.insert(service.clone(), states.collect());
        }
    }

    /// Forgets what was found of a service, for it was started anew.
    ///
    /// `floor` is what [`Schedule::kick`](super::Schedule::kick) returned.
    pub fn restart(&mut self, service: &ServiceId, floor: u64, now: WallTime) {
        for state in self.services.get_mut(service).into_iter().flat_map(BTreeMap::values_mut) {
            state.restart(floor, now);
        }
    }

    /// Takes the pending checks of a service for passing until findings say otherwise.
    ///
    /// For an agent that was restarted while the service went on, as it was last known to serve:
    /// else every restart of an agent would look like an outage.
    pub fn presume_passing(&mut self, service: &ServiceId) {
        for state in self.services.get_mut(service).into_iter().flat_map(BTreeMap::values_mut) {
            if state.health == Health::Pending {
                state.health = Health::Passing;
            }
        }
    }

    /// Counts a finding; of a check that is no longer wanted it changes nothing.
    pub fn record(&mut self, finding: Finding, now: WallTime) -> Option<Transition> {
        let Finding { service, check, seq, outcome } = finding;
        self.services.get_mut(&service)?.get_mut(&check)?.record(seq, outcome, now)
    }

    /// Returns the state of a service's check.
    pub fn check(&self, service: &ServiceId, check: &str) -> Option<&CheckState> {
        self.services.get(service)?.get(check)
    }

    /// Returns every check with its service and name.
    pub fn checks(&self) -> impl Iterator<Item = (&ServiceId, &str, &CheckState)> {
        let of = |(service, checks)| {
            let checks: &BTreeMap<String, CheckState> = checks;
            checks.iter().map(move |(name, state)| (service, name.as_str(), state))
        };
        self.services.iter().flat_map(of)
    }

    /// Returns what a service's checks say together; one without checks passes.
    pub fn verdict(&self, service: &ServiceId) -> Verdict {
        self.services.get(service).map_or_else(|| verdict(&BTreeMap::new()), verdict)
    }
}

fn verdict(checks: &BTreeMap<String, CheckState>) -> Verdict {
    let any = |health| checks.values().any(|state| state.health == health);
    let message = |state: &CheckState| match &state.last {
        Some(outcome) if outcome.status.passes() => {
            format!("{} of {} passes: {}", state.passes, state.check.rise, outcome.message)
        }
        Some(outcome) => outcome.message.clone(),
        None => "not yet asked".to_owned(),
    };
    Verdict {
        health: if any(Health::Failing) {
            Health::Failing
        } else if any(Health::Pending) {
            Health::Pending
        } else {
            Health::Passing
        },
        worst: checks
            .values()
            .filter_map(|state| Some(state.last.as_ref()?.status))
            .max()
            .unwrap_or(Status::Ok),
        failing: checks
            .iter()
            .filter(|(_, state)| state.health != Health::Passing)
            .map(|(name, state)| (name.clone(), message(state)))
            .collect(),
    }
}
