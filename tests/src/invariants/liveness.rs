//! I17: with a stable leader and healthy machines every upgrade ends, or is paused, within the sum
//! of its deadlines: there and back again.

use std::collections::BTreeMap;

use trireme_controller::state::fleet::{Stage, Upgrade};
use trireme_proto::id::UpgradeId;

use super::{Look, Moment, has_region_to_spare};
use crate::sim::World;

/// Waits of a wave that no manifest sets: routing, its TTL, and news of a node.
const FIXED_MS: u64 = 5000 + 1000 + 6000;

/// Remembers since when all has been well, upgrade by upgrade.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    since: BTreeMap<UpgradeId, u64>,
    term: u64,
}

impl Look for Liveness {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        if !matches!(moment, Moment::Decided { .. } | Moment::Committed(_)) {
            return Ok(());
        }
        if world.log.term != self.term || !world.all_is_well() {
            self.term = world.log.term;
            self.since.clear();
            return Ok(());
        }
        let open = world.log.fleet.upgrades.iter();
        for (id, upgrade) in open.filter(|(_, upgrade)| !upgrade.phase.is_final()) {
            if upgrade.paused.is_some() || waits_rightly(world, upgrade) {
                self.since.remove(id);
                continue;
            }
            let lasts = world.now - *self.since.entry(*id).or_insert(world.now);
            let limit = limit(world, upgrade);
            if lasts > limit {
                let phase = upgrade.phase;
                return Err(format!(
                    "{id} has been {phase:?} for {lasts} ms though all is well; {limit} are enough"
                ));
            }
        }
        Ok(())
    }
}

/// Returns whether a person must act first, or what it would take is needed.
fn waits_rightly(world: &World, upgrade: &Upgrade) -> bool {
    let mut stages = upgrade.waves.iter().flat_map(|wave| wave.nodes.values());
    let dirty = stages.any(|stage| matches!(stage, Stage::Dirty { .. }));
    let held = world.log.fleet.grants.values().any(|grant| {
        grant.is_held() && grant.takes.iter().any(|(_, taken)| *taken == upgrade.plan.service)
    });
    dirty || (!held && !has_region_to_spare(world, &upgrade.plan.service))
}

/// Returns the sum of all deadlines: each wave is staged, switched, watched and confirmed, and may
/// have to go back; services on the same nodes wait for each other.
fn limit(world: &World, upgrade: &Upgrade) -> u64 {
    let config = &world.config;
    let wave = 3 * config.step_ms + config.bake_ms + FIXED_MS;
    let (waves, services) = (upgrade.waves.len() as u64, config.services.len() as u64);
    2 * waves * wave * services * 105 / 100
}
