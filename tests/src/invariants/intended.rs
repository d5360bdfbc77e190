//! What is about to be done to a host is on disk before it begins. Otherwise a crash in the middle
//! leaves an agent that knows nothing of it.

use trireme_agent::plan::Current;

use super::{Look, Moment};
use crate::sim::World;

/// Looks at every step that begins.
#[derive(Debug, Default)]
pub(super) struct Intended;

impl Look for Intended {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        let Moment::Begins { node, task } = moment else { return Ok(()) };
        let node = &world.nodes[*node];
        let current = node.agent.disk.current.as_ref();
        let intends = current.filter(|current| current.action.id == task.key.action);
        match intends.and_then(Current::unfinished) {
            Some(step) if step == task.key.step => Ok(()),
            found => Err(format!(
                "{} begins {} of {}, and its disk says it is in {found:?}",
                node.id, task.key.step, task.key.action
            )),
        }
    }
}
