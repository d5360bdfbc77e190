//! Machines are suspended: nothing on them runs, what is sent to them is lost, then all goes on as
//! if nothing had been. To those on it, the clock jumps: agents and controllers count by
//! the one that goes on in sleep (`CLOCK_BOOTTIME`).

use super::super::coverage::Counter;
use super::{Fault, World};

pub(super) const FAULT: Fault =
    Fault { name: "suspend", what: "a node or a controller sleeps for a while", weight: 2, strike };

/// Longest sleep: beyond every limit that is counted in seconds.
const SLEEP_MAX: u64 = 20_000;

fn strike(world: &mut World) {
    let now = world.now;
    let until = now + world.rng.between(500, SLEEP_MAX);
    if world.rng.chance(500) {
        let n = world.rng.below(world.nodes.len());
        let until = until.max(world.nodes[n].asleep_until);
        world.coverage.count(Counter::NodeSleeps);
        world.nodes[n].asleep_until = until;
        for unit in world.nodes[n].host.units.values_mut() {
            unit.sicken(now, until);
        }
        world.story.say(now, &world.nodes[n].id, || format!("sleeps for {} ms", until - now));
    } else {
        let c = world.rng.below(world.controllers.len());
        world.coverage.count(Counter::ControllerSleeps);
        let until = until.max(world.controllers[c].asleep_until);
        world.controllers[c].asleep_until = until;
        let id = &world.controllers[c].id;
        world.story.say(now, id, || format!("sleeps for {} ms", until - now));
    }
}
