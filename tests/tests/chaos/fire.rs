//! Three and five controllers and thirty agents: faults without a pause, then progress.

use std::path::Path;
use std::time::Duration;

use trireme_tests::chaos::report::{Outcome, Report};
use trireme_tests::chaos::run::{Options, run};

/// Faults in each of the two runs: time for each demanded one, and for most of the others.
const TIME: Duration = Duration::from_secs(100);

// One test, since two fleets at once are more than two cores carry.
#[tokio::test(flavor = "multi_thread")]
async fn fleets_under_fire_keep_their_promises_and_recover() {
    let own = std::env::current_exe().unwrap();
    // Tests are built into `deps`, beside which the programs lie.
    let programs = own.parent().and_then(Path::parent).unwrap().to_owned();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (seed, controllers) in [(1, 3), (2, 5)] {
        let programs = programs.clone();
        let options = Options { seed, time: TIME, controllers, agents: 10, programs, keep: None };
        let outcome = Box::pin(run(&options)).await.unwrap();
        println!("{}", outcome.tell());
        outcomes.push(outcome);
    }
    let report = Report::of(outcomes);
    assert!(report.is_good(), "{}", report.each.iter().map(Outcome::tell).collect::<String>());
}
