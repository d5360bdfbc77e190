//! I4: whole regions go one after another, in the order of the plan.

use std::collections::BTreeSet;

use trireme_proto::id::UpgradeId;

use super::{Look, Moment};
use crate::sim::World;

/// Remembers which waves have passed; a rollback does not unmake that.
#[derive(Debug, Default)]
pub(super) struct Order {
    passed: BTreeSet<(UpgradeId, usize)>,
}

impl Look for Order {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Committed(_) => {
                for (id, upgrade) in &world.log.fleet.upgrades {
                    for (wave, record) in upgrade.waves.iter().enumerate() {
                        if record.has_passed() {
                            self.passed.insert((*id, wave));
                        }
                    }
                }
                Ok(())
            }
            Moment::Accepted { node, action } if action.kind.takes_capacity() => {
                let name = &world.nodes[*node].id;
                let Some(upgrade) = world.log.fleet.upgrades.get(&action.upgrade) else {
                    return Err(format!("{} belongs to no upgrade", action.id));
                };
                let wave = upgrade.plan.waves.iter().position(|wave| wave.nodes.contains(name));
                let Some(wave) = wave else {
                    return Err(format!("{name} accepts {} of a plan without it", action.id));
                };
                let early =
                    (0..wave).find(|earlier| !self.passed.contains(&(action.upgrade, *earlier)));
                match early {
                    Some(earlier) => Err(format!(
                        "{name} of wave {wave} accepts {} before wave {earlier} has passed",
                        action.id
                    )),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
