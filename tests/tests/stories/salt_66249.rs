//! saltstack/salt#66249: a run in batches hung for ever when a minion went offline after it had been
//! given its job. Nothing said so.
//!
//! Whoever falls silent in the middle is waited for no longer than its deadline. The rest goes back,
//! and what is left names the node and what a person can do.

use trireme_controller::state::fleet::Stage;
use trireme_proto::view::UpgradePhase;
use trireme_tests::sim::message::Wish;

use crate::stage::*;

/// Longer than anything lasts.
const FOR_EVER: u64 = 100_000_000;

#[test]
fn a_node_that_goes_offline_in_the_middle_is_not_waited_for_for_ever() {
    let mut world = fleet();
    let id = start(&mut world, NEW);
    let switching = |world: &trireme_tests::sim::World| {
        matches!(stage_of(world, id, "aws-1"), Stage::Switching { .. })
            && world.nodes[place(world, "aws-1")].agent.step.is_some()
    };
    until(&mut world, "the switch of aws-1", switching);
    let n = place(&world, "aws-1");
    world.crash_agent(n, true, FOR_EVER);
    until(&mut world, "the decision to go back", |world| {
        record(world, id).phase != UpgradePhase::Running
    });
    let reason = record(&world, id).reason.clone().unwrap_or_default();
    assert!(!reason.is_empty(), "it says why");
    until(&mut world, "the others' way back", |world| {
        matches!(stage_of(world, id, "aws-2"), Stage::Reverted)
    });
    pass(&mut world, NEWS_MS);
    assert_eq!(running(&world)["aws-2"], OLD);
    assert_eq!(regions_serving(&world), 3, "the region serves by its other node");
    let why = why(&world, id);
    assert!(why.contains("aws-1"), "it says for whom it waits: {why}");
    assert!(why.contains("trictl node remove"), "and what ends that: {why}");
    ask(&mut world, Wish::Remove("aws-1".parse().unwrap()));
    until(&mut world, "its end", |world| record(world, id).phase.is_final());
}
