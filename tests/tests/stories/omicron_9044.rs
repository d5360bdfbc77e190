//! oxidecomputer/omicron pull request 9044: a reviewer saw that a rule which keeps a service
//! redundant would block the very update that makes it redundant again.
//!
//! The ledger asks what a grant takes, by evidence. What serves nothing loses nothing, so the region
//! that is down can always be upgraded, though no other could be.

use trireme_controller::state::Outcome;
use trireme_proto::view::UpgradePhase;

use crate::stage::*;

/// Breaks the service on every node of a region so that nothing there starts it again.
fn breaks_down(world: &mut trireme_tests::sim::World, region: usize) {
    let now = world.now;
    for node in world.nodes.iter_mut().filter(|node| node.region == region) {
        let unit = node.host.unit(&service());
        unit.kill(now);
        unit.wanted = false;
    }
}

#[test]
fn the_region_that_is_down_can_be_upgraded_when_nothing_is_to_spare() {
    let mut world = fleet();
    breaks_down(&mut world, 0);
    pass(&mut world, NEWS_MS);
    assert_eq!(regions_serving(&world), 2, "just as many as must");
    let id = upgrade(&mut world, NEW);
    assert_eq!(regions_serving(&world), 3);
    assert_eq!(record(&world, id).phase, UpgradePhase::Succeeded);
}

/// The rule that lets it through is no hole: the region that is down must come first.
#[test]
fn a_region_that_serves_is_not_taken_while_another_is_down() {
    let mut world = fleet();
    breaks_down(&mut world, 2);
    pass(&mut world, NEWS_MS);
    let wish = world.plan_of(SERVICE, NEW).unwrap();
    let answer = ask(&mut world, wish);
    let Outcome::Refused(problem) = &*answer else { panic!("{answer:?}") };
    assert!(problem.rule.is_some(), "the rule is named: {problem:?}");
    assert!(!problem.why.is_empty(), "and the evidence: {problem:?}");
    assert_eq!(regions_serving(&world), 2);
}
