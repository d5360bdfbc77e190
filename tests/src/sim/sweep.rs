//! Many histories: run silently, and told again line by line where one broke a promise.

use std::fmt;
use std::ops::Range;

use super::config::Config;
use super::coverage::Coverage;
use super::history::{Told, tell};
use super::story::{LINES_SHOWN, Story};

/// What came of many histories.
#[derive(Debug, Default)]
pub struct Sweep {
    /// How many there were.
    pub seeds: u64,
    /// Events in all of them.
    pub events: u64,
    /// What they have been through together.
    pub coverage: Coverage,
    /// Those that broke a promise, each told as far as it led there.
    pub violations: Vec<(u64, Told)>,
}

impl Sweep {
    /// Tells the histories of `seeds`, until `stop_after` of them have broken a promise.
    pub fn run(seeds: Range<u64>, stop_after: usize) -> Self {
        let mut sweep = Self::default();
        for seed in seeds {
            let told = tell(Config::of_seed(seed), Story::silent());
            sweep.seeds += 1;
            sweep.events += told.events;
            sweep.coverage.add(&told.coverage);
            if told.violation.is_some() {
                sweep.violations.push((seed, story_of(seed, LINES_SHOWN)));
            }
            if sweep.violations.len() >= stop_after {
                break;
            }
        }
        sweep
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (seed, told) in &self.violations {
            writeln!(f, "{}", report(*seed, told))?;
        }
        write!(f, "{}", self.coverage)?;
        let (seeds, events, broken) = (self.seeds, self.events, self.violations.len());
        write!(f, "{seeds} histories, {events} events, {broken} broke a promise")
    }
}

/// Tells the history of one seed and keeps its last lines.
pub fn story_of(seed: u64, lines: usize) -> Told {
    tell(Config::of_seed(seed), Story::of_last(lines))
}

/// Returns a told history as people read it.
pub fn report(seed: u64, told: &Told) -> String {
    let end = match &told.violation {
        Some(violation) => format!("seed {seed} broke {}: {}", violation.rule, violation.what),
        None => format!("seed {seed}: no promise broken in {} events", told.events),
    };
    format!("{}\n{end}\n  again: make sim SEED={seed}", told.lines.join("\n"))
}
