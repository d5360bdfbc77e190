//! I6: nothing pushes an action aside before it has ended, except the revert that ends it; and on
//! the host one step runs at a time.

use std::collections::BTreeMap;

use trireme_proto::action::{Action, ActionKind};
use trireme_proto::id::NodeId;

use super::{Look, Moment};
use crate::sim::{World, kind};

/// Remembers each node's newest action and whether it had ended.
#[derive(Debug, Default)]
pub(super) struct OneAction {
    newest: BTreeMap<NodeId, (Action, bool)>,
}

impl Look for OneAction {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Committed(_) => self.committed(world),
            Moment::Begins { node, task } => match &world.nodes[*node].agent.step {
                Some(step) => Err(format!(
                    "{} begins {:?} while {:?} runs",
                    world.nodes[*node].id, task.key, step.task.key
                )),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

impl OneAction {
    fn committed(&mut self, world: &World) -> Result<(), String> {
        for (name, node) in &world.log.fleet.nodes {
            let Some(record) = &node.action else {
                self.newest.remove(name);
                continue;
            };
            let (new, ended) = (&record.action, record.is_final());
            match self.newest.get_mut(name) {
                Some((old, was)) if old.id == new.id => *was = ended,
                Some((old, false)) if !may_push_aside(new, old) => {
                    return Err(format!(
                        "{} ({} of {}) pushes {} ({} of {}) aside on {name}",
                        new.id,
                        kind(new),
                        new.service,
                        old.id,
                        kind(old),
                        old.service
                    ));
                }
                _ => {
                    self.newest.insert(name.clone(), (new.clone(), ended));
                }
            }
        }
        Ok(())
    }
}

fn may_push_aside(new: &Action, old: &Action) -> bool {
    matches!(new.kind, ActionKind::Revert { .. })
        && new.service == old.service
        && new.upgrade == old.upgrade
}
