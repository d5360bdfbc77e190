//! I9: an upgrade that says it was rolled back has left no trace on the nodes it touched.

use std::collections::{BTreeMap, BTreeSet};

use trireme_agent::plan::Work;
use trireme_controller::state::fleet::Stage;
use trireme_proto::id::{ActionId, ServiceId, UpgradeId};
use trireme_proto::view::UpgradePhase;

use super::{Look, Moment};
use crate::sim::World;

/// Remembers which nodes each upgrade has truly touched.
#[derive(Debug, Default)]
pub(super) struct Returned {
    switches: BTreeMap<ActionId, UpgradeId>,
    touched: BTreeMap<UpgradeId, BTreeSet<(usize, ServiceId)>>,
    rolled_back: BTreeSet<UpgradeId>,
}

impl Look for Returned {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Accepted { action, .. } if action.kind.takes_capacity() => {
                self.switches.insert(action.id, action.upgrade);
                Ok(())
            }
            Moment::Performed { node, task } => {
                let disturbs =
                    matches!(task.work, Work::Stop | Work::Point { .. } | Work::Start { .. });
                if let Some(upgrade) = self.switches.get(&task.key.action).filter(|_| disturbs) {
                    let touched = self.touched.entry(*upgrade).or_default();
                    touched.insert((*node, task.service.clone()));
                }
                Ok(())
            }
            Moment::Committed(_) => {
                let mut now = BTreeSet::new();
                for (id, upgrade) in &world.log.fleet.upgrades {
                    if upgrade.phase == UpgradePhase::RolledBack {
                        now.insert(*id);
                    }
                }
                let new: Vec<UpgradeId> = now.difference(&self.rolled_back).copied().collect();
                self.rolled_back = now;
                new.into_iter().try_for_each(|id| self.clean(world, id))
            }
            Moment::Ended => {
                let newest = |id: &&UpgradeId| {
                    let upgrade = &world.log.fleet.upgrades[*id];
                    world.log.fleet.newest_upgrade(&upgrade.plan.service, |_| true) == Some(**id)
                };
                self.rolled_back.iter().filter(newest).try_for_each(|id| self.clean(world, *id))
            }
            _ => Ok(()),
        }
    }
}

impl Returned {
    fn clean(&self, world: &World, id: UpgradeId) -> Result<(), String> {
        let upgrade = &world.log.fleet.upgrades[&id];
        for (n, service) in self.touched.get(&id).into_iter().flatten() {
            let node = &world.nodes[*n];
            let stages = upgrade.waves.iter().filter_map(|wave| wave.nodes.get(&node.id));
            if stages.into_iter().any(|stage| matches!(stage, Stage::Skipped { .. })) {
                continue;
            }
            let recorded = upgrade.plan.previous.get(&node.id).copied().flatten();
            let Some(unit) = node.host.units.get(service) else { continue };
            // What an operator had stopped before stays down.
            let runs = recorded.is_some() && !upgrade.stopped.contains(&node.id);
            if unit.digest() != recorded || unit.wanted != runs {
                return Err(format!(
                    "{id} says rolled back, but {} is at {:?} (to run: {}) and not at {recorded:?}",
                    node.id,
                    unit.digest(),
                    unit.wanted
                ));
            }
            let busy = node.agent.disk.current.as_ref().is_some_and(|c| c.action.upgrade == id);
            if busy {
                return Err(format!("{id} says rolled back, but {} is still at it", node.id));
            }
        }
        Ok(())
    }
}
