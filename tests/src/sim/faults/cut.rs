//! Links are cut: an agent's, two controllers', or all that lead out of a region; one way or both.

use super::super::coverage::Counter;
use super::super::net::Peer;
use super::{Fault, World};

pub(super) const FAULT: Fault =
    Fault { name: "cut", what: "links are cut, one way or both", weight: 3, strike };

fn strike(world: &mut World) {
    world.coverage.count(Counter::Partitions);
    let long = if world.rng.chance(300) { 40_000 } else { 8000 };
    let until = world.now + world.rng.between(300, long);
    let both = world.rng.chance(600);
    if !both {
        world.coverage.count(Counter::OneWayCuts);
    }
    let controllers = world.controllers.len();
    let c = world.rng.below(controllers);
    let n = world.rng.below(world.nodes.len());
    let mut links = Vec::new();
    match world.rng.below(5) {
        0 => links.push((Peer::Node(n), Peer::Controller(c))),
        1 => links.extend((0..controllers).map(|c| (Peer::Node(n), Peer::Controller(c)))),
        2 | 3 => {
            links.push((Peer::Controller(c), Peer::Controller((c + 1) % controllers)));
            if world.rng.chance(500) {
                links.push((Peer::Controller(c), Peer::Controller((c + 2) % controllers)));
            }
        }
        _ => links = world.links_out_of(c % world.config.nodes.len()),
    }
    if world.rng.chance(500) {
        links = links.into_iter().map(|(one, other)| (other, one)).collect();
    }
    world.cut_all(&links, until, both);
    let now = world.now;
    world.story.say(now, "net", || {
        let ways = if both { "both ways" } else { "one way" };
        format!("cut {ways} for {} ms: {links:?}", until - now)
    });
}

impl World {
    /// Cuts a node off from every controller for longer than it waits to be confirmed.
    pub(in crate::sim) fn cut_off(&mut self, n: usize) {
        let until = self.now + self.rng.between(8000, 40_000);
        self.cut_off_until(n, until);
    }

    /// Cuts a node off from every controller.
    pub fn cut_off_until(&mut self, n: usize, until: u64) {
        for c in 0..self.controllers.len() {
            self.net.cut(Peer::Node(n), Peer::Controller(c), until);
            self.net.cut(Peer::Controller(c), Peer::Node(n), until);
        }
        let lasts = until - self.now;
        self.story.say(self.now, "net", || format!("cut off {} for {lasts} ms", self.nodes[n].id));
    }

    /// Returns all links that lead out of a region.
    pub fn links_out_of(&self, region: usize) -> Vec<(Peer, Peer)> {
        let regions = self.config.nodes.len();
        let controllers = (0..self.controllers.len()).map(|c| (c % regions, Peer::Controller(c)));
        let nodes = (0..self.nodes.len()).map(|n| (self.nodes[n].region, Peer::Node(n)));
        let (inside, outside): (Vec<_>, Vec<_>) =
            controllers.chain(nodes).partition(|(place, _)| *place == region);
        let pairs = |one: &(usize, Peer)| {
            let one = one.1;
            outside.iter().map(move |(_, other)| (one, *other)).collect::<Vec<_>>()
        };
        inside.iter().flat_map(pairs).collect()
    }
}
