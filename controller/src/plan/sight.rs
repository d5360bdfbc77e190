//! Decides which nodes have come into or gone out of sight.

use trireme_proto::time::FleetTime;

use super::{Decision, World};
use crate::presence::WINDOW;
use crate::state::Body;

pub(super) fn plan(world: &World<'_>, decision: &mut Decision) {
    let mut lost = Vec::new();
    let mut seen = Vec::new();
    for (id, node) in world.fleet.nodes.iter().filter(|(_, node)| !node.removed) {
        let in_sight = world.presence.in_sight(id, world.now);
        if node.lost && in_sight {
            seen.push(id.clone());
        } else if !node.lost && !in_sight {
            // A new leader has seen nobody yet: silence counts only after it has looked.
            let looked_at = world.presence.since.after(WINDOW);
            if world.now > looked_at {
                lost.push(id.clone());
            } else {
                decision.wake(FleetTime(looked_at.0 + 1));
            }
        }
        if let Some(sighting) = world.presence.nodes.get(id).filter(|_| in_sight) {
            decision.wake(FleetTime(sighting.at.after(WINDOW).0 + 1));
        }
    }
    if !lost.is_empty() || !seen.is_empty() {
        decision.proposals.push(Body::Presence { lost, seen });
    }
}
