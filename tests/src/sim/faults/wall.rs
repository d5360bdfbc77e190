//! Wall clocks of controllers jump. Agents decide nothing by theirs, and the core has none.

use super::{Fault, World};

pub(super) const FAULT: Fault =
    Fault { name: "wall", what: "a controller's wall clock jumps", weight: 1, strike };

fn strike(world: &mut World) {
    let c = world.rng.below(world.controllers.len());
    let drawn = world.rng.between(0, 40_000);
    let off = i64::try_from(drawn).expect("it is small") - 20_000;
    world.controllers[c].wall_off = off;
    world.story.say(world.now, &world.controllers[c].id, || format!("wall clock is off by {off}"));
}
