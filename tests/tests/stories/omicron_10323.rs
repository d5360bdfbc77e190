//! oxidecomputer/omicron#10323: one disk that had been dead for long deferred the upgrade of every
//! zone of the rack. It was seen at two customers.
//!
//! A node that is out of sight before an upgrade is left out, by name and with the reason. The
//! others go on, those of its own region too.

use trireme_controller::state::fleet::Stage;
use trireme_tests::sim::Config;

use crate::stage::*;

/// Returns a fleet whose node aws-2 has never been seen alive.
fn with_a_dead_node() -> trireme_tests::sim::World {
    fleet_of(Config { dead: Some(1), ..Config::quiet(7) })
}

#[test]
fn a_node_that_was_dead_before_blocks_nobody() {
    let mut world = with_a_dead_node();
    let id = upgrade(&mut world, NEW);
    let Stage::Skipped { reason } = stage_of(&world, id, "aws-2") else {
        panic!("aws-2 is {:?}", stage_of(&world, id, "aws-2"));
    };
    assert!(reason.contains("out of sight"), "{reason}");
    for (node, version) in running(&world) {
        assert_eq!(version, if node == "aws-2" { "" } else { NEW }, "{node}");
    }
}

/// The same when the rest of its region has nothing left to do: it failed for the dead node alone.
#[test]
fn it_does_not_block_a_second_attempt_either() {
    let mut world = with_a_dead_node();
    upgrade(&mut world, NEW);
    pass(&mut world, NEWS_MS);
    let id = upgrade(&mut world, NEW);
    assert!(matches!(stage_of(&world, id, "aws-2"), Stage::Skipped { .. }));
}
