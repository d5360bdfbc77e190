//! Controllers crash.

use super::{Fault, World};

pub(super) const FAULT: Fault =
    Fault { name: "controller", what: "a controller crashes", weight: 2, strike };

fn strike(world: &mut World) {
    let (c, back) = (world.rng.below(world.controllers.len()), world.rng.between(300, 15_000));
    world.crash_controller(c, back);
}
