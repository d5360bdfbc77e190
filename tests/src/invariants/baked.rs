//! I5: nothing is confirmed, and no grant given back on health, before its wave was watched for the
//! whole bake.
//!
//! The rule counts in true time, from when the last switch of the wave was reported to be done, and
//! allows for the fastest clock that a leader can have.

use std::collections::BTreeMap;

use trireme_controller::state::fleet::{Grant, GrantState, Stage, Upgrade};
use trireme_controller::state::{Body, Outcome};
use trireme_proto::action::{ActionKind, Progress};
use trireme_proto::id::{ActionId, GrantId};
use trireme_proto::plan::Operation;

use super::{Look, Moment};
use crate::sim::World;
use crate::sim::raft::Committed;

/// What a bake lasts at the least by the fastest clock, in a hundred of its length; and what
/// rounding takes, in milliseconds.
const FASTEST: (u64, u64) = (105, 4);

/// Remembers when each switch was reported to be done, and the grants that were held.
#[derive(Debug, Default)]
pub(super) struct Baked {
    switches: BTreeMap<ActionId, Option<u64>>,
    held: BTreeMap<GrantId, Grant>,
}

impl Look for Baked {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Accepted { action, .. } if matches!(action.kind, ActionKind::Switch(_)) => {
                self.switches.entry(action.id).or_default();
                Ok(())
            }
            Moment::Committed(committed) => self.committed(world, committed),
            _ => Ok(()),
        }
    }
}

impl Baked {
    fn committed(&mut self, world: &World, committed: &Committed) -> Result<(), String> {
        let fleet = &world.log.fleet;
        match &committed.command.body {
            Body::Reports { reports, .. } if committed.reply.outcome == Outcome::Done => {
                for report in reports.iter().filter(|report| report.progress == Progress::Done) {
                    if let Some(done) = self.switches.get_mut(&report.action) {
                        done.get_or_insert(committed.proposed);
                    }
                }
            }
            Body::Confirm { upgrade, wave } => {
                if let Some(record) = fleet.upgrades.get(upgrade).filter(|u| *wave < u.waves.len())
                    && !matches!(committed.reply.outcome, Outcome::Refused(_))
                {
                    let what = || format!("wave {wave} of {upgrade} is confirmed");
                    self.watched(world, committed, (record, *wave), what)?;
                }
            }
            _ => {}
        }
        for (id, grant) in &self.held {
            let state = fleet.grants.get(id).map(|grant| &grant.state);
            let released = state.is_none_or(|s| matches!(s, GrantState::Released { .. }));
            let holder = grant.holder.upgrade().filter(|_| released);
            let upgrade = holder.and_then(|id| fleet.upgrades.get(&id));
            let Some(upgrade) = upgrade.filter(|u| grant.wave < u.waves.len()) else { continue };
            self.watched(world, committed, (upgrade, grant.wave), || format!("{id} is released"))?;
        }
        let held = fleet.grants.iter().filter(|(_, grant)| grant.is_held());
        self.held = held.map(|(id, grant)| (*id, grant.clone())).collect();
        Ok(())
    }

    /// Judges those nodes of a wave on which the new release stays.
    fn watched(
        &self,
        world: &World,
        committed: &Committed,
        (upgrade, wave): (&Upgrade, usize),
        what: impl Fn() -> String,
    ) -> Result<(), String> {
        // A start has nothing after it to protect, nor has what is done in a single wave.
        let plan = &upgrade.plan;
        let alone =
            plan.operation == Operation::Start || (plan.to.is_none() && plan.waves.len() == 1);
        let bake = if alone { 0 } else { world.config.bake_ms };
        for (node, stage) in &upgrade.waves[wave].nodes {
            let (Stage::Up { switch }
            | Stage::Confirming { switch, .. }
            | Stage::Confirmed { switch }) = stage
            else {
                continue;
            };
            let Some(Some(done)) = self.switches.get(switch) else {
                return Err(format!("{} though {switch} on {node} was never done", what()));
            };
            let watched = committed.proposed.saturating_sub(*done);
            if (watched + FASTEST.1) * FASTEST.0 < bake * 100 {
                return Err(format!(
                    "{} though {node} has been up for {watched} ms, the bake lasts {bake}",
                    what()
                ));
            }
        }
        Ok(())
    }
}
