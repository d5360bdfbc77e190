//! ansible/ansible#12735: an upgrade in batches was aborted half-way, and there was no list of
//! what was left; trying again went over every host from the beginning.
//!
//! An upgrade knows each node's stage. Paused, it goes on where it was, also over a crash of
//! everything; aborted and started again, it leaves alone what has the new release.

use trireme_controller::state::fleet::Stage;
use trireme_proto::view::UpgradePhase;
use trireme_tests::sim::message::Wish;

use crate::stage::*;

/// Nodes of the first region, which are done when the others are not.
const DONE: [&str; 2] = ["aws-1", "aws-2"];

#[test]
fn a_paused_upgrade_goes_on_where_it_was() {
    let mut world = fleet();
    let id = start(&mut world, NEW);
    until(&mut world, "the first region", |world| has_passed(world, id, 1));
    ask(&mut world, Wish::Pause(id));
    for c in 0..world.controllers.len() {
        world.crash_controller(c, 3000);
    }
    for n in 0..world.nodes.len() {
        world.crash_agent(n, false, 2000);
    }
    pass(&mut world, LONG_MS / 4);
    assert!(!has_passed(&world, id, 3), "a paused upgrade goes no further");
    ask(&mut world, Wish::Resume(id));
    until(&mut world, "its end", |world| record(world, id).phase.is_final());
    assert_eq!(record(&world, id).phase, UpgradePhase::Succeeded);
    for node in &world.nodes {
        assert_eq!(starts(&world, node.id.as_str()), 1, "starts on {}", node.id);
    }
}

#[test]
fn an_aborted_upgrade_started_again_touches_only_what_is_left() {
    let mut world = fleet();
    let id = start(&mut world, NEW);
    until(&mut world, "the first region", |world| has_passed(world, id, 1));
    ask(&mut world, Wish::Abort(id));
    until(&mut world, "its end", |world| record(world, id).phase.is_final());
    assert_eq!(record(&world, id).phase, UpgradePhase::Aborted);
    pass(&mut world, NEWS_MS);
    let asked = |world: &trireme_tests::sim::World, node: &str| {
        world.log.fleet.nodes[&node.parse().unwrap()].generation
    };
    let before = DONE.map(|node| asked(&world, node));
    let again = upgrade(&mut world, NEW);
    for (node, before) in DONE.into_iter().zip(before) {
        assert!(matches!(stage_of(&world, again, node), Stage::Skipped { .. }), "{node}");
        assert_eq!(starts(&world, node), 1, "starts on {node}");
        assert_eq!(asked(&world, node), before, "something was asked of {node} again");
    }
    assert!(running(&world).values().all(|version| version == NEW));
}
