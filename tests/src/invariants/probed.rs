//! After a crash nobody remembers whether the last step was done. It is looked for on the host, and
//! done again only where it is known not to be there.

use std::collections::BTreeSet;

use trireme_agent::plan::{Key, Probed, Work};

use super::{Look, Moment};
use crate::sim::World;

/// Steps that have begun on each node, and those known not to be done since.
#[derive(Debug, Default)]
pub(super) struct ProbedFirst {
    begun: BTreeSet<(usize, Key)>,
    absent: BTreeSet<(usize, Key)>,
}

impl Look for ProbedFirst {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Probed { node, key, found: Probed::NotDone } => {
                self.absent.insert((*node, *key));
                Ok(())
            }
            Moment::Begins { node, task } => {
                let place = (*node, task.key);
                let waits = matches!(task.work, Work::Quiesce { .. } | Work::Gate { .. });
                let again = !self.begun.insert(place);
                if again && !waits && !self.absent.remove(&place) {
                    let (id, key) = (&world.nodes[*node].id, task.key);
                    return Err(format!("{id} begins {key:?} again and has not looked for it"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
