//! Raft as it is, on a simulated disk, network and clock: histories full of faults, every promise
//! checked after every few milliseconds.

use trireme_tests::raft_sim::sweep::{self, Sweep};

/// Histories in `make test`; `sim --raft-seeds n` runs more.
const SEEDS: u64 = 120;

/// Histories that are told twice.
const TWICE: u64 = 8;

#[test]
fn raft_keeps_its_promises_whatever_its_disks_and_network_do() {
    let sweep = Sweep::run(0..SEEDS, 1);
    assert!(sweep.violations.is_empty(), "{sweep}");
    // A sweep that has been through little proves little.
    let thin = sweep.coverage.thin(SEEDS);
    assert!(thin.is_empty(), "the sweep is too thin to count: {thin:?}\n{sweep}");
}

/// While other histories run beside it, as in a sweep.
#[test]
fn a_seed_tells_the_same_history_of_raft_twice() {
    let told = |from: u64| -> Vec<_> {
        (from..from + TWICE).map(|seed| sweep::story_of(seed, usize::MAX)).collect()
    };
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| told(0));
        let second = told(0);
        (first.join().expect("no panic"), second)
    });
    for (seed, (first, second)) in (0..).zip(first.iter().zip(&second)) {
        assert!(first.lines.len() > 50, "seed {seed} tells nothing");
        assert_eq!(first.lines, second.lines, "seed {seed}");
        assert_eq!(first, second, "seed {seed}");
    }
}
