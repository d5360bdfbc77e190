//! Agents crash, alone or with their machine.

use super::{Fault, World};

pub(super) const FAULT: Fault =
    Fault { name: "agent", what: "an agent crashes, or its machine is booted", weight: 4, strike };

fn strike(world: &mut World) {
    let n = world.rng.below(world.nodes.len());
    let power = world.rng.chance(300);
    let back = world.rng.between(50, if power { 12_000 } else { 5000 });
    world.crash_agent(n, power, back);
}
