//! Disks of agents refuse to write: once, with what was written perhaps there after all, or for a
//! while, because they are full.

use super::{Fault, World};

pub(super) const FAULT: Fault =
    Fault { name: "disk", what: "a write fails, or a disk is full for a while", weight: 2, strike };

fn strike(world: &mut World) {
    let now = world.now;
    let n = world.rng.below(world.nodes.len());
    let until = now + world.rng.between(500, 15_000);
    let full = world.rng.chance(400);
    let drive = &mut world.nodes[n].drive;
    if full {
        drive.fill(until);
    } else {
        drive.fail_next();
    }
    world.story.say(now, &world.nodes[n].id, || {
        if full { format!("disk is full for {} ms", until - now) } else { "disk fails".to_owned() }
    });
}
