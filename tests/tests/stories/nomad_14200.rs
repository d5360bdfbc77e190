//! hashicorp/nomad#14200: reverting a job ignored its `update` stanza. The release had gone out
//! well, turned out to be bad later, and the revert replaced everything at once: an outage.
//!
//! Going back is an upgrade like any other: one region at a time, under the same ledger.

use trireme_proto::view::UpgradePhase;
use trireme_tests::sim::message::Wish;

use crate::stage::*;

/// Regions that must serve: two of three.
const PROMISED: usize = 2;

#[test]
fn going_back_from_a_finished_upgrade_takes_one_region_at_a_time() {
    let mut world = fleet();
    let id = upgrade(&mut world, NEW);
    pass(&mut world, NEWS_MS);
    ask(&mut world, Wish::Rollback(id));
    let (mut serving, mut taken) = (usize::MAX, 0);
    until(&mut world, "the end of the way back", |world| {
        serving = serving.min(regions_serving(world));
        taken = taken.max(regions_taken(world));
        record(world, id).phase == UpgradePhase::RolledBack
    });
    assert!(running(&world).values().all(|version| version == OLD), "{:?}", running(&world));
    assert!(serving >= PROMISED, "{serving} regions served meanwhile");
    assert_eq!(taken, 1, "regions were taken at the same time");
}
