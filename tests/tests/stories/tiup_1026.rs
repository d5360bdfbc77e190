//! pingcap/tiup#1026: when the upgrade of a large cluster was interrupted, starting it again
//! restarted the nodes that had been finished before.
//!
//! No client drives an upgrade here, and its state is replicated: whichever controllers and agents
//! die in the middle, it goes on, and every process is started once.

use trireme_proto::view::UpgradePhase;

use crate::stage::*;

#[test]
fn an_interrupted_upgrade_restarts_nothing_that_is_done() {
    let mut world = fleet();
    let id = start(&mut world, NEW);
    for done in 1..=2 {
        until(&mut world, "another region", |world| has_passed(world, id, done));
        // In the middle of the next region everything that could drive it dies.
        pass(&mut world, 1500);
        for c in 0..world.controllers.len() {
            world.crash_controller(c, 2000);
        }
        for n in 0..world.nodes.len() {
            world.crash_agent(n, false, 1000);
        }
    }
    until(&mut world, "its end", |world| record(world, id).phase.is_final());
    assert_eq!(record(&world, id).phase, UpgradePhase::Succeeded, "{}", told(&world));
    for node in &world.nodes {
        assert_eq!(starts(&world, node.id.as_str()), 1, "starts on {}", node.id);
    }
    assert!(running(&world).values().all(|version| version == NEW));
}
