//! Every disturbance of a host lies under a grant that is held at that moment, whoever thinks it
//! leads and however late the message came. What an operator has forced is the operator's.

use std::collections::BTreeSet;

use trireme_agent::plan::Work;
use trireme_controller::state::fleet::GrantState;

use super::{Look, Moment, Pair, held_pairs};
use crate::sim::World;

/// Remembers what operators have taken out of the ledger's hands.
#[derive(Debug, Default)]
pub(super) struct Covered {
    forced: BTreeSet<Pair>,
}

impl Look for Covered {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        let fleet = &world.log.fleet;
        match moment {
            Moment::Committed(_) => {
                for grant in fleet.grants.values() {
                    if matches!(grant.state, GrantState::Forced { .. }) {
                        self.forced.extend(grant.takes.iter().cloned());
                    }
                }
                Ok(())
            }
            Moment::Begins { node, task } if matches!(task.work, Work::Stop) => {
                let name = &world.nodes[*node].id;
                let pair = (name.clone(), task.service.clone());
                let removed = fleet.nodes.get(name).is_some_and(|node| node.removed);
                if removed || self.forced.contains(&pair) || held_pairs(fleet).contains(&pair) {
                    return Ok(());
                }
                Err(format!("{name} stops {} for {:?} under no grant", task.service, task.key))
            }
            _ => Ok(()),
        }
    }
}
