//! What a run has shown, and whether that is enough and good.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::faults::DEMANDED;

/// Fewest answered requests of clients in a second of a run that proves something.
const ANSWERED_PER_SECOND: f64 = 2.0;
/// Fewest upgrades that came to some end under fire; how depends on what hit them, and that a
/// healed fleet carries one out is demanded in any case.
const UPGRADES_MIN: u64 = 2;
/// How an upgrade is counted that was not let begin.
pub const REFUSED: &str = "Refused";
/// Regions that must serve at every moment.
pub const SERVING_MIN: usize = 2;

/// What one run has shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// Seed of its faults.
    pub seed: u64,
    /// Time in which faults were inflicted.
    pub seconds: u64,
    /// Controllers.
    pub controllers: usize,
    /// Agents.
    pub agents: usize,
    /// Whether disks could be mounted; without them four kinds of faults are left out.
    pub disks: bool,
    /// Promises that were broken.
    pub violations: Vec<String>,
    /// What could not be decided.
    pub unknown: Vec<String>,
    /// What is missing for the run to prove something.
    pub thin: Vec<String>,
    /// Fewest regions that served at any moment looked at.
    pub min_regions_serving: usize,
    /// Requests of live traffic.
    pub requests: u64,
    /// Those that failed.
    pub failed_requests: u64,
    /// Requests of clients whose outcome is known.
    pub answered: usize,
    /// Writes whose outcome is not.
    pub unanswered: usize,
    /// Terms in which somebody has led or tried to.
    pub terms: u64,
    /// Starts of the service on all nodes.
    pub starts: usize,
    /// How often each fault was inflicted.
    pub faults: BTreeMap<String, u64>,
    /// How upgrades ended.
    pub upgrades: BTreeMap<String, u64>,
}

impl Outcome {
    /// Finds out what is missing for the run to prove something.
    pub fn weigh(&mut self) {
        for fault in DEMANDED.iter().filter(|fault| self.disks || !fault.needs_disk()) {
            if !self.faults.contains_key(fault.name()) {
                self.thin.push(format!("no {fault}"));
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "runs are far shorter than that")]
        let wanted = ANSWERED_PER_SECOND * self.seconds as f64;
        #[expect(clippy::cast_precision_loss, reason = "a run has thousands of requests")]
        let answered = self.answered as f64;
        if answered < wanted {
            self.thin.push(format!("{answered} requests answered, fewer than {wanted}"));
        }
        let ended = self.upgrades.iter().filter(|(how, _)| *how != REFUSED);
        let ended: u64 = ended.map(|(_, count)| count).sum();
        if ended < UPGRADES_MIN {
            self.thin.push(format!("{ended} upgrades under fire, fewer than {UPGRADES_MIN}"));
        }
    }

    /// Returns whether everything is as it must be.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.unknown.is_empty() && self.thin.is_empty()
    }

    /// Tells it to people.
    pub fn tell(&self) -> String {
        let mut text = format!(
            "seed {}: {} controllers, {} agents, {} s of faults\n",
            self.seed, self.controllers, self.agents, self.seconds
        );
        let list = |counts: &BTreeMap<String, u64>| {
            let counts = counts.iter().map(|(name, count)| format!("{name} {count}"));
            counts.collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(text, "  faults: {}; {} terms", list(&self.faults), self.terms);
        let _ = writeln!(text, "  upgrades: {}; {} starts", list(&self.upgrades), self.starts);
        let _ = writeln!(
            text,
            "  clients: {} requests answered, {} writes left open",
            self.answered, self.unanswered
        );
        let _ = writeln!(
            text,
            "  traffic: {} requests, {} failed; at least {} regions served",
            self.requests, self.failed_requests, self.min_regions_serving
        );
        for (what, lines) in
            [("VIOLATION", &self.violations), ("UNKNOWN", &self.unknown), ("THIN", &self.thin)]
        {
            for line in lines {
                let _ = writeln!(text, "  {what}: {line}");
            }
        }
        if !self.disks {
            text += "  NO FAULTS OF DISKS: nothing can be mounted here\n";
        }
        text + if self.is_good() { "  good" } else { "  NOT GOOD" }
    }
}

