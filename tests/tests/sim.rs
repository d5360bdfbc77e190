//! A thousand simulated histories, every promise checked after every event; and those that once
//! broke one.

use std::path::Path;

use trireme_tests::sim::sweep::{self, Sweep};
use trireme_tests::sim::{faults, regression};

/// Histories in `make test`; `make sim SEEDS=n` runs more.
const SEEDS: u64 = 1000;
/// Threads that tell them.
const THREADS: usize = 2;
/// Lines of a regression's story that are shown when it breaks a promise again.
const LINES: usize = 60;

/// Histories that are told twice, and compared by the digest of all their lines.
const TWICE: u64 = 60;
/// Histories that are told twice, and compared line by line.
const BY_LINE: u64 = 3;

/// I1, I2, I4 to I9, I13, I16 to I19, and what the table in `tests/src/invariants` adds.
#[test]
fn a_thousand_histories_break_no_promise() {
    let sweep = Sweep::run(0..SEEDS, 1, THREADS);
    assert!(sweep.violations.is_empty(), "{sweep}");
    // A sweep that has been through little proves little.
    let thin = sweep.coverage.thin(SEEDS);
    assert!(thin.is_empty(), "the sweep is too thin to count: {thin:?}\n{sweep}");
}

#[test]
fn a_seed_tells_the_same_history_twice() {
    for seed in 0..TWICE {
        let lines = if seed < BY_LINE { usize::MAX } else { 1 };
        let (first, second) = (sweep::story_of(seed, lines), sweep::story_of(seed, lines));
        assert!(!first.lines.is_empty());
        assert_eq!(first.lines, second.lines, "seed {seed}");
        assert_eq!(first.digest, second.digest, "seed {seed}");
    }
    let digests: std::collections::BTreeSet<u64> =
        (0..BY_LINE).map(|seed| sweep::story_of(seed, 1).digest).collect();
    assert_eq!(digests.len() as u64, BY_LINE, "different seeds tell different histories");
}

/// Every history that once broke a promise is kept with one line of why, and breaks none now.
#[test]
fn what_was_found_once_is_not_found_again() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let all = regression::all(&directory).unwrap();
    assert!(!all.is_empty(), "{} is empty", directory.display());
    for (path, regression) in all {
        let name = path.display();
        assert!(!regression.why.trim().is_empty(), "{name} does not say why it is kept");
        assert!(!regression.why.contains('\n'), "{name} takes more than a line to say why");
        let known = |kind: &str| faults::TABLE.iter().any(|fault| fault.name == kind);
        let unknown = regression.config.rough.mix.names().find(|kind| !known(kind));
        assert_eq!(unknown, None, "{name} names a fault that there is not");
        let told = regression.replay(LINES);
        assert_eq!(told.violation, None, "{name}: {}", told.lines.join("\n"));
    }
}
