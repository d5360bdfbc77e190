//! Decides about alerts: what holds, what has held for long enough, and who is told of it now.
//!
//! ```text
//!  rules + fleet + presence ──condition──▶ standings ──assess──▶ holding, opened, resolved
//!  open incidents + channels + silences ──notify──▶ messages to claim
//! ```
//!
//! Like every plan it looks at the whole and remembers nothing: since when something holds is part
//! of the replicated state, in fleet time. An election therefore neither ends a wait nor shortens
//! it: while nobody leads, nobody can see that a condition holds, and its time stands still. What a
//! new leader has not seen yet is unsure: it neither begins, nor ends, nor becomes an incident.

mod assess;
#[cfg(test)]
mod bench;
mod condition;
#[cfg(test)]
mod histories;
mod notify;
#[cfg(test)]
mod tests;

use trireme_proto::time::{FleetTime, WallTime};

pub use notify::told_to;

use crate::presence::Presence;
use crate::state::Fleet;
use crate::state::alert::{AlertStep, NoticeState};

/// All that is decided from.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// What the controllers agree on.
    pub fleet: &'a Fleet,
    /// What this leader sees.
    pub presence: &'a Presence,
    /// Fleet time.
    pub now: FleetTime,
    /// Wall time, for how long certificates are valid and by when checklists must be done.
    pub wall: WallTime,
    /// Term this controller leads in.
    pub term: u64,
}

/// What to do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// What to have committed, in order.
    pub steps: Vec<AlertStep>,
    /// Next moment at which time alone changes the decision.
    pub wake_at: Option<FleetTime>,
}

impl Decision {
    fn wake(&mut self, at: FleetTime) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// Decides what the leader has committed next about alerts.
pub fn plan(scene: &Scene<'_>) -> Decision {
    let mut decision = Decision::default();
    abandon(scene, &mut decision);
    assess::plan(scene, &mut decision);
    if decision.steps.is_empty() {
        // Who is told follows from what is open, so that is settled first.
        notify::plan(scene, &mut decision);
    }
    decision
}

/// Gives up messages that an earlier leader had claimed and may have sent.
fn abandon(scene: &Scene<'_>, decision: &mut Decision) {
    let left = scene
        .fleet
        .alerts
        .notices
        .iter()
        .filter(|(_, notice)| notice.state == NoticeState::Claimed && notice.term < scene.term);
    let unknown = |by: &str| NoticeState::Unknown(format!("{by} led no more before it told"));
    let outcomes: std::collections::BTreeMap<_, _> =
        left.map(|(id, notice)| (*id, unknown(&notice.by))).collect();
    if !outcomes.is_empty() {
        decision.steps.push(AlertStep::Settle { outcomes });
    }
}
