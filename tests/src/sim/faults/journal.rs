//! An agent dies at a point of its journal: before, while or right after a record of some kind is
//! written. The trap stays set until such a record comes, so that rare ones have their turn.

use super::super::drive::{KINDS, Point, When};
use super::{Fault, World};

pub(super) const FAULT: Fault =
    Fault { name: "journal", what: "an agent dies at a point of its journal", weight: 4, strike };

/// Kinds that few histories write at all, which are drawn as often as all others together.
const RARE: [&str; 3] = ["alone", "undoing", "restarted"];

fn strike(world: &mut World) {
    let kinds: &[&str] = if world.rng.chance(500) { &RARE } else { &KINDS };
    let when = world.rng.pick(&When::ALL).copied();
    let kind = world.rng.pick(kinds).and_then(|drawn| KINDS.iter().find(|kind| *kind == drawn));
    let (Some(kind), Some(when)) = (kind, when) else { return };
    for node in &mut world.nodes {
        node.traps.insert(Point { kind, when });
    }
    world.story.say(world.now, "weather", || format!("agents will die {when:?} {kind}"));
}
