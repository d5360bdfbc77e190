//! Many histories: run silently, and told again line by line where one broke a promise.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::Config;
use super::coverage::Coverage;
use super::history::{History, tell};
use crate::figures::{First, Histories};
use crate::sim::story::{LINES_SHOWN, Story};

/// Histories at once: each is one thread's work, and two cores are what there is.
const WORKERS: usize = 2;

/// What came of many histories.
#[derive(Debug, Default)]
pub struct Sweep {
    /// How many there were.
    pub seeds: u64,
    /// Simulated milliseconds of all of them.
    pub simulated: u64,
    /// How long it took.
    pub took: Duration,
    /// What they have been through together.
    pub coverage: Coverage,
    /// Those that broke a promise, each told as far as it led there.
    pub violations: Vec<(u64, History)>,
}

impl Sweep {
    /// Tells the histories of `seeds`, until `stop_after` of them have broken a promise.
    pub fn run(seeds: Range<u64>, stop_after: usize) -> Self {
        let began = Instant::now();
        let next = AtomicU64::new(seeds.start);
        let sweep = Mutex::new(Self::default());
        let lock = || sweep.lock().unwrap_or_else(PoisonError::into_inner);
        let work = || {
            while lock().violations.len() < stop_after {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                let history = tell(&Config::of_seed(seed), Story::silent());
                let again = history.violation.is_some().then(|| story_of(seed, LINES_SHOWN));
                let mut sweep = lock();
                sweep.seeds += 1;
                sweep.simulated += history.simulated;
                sweep.coverage.add(&history.coverage);
                sweep.violations.extend(again.map(|again| (seed, again)));
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(work);
            }
        });
        let mut sweep = sweep.into_inner().unwrap_or_else(PoisonError::into_inner);
        sweep.violations.sort_by_key(|(seed, _)| *seed);
        Self { took: began.elapsed(), ..sweep }
    }

    /// Returns the sweep in figures.
    pub fn figures(&self) -> Histories {
        let first = self.violations.first().and_then(|(seed, history)| {
            let rule = history.violation.as_ref()?.rule.to_string();
            Some(First { seed: *seed, rule })
        });
        Histories {
            seeds: self.seeds,
            violations: self.violations.len(),
            seconds: self.took.as_secs_f64(),
            first_violation: first,
        }
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (seed, history) in &self.violations {
            writeln!(f, "{}", report(*seed, history))?;
        }
        write!(f, "{}", self.coverage)?;
        let (seeds, broken) = (self.seeds, self.violations.len());
        let (minutes, took) = (self.simulated / 60_000, self.took.as_secs_f64());
        write!(
            f,
            "{seeds} raft histories, {minutes} simulated minutes in {took:.1} s, \
             {broken} broke a promise"
        )
    }
}

/// Tells the history of one seed and keeps its last lines.
pub fn story_of(seed: u64, lines: usize) -> History {
    tell(&Config::of_seed(seed), Story::of_last(lines))
}

/// Returns a told history as people read it.
pub fn report(seed: u64, history: &History) -> String {
    let end = match &history.violation {
        Some(broken) => format!(
            "raft seed {seed} broke {}: {}\n  the promise: {}",
            broken.rule, broken.what, broken.sentence
        ),
        None => format!("raft seed {seed}: no promise broken in {} ms", history.simulated),
    };
    format!("{}\n{end}\n  again: sim --raft-seed {seed}", history.lines.join("\n"))
}
