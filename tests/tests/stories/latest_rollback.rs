//! The runbook that Trireme replaces: its "rollback" pulled `:latest`, but the compose file had been
//! edited to the new version already, so that the bad image came up again; regions that were done
//! stayed on it; and a fleet that ran two versions would have come back with one.
//!
//! A rollback names, for every node, the recorded digest of what ran there.

use trireme_proto::digest::Digest;
use trireme_proto::view::UpgradePhase;
use trireme_tests::sim::World;
use trireme_tests::sim::message::Wish;

use crate::stage::*;

/// Comes up everywhere but on the last node of a region.
const PICKY: &str = "2.3.0-picky";
/// Never comes up.
const BROKEN: &str = "2.0.0-never";

fn digests(world: &World) -> Vec<Option<Digest>> {
    world.nodes.iter().map(|node| node.host.units[&service()].digest()).collect()
}

/// Returns a fleet whose first region runs another version than the rest.
fn mixed_fleet() -> World {
    let mut world = fleet();
    let id = start(&mut world, NEW);
    until(&mut world, "the first region", |world| has_passed(world, id, 1));
    ask(&mut world, Wish::Abort(id));
    until(&mut world, "its end", |world| record(world, id).phase.is_final());
    pass(&mut world, NEWS_MS);
    world
}

fn fails_and_goes_back(version: &str) {
    let mut world = mixed_fleet();
    let before = digests(&world);
    assert_ne!(before[0], before[2], "the fleet runs two versions");
    let id = start(&mut world, version);
    until(&mut world, "its end", |world| record(world, id).phase.is_final());
    pass(&mut world, NEWS_MS);
    assert_eq!(record(&world, id).phase, UpgradePhase::RolledBack);
    assert_eq!(digests(&world), before, "every node is at what it ran before, byte for byte");
    assert_eq!(running(&world)["aws-1"], NEW);
    assert_eq!(running(&world)["gcp-1"], OLD);
    assert_eq!(regions_serving(&world), 3);
}

#[test]
fn a_release_that_never_comes_up_leaves_no_trace() {
    fails_and_goes_back(BROKEN);
}

#[test]
fn a_release_that_comes_up_on_some_nodes_leaves_no_trace_on_any() {
    fails_and_goes_back(PICKY);
}
