//! Makes a failing history small: fewer nodes, fewer kinds of fault, a shorter rough part, as long
//! as it still breaks the same promise. What is left is the story that people read.

use super::config::Config;
use super::history::{Told, tell};
use super::story::Story;

/// Histories that are told in search of a smaller one, at most: half a minute.
const TELLS_MAX: usize = 600;
/// Other seeds under which a smaller history is tried: another draw meets the same gap elsewhere.
const SEEDS: [u64; 4] = [0, 1_000_003, 2_000_006, 3_000_009];

/// Returns the smallest history found that breaks `rule` as `config` does, and how it ends.
pub fn smallest(config: Config, rule: &str) -> (Config, Told) {
    let mut best = tell(config.clone(), Story::silent());
    let mut config = config;
    let mut tells = 1;
    'again: loop {
        for candidate in smaller(&config, &best) {
            for other in SEEDS {
                if tells >= TELLS_MAX {
                    return (config, best);
                }
                tells += 1;
                let candidate = Config { seed: config.seed + other, ..candidate.clone() };
                let told = tell(candidate.clone(), Story::silent());
                if told.violation.as_ref().is_some_and(|violation| violation.rule == rule) {
                    (config, best) = (candidate, told);
                    continue 'again;
                }
            }
        }
        return (config, best);
    }
}

/// Returns histories with something less in them, the boldest cuts first.
fn smaller(config: &Config, told: &Told) -> Vec<Config> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Config)| {
        let mut changed = config.clone();
        change(&mut changed);
        if changed != *config {
            all.push(changed);
        }
    };
    let broken_at = told.violation.as_ref().map_or(u64::MAX, |violation| violation.at);
    with(&|c| c.services.truncate(1));
    with(&|c| c.nodes = c.nodes.iter().map(|nodes| (*nodes).min(1)).collect());
    with(&|c| c.nodes = c.nodes.iter().map(|nodes| (*nodes).min(2)).collect());
    with(&|c| c.rough_ms = c.rough_ms.min(broken_at + 1));
    with(&|c| c.rough_ms /= 2);
    with(&|c| c.rough_ms = c.rough_ms * 3 / 4);
    for name in config.rough.mix.names() {
        with(&|c| c.rough.mix = c.rough.mix.without(name));
    }
    with(&|c| c.rough.weather.loss = 0);
    with(&|c| c.rough.weather.double = 0);
    with(&|c| c.rough.weather.slow = 0);
    with(&|c| c.rough.wild = false);
    with(&|c| c.rough.die_after_effect = 0);
    with(&|c| c.rough.blind_probe = 0);
    with(&|c| c.hands.operators = c.hands.operators.min(1));
    with(&|c| c.hands.overrides = false);
    with(&|c| c.hands.removes = false);
    with(&|c| c.real_journal = false);
    with(&|c| c.dead = None);
    with(&|c| c.serving_nodes = 1);
    with(&|c| c.at_least = None);
    with(&|c| c.first_start = c.real_journal);
    all
}
