//! I7: what an agent has once said of its fence stays true through every crash.

use std::collections::BTreeMap;

use trireme_proto::digest::Digest;

use super::{Look, Moment};
use crate::sim::World;

type Order = (u64, u64);

/// Remembers what each agent has accepted and said.
#[derive(Debug, Default)]
pub(super) struct Fences {
    said: BTreeMap<usize, Order>,
    accepted: BTreeMap<usize, (Order, Digest)>,
}

impl Look for Fences {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Announced { node, fence } => self.holds(world, *node, fence.order()),
            Moment::Restarted { node } => {
                let fence = world.nodes[*node].agent.disk.fence().unwrap_or_default();
                self.holds(world, *node, fence.order())
            }
            Moment::Accepted { node, action } => {
                let (order, hash) = (action.fence.order(), action.hash());
                let name = &world.nodes[*node].id;
                if let Some((before, other)) = self.accepted.get(node)
                    && order <= *before
                {
                    return Err(format!(
                        "{name} accepts {} under {order:?} after {before:?} (the same action: {})",
                        action.id,
                        hash == *other
                    ));
                }
                self.accepted.insert(*node, (order, hash));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Fences {
    fn holds(&mut self, world: &World, n: usize, order: Order) -> Result<(), String> {
        let said = self.said.entry(n).or_default();
        if order < *said {
            let name = &world.nodes[n].id;
            return Err(format!("{name} falls back from fence {said:?} to {order:?}"));
        }
        *said = order;
        Ok(())
    }
}
