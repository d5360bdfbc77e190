//! The leader is left in the minority: it goes on with those agents that still reach it, and
//! believes to lead, while the others elect another.

use super::super::coverage::Counter;
use super::super::net::Peer;
use super::{Fault, World};

pub(super) const FAULT: Fault =
    Fault { name: "minority", what: "the leader is cut off from its majority", weight: 2, strike };

fn strike(world: &mut World) {
    let now = world.now;
    let Some(leader) = world.log.leader.filter(|leader| world.controllers[*leader].up) else {
        return;
    };
    world.coverage.count(Counter::LeaderInMinority);
    let until = now + world.rng.between(1500, 30_000);
    let others = (0..world.controllers.len()).filter(|c| *c != leader);
    let mut links: Vec<(Peer, Peer)> =
        others.map(|c| (Peer::Controller(leader), Peer::Controller(c))).collect();
    // One way: it is still heard and hears nobody, or the other way round.
    let both = world.rng.chance(600);
    if world.rng.chance(500) {
        links = links.into_iter().map(|(one, other)| (other, one)).collect();
    }
    if !both {
        world.coverage.count(Counter::OneWayCuts);
    }
    world.cut_all(&links, until, both);
    world.story.say(now, "net", || {
        let ways = if both { "both ways" } else { "one way" };
        format!("leaves the leader in the minority, {ways}, for {} ms: {links:?}", until - now)
    });
}
