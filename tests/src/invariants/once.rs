//! At-least-once messages, exactly-once effects: a step of an action starts its process once.
//!
//! A process that the simulation itself has killed may be started again.

use super::{Look, Moment};
use crate::sim::World;

#[derive(Debug, Default)]
pub(super) struct Once;

impl Look for Once {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        let Moment::Performed { node, task } = moment else { return Ok(()) };
        let node = &world.nodes[*node];
        let starts = node.host.units.get(&task.service).and_then(|unit| unit.starts.get(&task.key));
        match starts {
            Some(count) if *count > 1 => {
                Err(format!("{} starts {} {count} times for {:?}", node.id, task.service, task.key))
            }
            _ => Ok(()),
        }
    }
}
