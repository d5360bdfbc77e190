//! What goes wrong by itself: cuts, crashes, boots, illness, changes of leader, forged offers,
//! jumping wall clocks. And the moment it all stops.

use std::rc::Rc;

use trireme_agent::plan::NONCE_AGE_MAX;
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

    /// Cuts a node off from every controller for longer than it waits to be confirmed.
    pub(super) fn cut_off(&mut self, n: usize) {
        let until = self.now + self.rng.between(8000, 40_000);
        for c in 0..self.controllers.len() {
            self.net.cut(Peer::Node(n), Peer::Controller(c), until);
            self.net.cut(Peer::Controller(c), Peer::Node(n), until);
        }
        let lasts = until - self.now;
        self.story.say(self.now, "net", || format!("cut off {} for {lasts} ms", self.nodes[n].id));
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

    /// A confused controller offers what it should not: an action that is over, the newest one
    /// again, or another one under its fence.
    fn forge(&mut self) {
        let n = self.rng.below(self.nodes.len());
        let kind = self.rng.below(3);
        let Some((c, session, nonce)) = self.session_with(n) else { return };
        let forgery = (kind..kind + 3).find_map(|kind| self.forgery(n, kind % 3));
        let Some(action) = forgery else { return };
        self.story.say(self.now, "net", || {
            format!("offers {} again to {} (an old or forged one)", action.id, action.node)
        });
        self.send(Peer::Controller(c), Peer::Node(n), Message::Offer { session, action, nonce });
    }

    /// Offers what was just committed on a view of the node that is too old.
    pub(super) fn offer_on_an_old_view(&mut self, action: Rc<Action>) {
        let Some(n) = self.place_of(&action.node) else { return };
        let Some((c, session, _)) = self.session_with(n) else { return };
        let nonce = self.old_nonce(n);
        self.story.say(self.now, "net", || {
            format!("offers {} to {} on an old view", action.id, action.node)
        });
        self.send(Peer::Controller(c), Peer::Node(n), Message::Offer { session, action, nonce });
    }

    /// Returns a controller that node `n` is connected to, its session, and its newest nonce.
    fn session_with(&self, n: usize) -> Option<(usize, u64, u64)> {
        let mut controllers = self.controllers.iter().enumerate();
        controllers.find_map(|(c, controller)| {
            let (session, nonce) = controller.session_of(n)?;
            Some((c, session, nonce))
        })
    }

    /// Returns an action that node `n` must not take, or not take again.
    fn forgery(&self, n: usize, kind: usize) -> Option<Rc<Action>> {
        let node = &self.nodes[n];
        let last = node.agent.disk.last.as_ref()?;
        let here = || self.actions.iter().filter(|action| action.node == node.id);
        let newest = || here().find(|action| action.id == last.action).map(Rc::clone);
        match kind {
            0 => here().find(|a| a.fence.order() < last.fence.order()).map(Rc::clone),
            1 => newest(),
            _ => newest().map(|action| {
                let deadline = Span(action.deadline.0 + 1);
                Rc::new(Action { deadline, ..Action::clone(&action) })
            }),
        }
    }

    /// Returns a nonce that node `n` takes no offer for: too old, or never given.
    fn old_nonce(&self, n: usize) -> u64 {
        let node = &self.nodes[n];
        let local = node.local(self.now);
        let old = |(_, sent): &&(u64, u64)| local.saturating_sub(*sent) > NONCE_AGE_MAX;
        node.agent.nonces.iter().find(old).map_or(0, |(nonce, _)| *nonce)
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
