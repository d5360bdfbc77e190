//! hashicorp/nomad#3525: after some minutes of a bad network one job had dozens of deployments a
//! second, thousands of failed ones, and dozens that were "running" for ever.
//!
//! One service has one upgrade at a time, in replicated state. However often the leader changes and
//! a request is sent again, it stays that one; each node is switched once; and it ends.

use trireme_controller::state::Outcome;
use trireme_proto::view::UpgradePhase;
use trireme_tests::sim::net::Peer;

use crate::stage::*;

/// Times that the network breaks between the controllers.
const BREAKS: usize = 12;
/// How long each break lasts, and the pause after it.
const BREAK_MS: (u64, u64) = (2500, 1500);

#[test]
fn a_network_that_breaks_again_and_again_leaves_one_upgrade() {
    let mut world = fleet();
    let wish = world.plan_of(SERVICE, NEW).unwrap();
    let first = ask(&mut world, wish.clone());
    let Outcome::Upgrade(id) = *first else { panic!("not started: {first:?}") };
    let mut leaders = Vec::new();
    for turn in 0..BREAKS {
        let leader = world.log.leader.unwrap();
        leaders.push(world.log.term);
        let end = world.now + BREAK_MS.0;
        for other in (0..world.controllers.len()).filter(|other| *other != leader) {
            world.net.cut(Peer::Controller(leader), Peer::Controller(other), end);
            world.net.cut(Peer::Controller(other), Peer::Controller(leader), end);
        }
        pass(&mut world, BREAK_MS.0 + BREAK_MS.1);
        // Somebody starts it again and again; while it runs that is refused.
        let open = !record(&world, id).phase.is_final();
        if turn % 3 == 0 && open {
            let again = ask(&mut world, wish.clone());
            let refused = matches!(*again, Outcome::Refused(_));
            assert!(refused || record(&world, id).phase.is_final(), "{again:?}");
        }
    }
    leaders.dedup();
    assert!(leaders.len() > BREAKS / 2, "the leader hardly changed: {leaders:?}");
    until(&mut world, "its end", |world| record(world, id).phase.is_final());
    pass(&mut world, NEWS_MS);
    let fleet = &world.log.fleet;
    assert_eq!(record(&world, id).phase, UpgradePhase::Succeeded, "{}", told(&world));
    assert_eq!(fleet.upgrades.len(), 1, "there are more upgrades than anybody asked for");
    assert_eq!(fleet.active_upgrade(&service()), None);
    for node in &world.nodes {
        assert_eq!(starts(&world, node.id.as_str()), 1, "starts on {}", node.id);
        // Stage, switch, confirm.
        assert_eq!(fleet.nodes[&node.id].generation, 3, "actions on {}", node.id);
    }
}
