//! I8: what a rollback starts is the very digest that ran there before the upgrade touched it.

use std::collections::BTreeMap;

use trireme_agent::plan::{Direction, Work};
use trireme_proto::action::{ActionKind, RunSpec};
use trireme_proto::digest::Digest;
use trireme_proto::id::{ActionId, ServiceId, UpgradeId};

use super::{Look, Moment};
use crate::sim::World;

/// Remembers what every accepted action is, and what ran before the first touch of an upgrade.
#[derive(Debug, Default)]
pub(super) struct RollbackTarget {
    actions: BTreeMap<ActionId, (UpgradeId, bool)>,
    before: BTreeMap<(usize, ServiceId, UpgradeId), Option<Digest>>,
}

impl Look for RollbackTarget {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Committed(_) => committed(world),
            Moment::Accepted { action, .. } => {
                let back = matches!(action.kind, ActionKind::Revert { .. });
                self.actions.insert(action.id, (action.upgrade, back));
                Ok(())
            }
            Moment::Begins { node, task } => {
                let Some((upgrade, back)) = self.actions.get(&task.key.action).copied() else {
                    return Err(format!("{:?} was never accepted", task.key));
                };
                let back = back || task.key.direction == Direction::Undo;
                let unit = world.nodes[*node].host.units.get(&task.service);
                let runs = unit.and_then(crate::sim::host::Unit::digest);
                let key = (*node, task.service.clone(), upgrade);
                match &task.work {
                    Work::Stop | Work::Point { .. } if !back => {
                        self.before.entry(key).or_insert(runs);
                        Ok(())
                    }
                    Work::Point { spec } if back => {
                        self.returns_to(world, &key, spec.as_ref().map(RunSpec::digest))
                    }
                    Work::Start { spec, .. } if back => {
                        self.returns_to(world, &key, Some(spec.digest()))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl RollbackTarget {
    fn returns_to(
        &self,
        world: &World,
        key: &(usize, ServiceId, UpgradeId),
        to: Option<Digest>,
    ) -> Result<(), String> {
        match self.before.get(key) {
            Some(before) if *before != to => Err(format!(
                "{} goes back to {to:?}, but before {} it ran {before:?}",
                world.nodes[key.0].id, key.2
            )),
            _ => Ok(()),
        }
    }
}

/// Every revert names what the plan recorded.
fn committed(world: &World) -> Result<(), String> {
    for (name, node) in &world.log.fleet.nodes {
        let Some(record) = &node.action else { continue };
        let ActionKind::Revert { previous, .. } = &record.action.kind else { continue };
        if record.progress.is_some() {
            continue;
        }
        let upgrade = world.log.fleet.upgrades.get(&record.action.upgrade);
        let recorded = upgrade.and_then(|upgrade| upgrade.plan.previous.get(name)).copied();
        let wanted = previous.as_ref().map(RunSpec::digest);
        if recorded.is_some_and(|recorded| recorded != wanted) {
            return Err(format!("{name} is to go back to {wanted:?}, recorded was {recorded:?}"));
        }
    }
    Ok(())
}
