//! What goes wrong by itself, one kind a file, and the moment it all stops.
//!
//! [`TABLE`] is the list. A kind of fault is one small file with a [`Fault`] in it and one row here:
//! its name in a history's mix, how often it strikes among the others, and what it does to the world.

mod agent;
mod bridge;
mod commit;
mod controller;
mod cut;
mod disk;
mod forge;
mod journal;
mod leader;
mod minority;
mod service;
mod suspend;
mod wall;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::net::Peer;
use super::rng::Rng;
use super::world::{Event, World};

/// A kind of fault.
#[derive(Debug)]
pub struct Fault {
    /// Its name in a mix.
    pub name: &'static str,
    /// What it does, for people.
    pub what: &'static str,
    /// How often it strikes where all kinds are mixed.
    pub weight: u64,
    /// Does it once, somewhere.
    strike: fn(&mut World),
}

/// All kinds.
pub const TABLE: &[&Fault] = &[
    &agent::FAULT,
    &bridge::FAULT,
    &commit::FAULT,
    &controller::FAULT,
    &cut::FAULT,
    &disk::FAULT,
    &forge::FAULT,
    &journal::FAULT,
    &leader::FAULT,
    &minority::FAULT,
    &service::FAULT,
    &suspend::FAULT,
    &wall::FAULT,
];

/// Weights of the kinds of fault in one history, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mix(BTreeMap<String, u64>);

impl Mix {
    /// Returns every kind with the weight of the table.
    pub fn all() -> Self {
        Self(TABLE.iter().map(|fault| (fault.name.to_owned(), fault.weight)).collect())
    }

    /// Returns some kinds, equally often.
    pub fn of(names: &[&str]) -> Self {
        Self(names.iter().map(|name| ((*name).to_owned(), 1)).collect())
    }

    /// Returns whether a kind strikes in this history.
    pub fn has(&self, name: &str) -> bool {
        self.weight(name) > 0
    }

    /// Returns the kinds in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns it without one kind.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut left = self.clone();
        left.0.remove(name);
        left
    }

    fn weight(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    fn draw(&self, rng: &mut Rng) -> Option<&'static Fault> {
        let sum: u64 = TABLE.iter().map(|fault| self.weight(fault.name)).sum();
        let mut drawn = rng.between(1, sum.max(1));
        let hit = |fault: &&&Fault| {
            let weight = self.weight(fault.name);
            let hit = drawn <= weight;
            drawn = drawn.saturating_sub(weight);
            hit
        };
        TABLE.iter().find(hit).copied()
    }
}

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
        if let Some(fault) = self.config.rough.mix.draw(&mut self.rng) {
            (fault.strike)(self);
        }
    }

    /// Cuts links until `until`, one way or both.
    fn cut_all(&mut self, links: &[(Peer, Peer)], until: u64, both: bool) {
        for (one, other) in links {
            self.net.cut(*one, *other, until);
            if both {
                self.net.cut(*other, *one, until);
            }
        }
    }

    /// Faults stop, links are mended, illness passes; what crashed is on its way back.
    pub fn heal(&mut self) {
        self.calm = true;
        self.net.heal();
        let now = self.now;
        for node in &mut self.nodes {
            node.drive.mend();
            node.traps.clear();
            for unit in node.host.units.values_mut() {
                unit.ill_until = unit.ill_until.min(now);
            }
        }
        self.commit_trap = None;
        for controller in &mut self.controllers {
            controller.wall_off = 0;
        }
        self.story.say(now, "weather", || "faults stop".to_owned());
    }
}
