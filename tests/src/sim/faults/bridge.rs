//! A bridge: two halves that both see one controller, and not each other.

use super::super::coverage::Counter;
use super::super::net::Peer;
use super::{Fault, World};

pub(super) const FAULT: Fault = Fault {
    name: "bridge",
    what: "two halves see one controller, not each other",
    weight: 1,
    strike,
};

fn strike(world: &mut World) {
    let now = world.now;
    world.coverage.count(Counter::Bridges);
    let until = now + world.rng.between(1500, 25_000);
    let controllers = world.controllers.len();
    let bridge = world.rng.below(controllers);
    // The others take sides in turn, nodes with the controller of their region.
    let side = |c: usize| (c + controllers - bridge) % controllers % 2;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for c in (0..controllers).filter(|c| *c != bridge) {
        if side(c) == 0 { &mut left } else { &mut right }.push(Peer::Controller(c));
    }
    for (n, node) in world.nodes.iter().enumerate() {
        let half = if node.region % controllers == bridge { n } else { side(node.region) };
        if half % 2 == 0 { &mut left } else { &mut right }.push(Peer::Node(n));
    }
    let links: Vec<(Peer, Peer)> =
        left.iter().flat_map(|one| right.iter().map(|other| (*one, *other))).collect();
    world.cut_all(&links, until, true);
    world.story.say(now, "net", || {
        format!(
            "two halves, c{} between them, for {} ms: {left:?} {right:?}",
            bridge + 1,
            until - now
        )
    });
}
