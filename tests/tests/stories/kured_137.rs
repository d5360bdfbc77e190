//! kubereboot/kured#137: the lock that lets one node reboot at a time was held by a node that did
//! not exist any more. Nobody else could reboot, and a time to live, added later, freed locks of
//! nodes that were very much in the middle of something.
//!
//! A grant names its holder, its node and what would end it. Time never ends it, for silence proves
//! nothing; an operator's recorded word that the node is gone does, at once.

use trireme_controller::state::Outcome;
use trireme_controller::state::fleet::{Grant, GrantState, Stage};
use trireme_proto::view::UpgradePhase;
use trireme_tests::sim::World;
use trireme_tests::sim::message::Wish;

use crate::stage::*;

/// Longer than any deadline, ten times over.
const AGES_MS: u64 = 3_000_000;

fn grant_on<'a>(world: &'a World, node: &str) -> Option<&'a Grant> {
    let pair = (node.parse().expect("a name"), service());
    world.log.fleet.grants.values().find(|grant| grant.takes.contains(&pair))
}

#[test]
fn a_grant_of_a_node_that_is_gone_is_held_until_a_person_says_so() {
    let mut world = fleet();
    let id = start(&mut world, NEW);
    until(&mut world, "the switch of aws-1", |world| {
        matches!(stage_of(world, id, "aws-1"), Stage::Switching { .. })
            && world.nodes[place(world, "aws-1")].agent.step.is_some()
    });
    let n = place(&world, "aws-1");
    world.crash_agent(n, true, AGES_MS * 10);
    pass(&mut world, AGES_MS);
    // Any command moves fleet time on; this one is refused, because the service is taken.
    let again = world.plan_of(SERVICE, NEW).expect("there is such a release");
    assert!(matches!(*ask(&mut world, again), Outcome::Refused(_)));
    let grant = grant_on(&world, "aws-1").expect("it is still there");
    assert!(grant.is_held() && grant.due < world.log.fleet.now, "overdue, and still counted");
    assert_eq!(grant.holder.upgrade(), Some(id));
    ask(&mut world, Wish::Remove("aws-1".parse().unwrap()));
    until(&mut world, "the end of the upgrade", |world| record(world, id).phase.is_final());
    let held = grant_on(&world, "aws-1").is_some_and(Grant::is_held);
    assert!(!held, "the grant outlives its node");
    let proof = |grant: &Grant| !matches!(grant.state, GrantState::Held);
    assert!(world.log.fleet.grants.values().all(proof));
    pass(&mut world, NEWS_MS);
    let next = upgrade(&mut world, NEW);
    assert_eq!(record(&world, next).phase, UpgradePhase::Succeeded);
    let left: Vec<_> = running(&world).into_iter().filter(|(node, _)| node != "aws-1").collect();
    assert!(left.iter().all(|(_, version)| version == NEW), "{left:?}");
}