/// What all runs have shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Runs that were begun.
    pub runs: usize,
    /// Broken promises.
    pub violations: usize,
    /// What could not be decided, runs that came to no end included.
    pub unknown: usize,
    /// Fewest regions that served at any moment of any run.
    pub min_regions_serving: usize,
    /// Runs that prove too little.
    pub thin: usize,
    /// Requests of clients whose outcome is known.
    pub answered: usize,
    /// Requests of live traffic.
    pub requests: u64,
    /// Those that failed.
    pub failed_requests: u64,
    /// How often each fault was inflicted.
    pub faults: BTreeMap<String, u64>,
    /// How upgrades ended.
    pub upgrades: BTreeMap<String, u64>,
    /// Each run.
    pub each: Vec<Outcome>,
}

impl Report {
    /// Sums up.
    pub fn of(each: Vec<Outcome>) -> Self {
        let sum = |counts: fn(&Outcome) -> &BTreeMap<String, u64>| {
            let mut all = BTreeMap::new();
            for (name, count) in each.iter().flat_map(counts) {
                *all.entry(name.clone()).or_default() += count;
            }
            all
        };
        Self {
            runs: each.len(),
            violations: each.iter().map(|one| one.violations.len()).sum(),
            unknown: each.iter().map(|one| one.unknown.len()).sum(),
            min_regions_serving: each.iter().map(|o| o.min_regions_serving).min().unwrap_or(0),
            thin: each.iter().filter(|one| !one.thin.is_empty()).count(),
            answered: each.iter().map(|one| one.answered).sum(),
            requests: each.iter().map(|one| one.requests).sum(),
            failed_requests: each.iter().map(|one| one.failed_requests).sum(),
            faults: sum(|one| &one.faults),
            upgrades: sum(|one| &one.upgrades),
            each,
        }
    }

    /// Returns whether every run is as it must be.
    pub fn is_good(&self) -> bool {
        !self.each.is_empty() && self.each.iter().all(Outcome::is_good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let faults = DEMANDED.iter().map(|fault| (fault.name().to_owned(), 1)).collect();
        let upgrades = BTreeMap::from([("Succeeded".to_owned(), 2)]);
        Outcome {
            seconds: 100,
            disks: true,
            min_regions_serving: 2,
            answered: 900,
            faults,
            upgrades,
            ..Outcome::default()
        }
    }

    #[test]
    fn a_run_that_proves_little_is_not_good() {
        let weighed = |change: fn(&mut Outcome)| {
            let mut outcome = outcome();
            change(&mut outcome);
            outcome.weigh();
            outcome.is_good()
        };
        assert!(weighed(|_| {}));
        assert!(!weighed(|one| one.answered = 3));
        assert!(!weighed(|one| one.faults.retain(|name, _| name != "isolate-leader")));
        assert!(!weighed(|one| one.faults.retain(|name, _| name != "fill-controller-disk")));
        assert!(!weighed(|one| one.upgrades.clear()));
        assert!(!weighed(|one| one.upgrades = BTreeMap::from([(REFUSED.to_owned(), 9)])));
        assert!(!weighed(|one| one.unknown.push("no answer".to_owned())));
        assert!(!weighed(|one| one.violations.push("a stale read".to_owned())));
        // Where nothing can be mounted a full disk cannot be demanded.
        assert!(weighed(|one| {
            one.disks = false;
            one.faults.remove("fill-controller-disk");
        }));
    }

    #[test]
    fn runs_are_summed_up() {
        let other = Outcome { min_regions_serving: 3, answered: 100, ..outcome() };
        let report = Report::of(vec![outcome(), other]);
        assert_eq!((report.runs, report.min_regions_serving, report.answered), (2, 2, 1000));
        assert_eq!(report.faults["kill-leader"], 2);
        assert!(report.is_good());
        assert!(!Report::of(vec![]).is_good());
    }
}
