//! The leader dies at a point of the next commit: with proposals that are in its log alone, right
//! after they are committed, before or after it answers those who asked.

use super::super::raft::CommitPoint;
use super::{Fault, World};

pub(super) const FAULT: Fault =
    Fault { name: "commit", what: "the leader dies at a point of a commit", weight: 2, strike };

fn strike(world: &mut World) {
    let point = world.rng.pick(&CommitPoint::ALL).copied();
    world.commit_trap = point;
    world.story.say(world.now, "weather", || format!("the leader will die {point:?}"));
}
