//! What goes wrong by itself: cuts, crashes, boots, illness, changes of leader, forged offers,
//! jumping wall clocks. And the moment it all stops.

use std::rc::Rc;

use trireme_proto::action::Action;
use trireme_proto::time::Span;

use super::coverage::Counter;
use super::message::Message;
use super::net::Peer;
use super::world::{Event, World};

impl World {
    pub(super) fn fault_later(&mut self) {
        let every = self.config.rough.every;
        let delay = self.rng.between(every / 4, every * 7 / 4);
        self.after(delay, Event::Fault);
    }

    pub(super) fn on_fault(&mut self) {
        if self.calm {
            return;
        }
        self.fault_later();
        let mix = self.config.rough.mix;
        let weights =
            [mix.cut, mix.agent, mix.controller, mix.leader, mix.service, mix.forge, mix.clock];
        let mut drawn = self.rng.between(1, weights.iter().sum::<u64>().max(1));
        let kind = weights.iter().position(|weight| {
            let hit = drawn <= *weight;
            drawn = drawn.saturating_sub(*weight);
            hit
        });
        match kind {
            Some(0) => self.cut_something(),
            Some(1) => self.crash_some_agent(),
            Some(2) => {
                let (c, back) =
                    (self.rng.below(self.controllers.len()), self.rng.between(300, 15_000));
                self.crash_controller(c, back);
            }
            Some(3) => self.elect(),
            Some(4) => self.hurt_some_service(),
            Some(5) => self.forge(),
            Some(6) => self.shift_a_clock(),
            _ => {}
        }
    }

    /// Cuts links: an agent's, two controllers', or a whole region's; one way or both.
    fn cut_something(&mut self) {
        self.coverage.count(Counter::Partitions);
        let long = if self.rng.chance(300) { 40_000 } else { 8000 };
        let until = self.now + self.rng.between(300, long);
        let both = self.rng.chance(600);
        let c = self.rng.below(self.controllers.len());
        let n = self.rng.below(self.nodes.len());
        let mut links = Vec::new();
        match self.rng.below(5) {
            0 => links.push((Peer::Node(n), Peer::Controller(c))),
            1 => links
                .extend((0..self.controllers.len()).map(|c| (Peer::Node(n), Peer::Controller(c)))),
            2 | 3 => {
                let other = (c + 1) % self.controllers.len();
                links.push((Peer::Controller(c), Peer::Controller(other)));
                if self.rng.chance(500) {
                    let third = (c + 2) % self.controllers.len();
                    links.push((Peer::Controller(c), Peer::Controller(third)));
                }
            }
            _ => links = self.links_out_of(c % self.config.nodes.len()),
        }
        let turned = self.rng.chance(500);
        for (one, other) in &links {
            let (one, other) = if turned { (*other, *one) } else { (*one, *other) };
            self.net.cut(one, other, until);
            if both {
                self.net.cut(other, one, until);
            }
        }
        let now = self.now;
        self.story.say(now, "net", || {
            let ways = if both { "both ways" } else { "one way" };
            format!("cut {ways} for {} ms (turned {turned}): {links:?}", until - now)
        });
    }

    /// Returns all links that lead out of a region.
    fn links_out_of(&self, region: usize) -> Vec<(Peer, Peer)> {
        let regions = self.config.nodes.len();
        let inside: Vec<Peer> = (0..self.controllers.len())
            .filter(|c| c % regions == region)
            .map(Peer::Controller)
            .chain(
                (0..self.nodes.len()).filter(|n| self.nodes[*n].region == region).map(Peer::Node),
            )
            .collect();
        let outside: Vec<Peer> = (0..self.controllers.len())
            .filter(|c| c % regions != region)
            .map(Peer::Controller)
            .chain(
                (0..self.nodes.len()).filter(|n| self.nodes[*n].region != region).map(Peer::Node),
            )
            .collect();
        inside.iter().flat_map(|one| outside.iter().map(|other| (*one, *other))).collect()
    }

    fn crash_some_agent(&mut self) {
        let n = self.rng.below(self.nodes.len());
        let power = self.rng.chance(300);
        let back = self.rng.between(50, if power { 12_000 } else { 5000 });
        self.crash_agent(n, power, back);
    }

    /// A process dies, falls ill, or a whole region is taken away.
    fn hurt_some_service(&mut self) {
        let now = self.now;
        let until = now + self.rng.between(1000, 40_000);
        let n = self.rng.below(self.nodes.len());
        let region = self.nodes[n].region;
        match self.rng.below(4) {
            0 => {
                self.coverage.count(Counter::RegionOutages);
                for n in 0..self.nodes.len() {
                    if self.nodes[n].region == region {
                        let back = until - now + self.rng.between(0, 2000);
                        self.crash_agent(n, true, back);
                    }
                }
                self.story.say(now, "weather", || format!("region {region} is gone"));
            }
            1 => {
                self.coverage.count(Counter::RegionOutages);
                for node in self.nodes.iter_mut().filter(|node| node.region == region) {
                    for unit in node.host.units.values_mut() {
                        unit.sicken(now, until);
                    }
                }
                self.story.say(now, "weather", || {
                    format!("region {region} is ill for {} ms", until - now)
                });
            }
            kind => {
                self.coverage.count(Counter::Illnesses);
                for unit in self.nodes[n].host.units.values_mut() {
                    if kind == 2 {
                        unit.kill(now);
                        unit.starts.clear();
                    } else {
                        unit.sicken(now, until);
                    }
                }
                let what = if kind == 2 { "dies" } else { "is ill" };
                self.story.say(now, &self.nodes[n].id, || format!("its service {what}"));
            }
        }
    }

    /// A confused controller offers an action again, or another one under the same fence.
    fn forge(&mut self) {
        let Some(action) = self.actions.get(self.rng.below(self.actions.len())).map(Rc::clone)
        else {
            return;
        };
        let Some(n) = self.place_of(&action.node) else { return };
        let c = self.rng.below(self.controllers.len());
        let Some((session, nonce)) = self.controllers[c].session_of(n) else { return };
        // Only a fence that is taken can be contested: the first under a fence is the true one.
        let taken = self.nodes[n].agent.disk.fence() == Some(action.fence);
        let old =
            self.nodes[n].agent.disk.fence().is_some_and(|f| f.order() > action.fence.order());
        let action = if taken && self.rng.chance(700) {
            let deadline = Span(action.deadline.0 + 1);
            Rc::new(Action { deadline, ..Action::clone(&action) })
        } else if taken || old {
            action
        } else {
            return;
        };
        self.story.say(self.now, "net", || {
            format!("offers {} again to {} (an old or forged one)", action.id, action.node)
        });
        self.send(Peer::Controller(c), Peer::Node(n), Message::Offer { session, action, nonce });
    }

    fn shift_a_clock(&mut self) {
        let c = self.rng.below(self.controllers.len());
        let drawn = self.rng.between(0, 40_000);
        let off = i64::try_from(drawn).expect("it is small") - 20_000;
        self.controllers[c].wall_off = off;
        self.story.say(self.now, &self.controllers[c].id, || format!("wall clock is off by {off}"));
    }

    /// Faults stop, links are mended, illness passes; what crashed is on its way back.
    pub fn heal(&mut self) {
        self.calm = true;
        self.net.heal();
        let now = self.now;
        for node in &mut self.nodes {
            for unit in node.host.units.values_mut() {
                unit.ill_until = unit.ill_until.min(now);
            }
        }
        for controller in &mut self.controllers {
            controller.wall_off = 0;
        }
        self.story.say(now, "weather", || "faults stop".to_owned());
    }
}
