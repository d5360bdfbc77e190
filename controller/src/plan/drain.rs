//! Decides when a drained place has settled: no controller sends clients there any more.

use super::forward::{SETTLE_MAX, unconfirmed};
use super::{Decision, World};
use crate::state::Body;

pub(super) fn plan(world: &World<'_>, decision: &mut Decision) {
    for (place, drain) in world.fleet.drains.iter().filter(|(_, drain)| drain.settled.is_none()) {
        let silent = unconfirmed(world, drain.drained_at);
        let until = drain.since.after(SETTLE_MAX);
        if silent.is_empty() || world.now >= until {
            decision.proposals.push(Body::SettleDrain { place: place.clone(), silent });
        } else {
            decision.wake(until);
        }
    }
}
