//! Decides what the leader proposes next. Pure: replicated state, presence and time in; commands,
//! reasons for waiting, and the next moment worth looking out.
//!
//! Self-healing: each call looks at the whole, so normal work and recovery are one path. What
//! cannot advance always says why: an upgrade without proposals and without reasons is a bug
//! (I16).

pub mod alert;
pub mod checklist;
pub mod controllers;
pub mod deliver;
mod drain;
mod forward;
mod reoffer;
mod rollback;
mod sight;
#[cfg(test)]
mod tests;
mod wait;

pub use wait::refused;

use std::collections::BTreeMap;

use trireme_proto::id::{NodeId, UpgradeId};
use trireme_proto::time::FleetTime;
use trireme_proto::view::{Reason, UpgradePhase};

use crate::presence::Presence;
use crate::state::{Body, Fleet};

/// All that a decision is made from.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// What the controllers agree on.
    pub fleet: &'a Fleet,
    /// What this leader sees.
    pub presence: &'a Presence,
    /// Fleet time.
    pub now: FleetTime,
    /// Term this controller leads in.
    pub term: u64,
}

/// What to do now, and why not more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Commands to propose, in order.
    pub proposals: Vec<Body>,
    /// For each upgrade that has not ended, what it waits for.
    pub waiting: BTreeMap<UpgradeId, Vec<Reason>>,
    /// Next moment at which time alone changes the decision.
    pub wake_at: Option<FleetTime>,
}

impl Decision {
    /// Asks to be looked at again at `at`.
    fn wake(&mut self, at: FleetTime) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Records that an upgrade waits for what nodes were asked to do.
    fn wait_for<'a>(
        &mut self,
        world: &World<'_>,
        upgrade: UpgradeId,
        nodes: impl IntoIterator<Item = &'a NodeId>,
    ) {
        let known = self.waiting.get(&upgrade).map_or(0, Vec::len);
        let mut nodes = nodes.into_iter();
        for node in nodes.by_ref().take(NODES_NAMED_MAX.saturating_sub(known)) {
            self.wait(upgrade, wait::action(world, node));
        }
        let more = nodes.count();
        if more > 0 {
            self.wait(upgrade, wait::more(more));
        }
    }

    /// Records why an upgrade does not go on.
    fn wait(&mut self, upgrade: UpgradeId, reason: Reason) {
        self.waiting.entry(upgrade).or_default().push(reason);
    }
}

/// Nodes of one upgrade that are named as waited for; the rest is counted. Reasons are made anew
/// with each decision and told to every controller, and nobody reads thousands.
const NODES_NAMED_MAX: usize = 32;

/// Decides what the leader proposes next.
pub fn plan(world: &World<'_>) -> Decision {
    let mut decision = Decision::default();
    sight::plan(world, &mut decision);
    reoffer::plan(world, &mut decision);
    drain::plan(world, &mut decision);
    for (id, upgrade) in &world.fleet.upgrades {
        match upgrade.phase {
            UpgradePhase::Running | UpgradePhase::Aborting => {
                forward::plan(world, *id, upgrade, &mut decision);
            }
            UpgradePhase::RollingBack => rollback::plan(world, *id, upgrade, &mut decision),
            UpgradePhase::Succeeded
            | UpgradePhase::RolledBack
            | UpgradePhase::Aborted
            | UpgradePhase::RollbackFailed => {}
        }
    }
    decision
}
