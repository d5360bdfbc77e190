//! A grant ends with proof: when it is released, nothing of its upgrade runs or is armed on the
//! disks of the nodes it took. Time alone releases nothing.

use std::collections::BTreeMap;

use trireme_controller::state::fleet::{Grant, GrantState};
use trireme_proto::action::ActionKind;
use trireme_proto::id::GrantId;

use super::{Look, Moment, Pair, held_pairs};
use crate::sim::World;

/// Remembers the grants that were held.
#[derive(Debug, Default)]
pub(super) struct Proof {
    held: BTreeMap<GrantId, Grant>,
}

impl Look for Proof {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        let Moment::Committed(_) = moment else { return Ok(()) };
        let fleet = &world.log.fleet;
        let still = held_pairs(fleet);
        for (id, grant) in &self.held {
            let released =
                fleet.grants.get(id).is_none_or(|g| matches!(g.state, GrantState::Released { .. }));
            if !released {
                continue;
            }
            for pair in grant.takes.iter().filter(|pair| !still.contains(*pair)) {
                at_rest(world, *id, grant, pair)?;
            }
        }
        let held = fleet.grants.iter().filter(|(_, grant)| grant.is_held());
        self.held = held.map(|(id, grant)| (*id, grant.clone())).collect();
        Ok(())
    }
}

fn at_rest(
    world: &World,
    id: GrantId,
    grant: &Grant,
    (node, service): &Pair,
) -> Result<(), String> {
    let removed = world.log.fleet.nodes.get(node).is_none_or(|node| node.removed);
    let Some(n) = world.place_of(node).filter(|_| !removed) else { return Ok(()) };
    let disk = &world.nodes[n].agent.disk;
    let runs = disk.current.as_ref().is_some_and(|current| {
        let back = matches!(current.action.kind, ActionKind::Revert { .. });
        let disturbs = back || current.action.kind.takes_capacity();
        let held_by = grant.holder.upgrade() == Some(current.action.upgrade);
        disturbs && held_by && current.action.service == *service
    });
    let armed = disk.services.get(service).and_then(|memory| memory.armed.as_ref());
    let armed = armed.is_some_and(|armed| grant.holder.upgrade() == Some(armed.action.upgrade));
    if runs || armed {
        return Err(format!("{id} is released while {node} runs ({runs}) or is armed ({armed})"));
    }
    Ok(())
}
