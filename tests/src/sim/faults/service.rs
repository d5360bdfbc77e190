//! Services die or fall ill by themselves, and whole regions vanish. On a machine that sleeps
//! nothing happens.

use super::super::agent::Node;
use super::super::coverage::Counter;
use super::{Fault, World};

pub(super) const FAULT: Fault = Fault {
    name: "service",
    what: "a service dies or falls ill, or a region does",
    weight: 2,
    strike,
};

fn strike(world: &mut World) {
    let now = world.now;
    let until = now + world.rng.between(1000, 40_000);
    let n = world.rng.below(world.nodes.len());
    let region = world.nodes[n].region;
    match world.rng.below(4) {
        0 => {
            world.coverage.count(Counter::RegionOutages);
            for n in 0..world.nodes.len() {
                if world.nodes[n].region == region {
                    let back = until - now + world.rng.between(0, 2000);
                    world.crash_agent(n, true, back);
                }
            }
            world.story.say(now, "weather", || format!("region {region} is gone"));
        }
        1 => {
            world.coverage.count(Counter::RegionOutages);
            world.sicken_region(region, until);
        }
        _ if world.nodes[n].asleep_until > now => {}
        kind => {
            world.coverage.count(Counter::Illnesses);
            for unit in world.nodes[n].host.units.values_mut() {
                if kind == 2 {
                    unit.kill(now);
                    unit.starts.clear();
                } else {
                    unit.sicken(now, until);
                }
            }
            let what = if kind == 2 { "dies" } else { "is ill" };
            world.story.say(now, &world.nodes[n].id, || format!("its service {what}"));
        }
    }
}

impl World {
    /// Makes every service of a region ill until `until`.
    pub fn sicken_region(&mut self, region: usize, until: u64) {
        let now = self.now;
        let awake = |node: &&mut Node| node.region == region && node.asleep_until <= now;
        for node in self.nodes.iter_mut().filter(awake) {
            for unit in node.host.units.values_mut() {
                unit.sicken(now, until);
            }
        }
        let lasts = until - now;
        self.story.say(now, "weather", || format!("region {region} is ill for {lasts} ms"));
    }
}
