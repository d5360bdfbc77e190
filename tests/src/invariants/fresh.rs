//! An agent takes only what is offered on a fresh view of it: by the offer it takes, the controller
//! had heard from this very agent lately, by the agent's own clock (DESIGN rule 13).

use std::collections::BTreeSet;

use trireme_proto::id::ActionId;

use super::{Look, Moment};
use crate::sim::World;

/// Oldest view, in milliseconds.
const AGE_MAX: u64 = 5000;

/// Actions that were offered on a fresh view.
#[derive(Debug, Default)]
pub(super) struct Fresh(BTreeSet<ActionId>);

impl Look for Fresh {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Heard { action, age: Some(age), .. } if *age <= AGE_MAX => {
                self.0.insert(action.id);
                Ok(())
            }
            Moment::Accepted { node, action } if !self.0.contains(&action.id) => Err(format!(
                "{} accepts {}, which was only offered on a view of another time",
                world.nodes[*node].id, action.id
            )),
            _ => Ok(()),
        }
    }
}
