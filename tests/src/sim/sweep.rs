//! Many histories: run silently on several threads, and told again line by line, made small, where
//! one broke a promise.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use super::config::Config;
use super::coverage::Coverage;
use super::history::{Told, tell};
use super::regression::Regression;
use super::shrink;
use super::story::{LINES_SHOWN, Story};
use crate::figures::{First, Histories};

/// What came of many histories.
#[derive(Debug, Default)]
pub struct Sweep {
    /// How many there were.
    pub seeds: u64,
    /// Events in all of them.
    pub events: u64,
    /// How long they took, in seconds.
    pub seconds: f64,
    /// What they have been through together.
    pub coverage: Coverage,
    /// Those that broke a promise.
    pub violations: Vec<Failure>,
}

/// A history that broke a promise.
#[derive(Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// The smallest history found that breaks the same promise.
    pub smallest: Regression,
    /// That one, told as far as it led there.
    pub told: Told,
}

impl Sweep {
    /// Tells the histories of `seeds` on `threads` threads, until `stop_after` of them have broken a
    /// promise.
    pub fn run(seeds: Range<u64>, stop_after: usize, threads: usize) -> Self {
        let began = Instant::now();
        let (next, broken) = (AtomicU64::new(seeds.start), AtomicUsize::new(0));
        let one = || Self::share(&next, seeds.end, &broken, stop_after);
        let mut sweep = std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(one)).collect();
            let mut whole = Self::default();
            for share in running {
                whole.add(share.join().expect("a history ends without a panic"));
            }
            whole
        });
        sweep.violations.sort_by_key(|failure| failure.seed);
        sweep.seconds = began.elapsed().as_secs_f64();
        sweep
    }

    fn share(next: &AtomicU64, end: u64, broken: &AtomicUsize, stop_after: usize) -> Self {
        let mut share = Self::default();
        while broken.load(Ordering::Relaxed) < stop_after {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            let told = tell(Config::of_seed(seed), Story::silent());
            share.seeds += 1;
            share.events += told.events;
            share.coverage.add(&told.coverage);
            if let Some(violation) = told.violation {
                broken.fetch_add(1, Ordering::Relaxed);
                share.violations.push(Failure::new(seed, &violation.rule));
            }
        }
        share
    }

    fn add(&mut self, share: Self) {
        self.seeds += share.seeds;
        self.events += share.events;
        self.coverage.add(&share.coverage);
        self.violations.extend(share.violations);
    }

    /// Returns the sweep in figures.
    pub fn figures(&self) -> Histories {
        let first = self.violations.first();
        Histories {
            seeds: self.seeds,
            violations: self.violations.len(),
            seconds: self.seconds,
            first_violation: first
                .map(|failure| First { seed: failure.seed, rule: failure.smallest.broke.clone() }),
        }
    }
}

impl Failure {
    fn new(seed: u64, rule: &str) -> Self {
        let (config, _) = shrink::smallest(Config::of_seed(seed), rule);
        let told = tell(config.clone(), Story::of_last(LINES_SHOWN));
        let smallest = Regression { why: String::new(), broke: rule.to_owned(), config };
        Self { seed, smallest, told }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, smallest: Regression { broke, config, .. }, told } = self;
        for line in &told.lines {
            writeln!(f, "{line}")?;
        }
        let what = told.violation.as_ref().map_or("", |violation| &violation.what);
        writeln!(f, "seed {seed} broke {broke}; the smallest history that does:")?;
        writeln!(f, "  {what}")?;
        let faults: Vec<&str> = config.rough.mix.names().collect();
        writeln!(
            f,
            "  seed {}, nodes {:?}, services {:?}, rough for {} ms, faults {faults:?}",
            config.seed, config.nodes, config.services, config.rough_ms
        )?;
        write!(f, "  the whole story: make sim SEED={seed}")
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.violations {
            writeln!(f, "{failure}")?;
        }
        write!(f, "{}", self.coverage)?;
        let (seeds, events, broken) = (self.seeds, self.events, self.violations.len());
        let seconds = self.seconds;
        write!(f, "{seeds} histories, {events} events, {broken} broke a promise, {seconds:.1} s")
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
