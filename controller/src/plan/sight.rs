//! Decides which nodes have come into or gone out of sight.

use trireme_proto::time::FleetTime;

use super::{Decision, World};
use crate::presence::WINDOW;
use crate::state::Body;

pub(super) fn plan(world: &World<'_>, decision: &mut Decision) {
    let mut lost = Vec::new();
    let mut seen = Vec::new();
    let mut unlooked = false;
    let mut oldest: Option<FleetTime> = None;
    // A new leader has seen nobody yet: silence counts only after it has looked.
    let looked_at = world.presence.since.after(WINDOW);
    // Both are in the order of names: one walk, where a search for each node would cost most of
    // a decision over ten thousand.
    let mut sightings = world.presence.nodes.iter().peekable();
    for (id, node) in &world.fleet.nodes {
        while sightings.next_if(|(name, _)| *name < id).is_some() {}
        let sighting = sightings.next_if(|(name, _)| *name == id).map(|(_, sighting)| sighting);
        if node.removed {
            continue;
        }
        let sighting = sighting.filter(|sighting| world.now.since(sighting.at) <= WINDOW);
        if let Some(sighting) = sighting {
            oldest = Some(oldest.map_or(sighting.at, |at| at.min(sighting.at)));
        }
        match sighting {
            Some(_) if node.lost => seen.push(id.clone()),
            None if !node.lost && world.now > looked_at => lost.push(id.clone()),
            None if !node.lost => unlooked = true,
            _ => {}
        }
    }
    if unlooked {
        decision.wake(FleetTime(looked_at.0 + 1));
    }
    if let Some(at) = oldest {
        decision.wake(FleetTime(at.after(WINDOW).0 + 1));
    }
    if !lost.is_empty() || !seen.is_empty() {
        decision.proposals.push(Body::Presence { lost, seen });
    }
}
