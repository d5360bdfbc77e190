//! What kind of history a seed tells: the fleet, its manifests, and how rough things get.

use serde::{Deserialize, Serialize};

use super::faults::Mix;
use super::net::Weather;
use super::rng::Rng;

/// Regions in the order of upgrades.
pub const REGIONS: [&str; 3] = ["aws", "aliyun", "gcp"];
/// Controllers, one per region as long as there are regions.
pub const CONTROLLERS: usize = 3;
/// Length of the rough part of a history.
const ROUGH_MS: u64 = 90_000;

/// Histories in a thousand in which agents write real journals.
const REAL_JOURNALS: u64 = 100;
/// Histories in a thousand in which operators also work by hand.
const MANUAL: u64 = 350;
/// Histories in a thousand in which a node is gone from the beginning, if one can be.
const DEAD_NODES: u64 = 100;

/// What goes wrong, how often.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rough {
    /// Mean time between faults of the machines and links; none if zero.
    pub every: u64,
    /// Weights of the kinds of fault.
    pub mix: Mix,
    /// Chance that an agent dies right after an effect, in a thousand.
    pub die_after_effect: u64,
    /// Chance that a probe cannot tell, in a thousand.
    pub blind_probe: u64,
    /// Loss, doubling and slowness of messages.
    pub weather: Weather,
    /// Whether messages overtake each other within a connection.
    pub wild: bool,
}

/// What operators do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hands {
    /// How many there are.
    pub operators: usize,
    /// Mean time between their requests.
    pub every: u64,
    /// Whether they also end grants by hand.
    pub overrides: bool,
    /// Whether they also remove nodes.
    pub removes: bool,
    /// Whether they also restart and stop services, drain and cordon places, and freeze the fleet.
    pub manual: bool,
}

/// A history to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The seed of all chance in it.
    pub seed: u64,
    /// Nodes in each region.
    pub nodes: Vec<usize>,
    /// Services placed on every node.
    pub services: Vec<String>,
    /// Ready nodes that make a region serve.
    pub serving_nodes: u32,
    /// Regions that must serve, if the manifest says so.
    pub at_least: Option<u32>,
    /// Whether nothing was ever started when it begins.
    pub first_start: bool,
    /// A node that is gone before anything begins and never comes back, by its place.
    pub dead: Option<usize>,
    /// Whether agents write real journals, onto simulated disks.
    pub real_journal: bool,
    /// How rough it gets.
    pub rough: Rough,
    /// What operators do.
    pub hands: Hands,
    /// How long the rough part lasts.
    pub rough_ms: u64,
    /// Watching after each wave.
    pub bake_ms: u64,
    /// Limit of a step.
    pub step_ms: u64,
    /// Limit of an upgrade.
    pub fleet_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self::quiet(0)
    }
}

impl Config {
    /// Returns a quiet fleet of three regions of two nodes that nobody touches.
    pub fn quiet(seed: u64) -> Self {
        Self {
            seed,
            nodes: vec![2, 2, 2],
            services: vec!["web".to_owned()],
            serving_nodes: 1,
            at_least: None,
            first_start: false,
            dead: None,
            real_journal: false,
            rough: Rough::default(),
            hands: Hands::default(),
            rough_ms: 0,
            bake_ms: 2000,
            step_ms: 10_000,
            fleet_ms: 240_000,
        }
    }

    /// Returns the history that `seed` tells.
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut config = Self::quiet(seed);
        config.nodes = match rng.below(10) {
            0 => vec![3],
            1 => vec![2, 2],
            2 => vec![1, 1, 1],
            3 => vec![3, 1, 2],
            4 => vec![3, 3, 3],
            _ => vec![2, 2, 2],
        };
        if rng.chance(200) {
            config.services.push("api".to_owned());
        }
        if rng.chance(150) && config.nodes.iter().all(|nodes| *nodes >= 2) {
            config.serving_nodes = 2;
        }
        if config.nodes.len() == 3 && rng.chance(150) {
            config.at_least = Some(1);
        }
        if config.nodes == [3] {
            config.serving_nodes = 1;
        }
        config.first_start = rng.chance(250);
        config.bake_ms = rng.between(1000, 4000);
        config.step_ms = rng.between(8000, 14_000);
        config.rough_ms = rng.between(ROUGH_MS / 2, ROUGH_MS * 3 / 2);
        config.hands = hands(&mut rng);
        config.rough = rough(&mut rng);
        // A real journal remembers nothing from before the history.
        config.real_journal = rng.chance(REAL_JOURNALS);
        config.first_start |= config.real_journal;
        // One of them can be missing where every region has one to spare.
        let spare = config.nodes.len() == 3 && config.nodes.iter().all(|nodes| *nodes >= 2);
        if rng.chance(DEAD_NODES) && spare && config.serving_nodes == 1 {
            config.dead = Some(rng.below(config.nodes.iter().sum()));
        }
        config.hands.manual = rng.chance(MANUAL);
        config
    }
}

fn hands(rng: &mut Rng) -> Hands {
    Hands {
        operators: rng.below(2) + 1,
        every: rng.between(3000, 12_000),
        overrides: rng.chance(120),
        removes: rng.chance(120),
        manual: false,
    }
}

/// Draws one of the kinds of rough weather; half the seeds mix them all.
fn rough(rng: &mut Rng) -> Rough {
    let windy = Weather { loss: rng.between(0, 60), double: rng.between(0, 80), slow: 20 };
    let every = rng.between(1500, 8000);
    let mut rough = Rough { every, mix: Mix::all(), weather: windy, ..Rough::default() };
    match rng.below(10) {
        0 => rough = Rough::default(),
        1 => rough.mix = Mix::of(&["cut", "bridge", "minority"]),
        2 => rough.mix = Mix::of(&["leader", "controller", "commit", "minority"]),
        3 => rough.mix = Mix::of(&["agent", "disk", "journal"]),
        4 => rough.mix = Mix::of(&["service", "leader"]),
        5 => rough.mix = Mix::of(&["suspend", "wall", "leader"]),
        _ => {}
    }
    rough.wild = rng.chance(100);
    if rng.chance(400) && rough.every > 0 {
        rough.die_after_effect = rng.between(5, 40);
        rough.blind_probe = if rng.chance(300) { 200 } else { 0 };
    }
    rough
}
