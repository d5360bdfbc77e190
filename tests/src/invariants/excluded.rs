//! I19: a node that was gone before an upgrade was started never blocks the others. It is left out,
//! with the reason, and nothing is asked of it.

use std::collections::{BTreeMap, BTreeSet};

use trireme_controller::state::fleet::{Stage, Upgrade};
use trireme_controller::state::{Body, Outcome};
use trireme_proto::id::{NodeId, UpgradeId};
use trireme_proto::view::UpgradePhase;

use super::{Look, Moment};
use crate::sim::World;

/// Remembers, for each upgrade, who was gone when it was started and still is.
#[derive(Debug, Default)]
pub(super) struct Excluded {
    gone: BTreeMap<UpgradeId, BTreeSet<NodeId>>,
}

impl Look for Excluded {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        let Moment::Committed(committed) = moment else { return Ok(()) };
        let fleet = &world.log.fleet;
        let is_gone = |name: &NodeId| {
            let place = world.place_of(name);
            place.is_some_and(|n| !world.nodes[n].agent.up) && fleet.nodes[name].lost
        };
        if let (Body::StartUpgrade { .. }, Outcome::Upgrade(id)) =
            (&committed.command.body, &committed.reply.outcome)
            && committed.audit.is_some()
        {
            let gone = fleet.nodes.keys().filter(|name| is_gone(name)).cloned().collect();
            self.gone.insert(*id, gone);
        }
        for (id, gone) in &mut self.gone {
            gone.retain(|name| is_gone(name));
            let in_sight = |name: &NodeId| {
                let place = world.place_of(name);
                place.is_some_and(|n| world.nodes[n].agent.up) && !fleet.nodes[name].lost
            };
            if let Some(upgrade) = fleet.upgrades.get(id) {
                let fails = matches!(&committed.command.body,
                    Body::Fail { upgrade, .. } if upgrade == id);
                left_out(*id, upgrade, gone, fails, in_sight)?;
            }
        }
        Ok(())
    }
}

fn left_out(
    id: UpgradeId,
    upgrade: &Upgrade,
    gone: &BTreeSet<NodeId>,
    fails: bool,
    in_sight: impl Fn(&NodeId) -> bool,
) -> Result<(), String> {
    for (planned, wave) in upgrade.plan.waves.iter().zip(&upgrade.waves) {
        let region = upgrade.plan.waves.iter().filter(|other| other.region == planned.region);
        let others = region.flat_map(|wave| &wave.nodes).any(&in_sight);
        for (name, stage) in &wave.nodes {
            if matches!(stage, Stage::Skipped { reason } if reason.is_empty()) {
                return Err(format!("{id} leaves {name} out and does not say why"));
            }
            if !gone.contains(name) {
                continue;
            }
            let word = stage.word();
            if !matches!(stage, Stage::Waiting | Stage::Skipped { .. }) {
                return Err(format!("{id} has {name} {word}, which was gone before it began"));
            }
            let blames = upgrade.reason.as_ref().is_some_and(|why| why.contains(name.as_str()));
            if fails && blames && others {
                return Err(format!("{id} fails for {name}, which was gone before it began"));
            }
            if upgrade.phase == UpgradePhase::Succeeded && *stage == Stage::Waiting {
                return Err(format!("{id} has succeeded, and says nothing of {name}"));
            }
        }
    }
    Ok(())
}
