//! A thousand simulated histories, every promise checked after every event.

use trireme_tests::sim::sweep::{self, Sweep};

/// Histories in `make test`; `make sim SEEDS=n` runs more.
const SEEDS: u64 = 1000;

/// Histories that are told twice.
const TWICE: u64 = 3;

/// I1, I2, I4, I6, I7, I8, I9, I13, I16 and I18, and what the table in `tests/src/invariants` adds.
#[test]
fn a_thousand_histories_break_no_promise() {
    let halves = [0..SEEDS / 2, SEEDS / 2..SEEDS];
    let sweeps: Vec<Sweep> = std::thread::scope(|scope| {
        let running: Vec<_> =
            halves.map(|seeds| scope.spawn(|| Sweep::run(seeds, 1))).into_iter().collect();
        running.into_iter().map(|sweep| sweep.join().unwrap()).collect()
    });
    let mut coverage = sweeps[0].coverage.clone();
    coverage.add(&sweeps[1].coverage);
    for sweep in &sweeps {
        assert!(sweep.violations.is_empty(), "{sweep}");
    }
    // A sweep that has been through little proves little.
    let thin = coverage.thin(SEEDS);
    assert!(thin.is_empty(), "the sweep is too thin to count: {thin:?}\n{coverage}");
}

#[test]
fn a_seed_tells_the_same_history_twice() {
    for seed in 0..TWICE {
        let (first, second) =
            (sweep::story_of(seed, usize::MAX), sweep::story_of(seed, usize::MAX));
        assert!(!first.lines.is_empty());
        assert_eq!(first.lines, second.lines, "seed {seed}");
    }
}
