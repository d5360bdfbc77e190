//! When all is over, nothing is left behind: no grant without somebody who must act, no node kept
//! from its clients for no reason, no revert armed that nobody will call off.

use trireme_controller::state::Fleet;
use trireme_controller::state::fleet::{Grant, GrantState, Holder};
use trireme_proto::view::UpgradePhase;

use super::{Look, Moment};
use crate::sim::World;

#[derive(Debug, Default)]
pub(super) struct Settled;

impl Look for Settled {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        let Moment::Ended = moment else { return Ok(()) };
        let fleet = &world.log.fleet;
        let waits_for_person = |id| {
            fleet.upgrades.get(&id).is_some_and(|upgrade| {
                upgrade.phase == UpgradePhase::RollbackFailed || !upgrade.phase.is_final()
            })
        };
        let held = fleet.grants.iter().filter(|(_, grant)| grant.is_held());
        for (id, grant) in held {
            let by_choice = match &grant.holder {
                Holder::Drain(place) => fleet.drains.get(place).is_some_and(|d| d.grant == *id),
                Holder::Upgrade(holder) => waits_for_person(*holder) || is_stopped(fleet, grant),
            };
            if !by_choice {
                return Err(format!("{id} of {} is held for nothing", grant.holder));
            }
        }
        let held = super::held_pairs(fleet);
        for (name, node) in fleet.nodes.iter().filter(|(_, node)| !node.removed) {
            let left = node.drained.iter().find(|s| !held.contains(&(name.clone(), (*s).clone())));
            if let Some(service) = left {
                return Err(format!("{name} is kept from clients of {service} for nothing"));
            }
            // What an operator forced ends by itself, a while later.
            let forced = fleet.grants.values().any(|grant| {
                matches!(grant.state, GrantState::Forced { .. })
                    && grant.takes.iter().any(|(taken, _)| taken == name)
            });
            let Some(n) = world.place_of(name).filter(|_| !forced) else { continue };
            for (service, memory) in &world.nodes[n].agent.disk.services {
                let armed = memory.armed.as_ref().map(|armed| armed.action.upgrade);
                if let Some(upgrade) = armed.filter(|upgrade| !waits_for_person(*upgrade)) {
                    return Err(format!("{name} is armed to revert {service} of {upgrade}"));
                }
            }
        }
        Ok(())
    }
}

/// Returns whether an operator has stopped all that a grant takes.
fn is_stopped(fleet: &Fleet, grant: &Grant) -> bool {
    let stopped = |(node, service): &super::Pair| {
        fleet.nodes.get(node).is_some_and(|node| node.stopped.contains(service))
    };
    grant.takes.iter().all(stopped)
}
