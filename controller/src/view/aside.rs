//! What operators have put aside, and what they allow, as they see it.

use trireme_proto::id::Place;
use trireme_proto::time::Span;
use trireme_proto::view::{DrainView, FreezeView, OverrideView, RemarkView};

use super::Lens;
use crate::state::aside::{Drain, Remark};

/// Returns the places that clients are kept away from.
pub fn drains(lens: Lens<'_>) -> Vec<DrainView> {
    lens.fleet.drains.iter().map(|(place, drain)| drain_view(lens, place, drain)).collect()
}

fn drain_view(lens: Lens<'_>, place: &Place, drain: &Drain) -> DrainView {
    let takes = lens.fleet.grants.get(&drain.grant).map(|grant| grant.takes.clone());
    let takes = takes.unwrap_or_default();
    // Clients that were told of a node may come until the slowest answer has expired, and what
    // they asked for may take as long as the slowest service says.
    let longest = takes
        .iter()
        .filter_map(|(_, service)| lens.fleet.services.get(service)?.manifest.traffic.as_ref())
        .map(|traffic| traffic.dns.ttl.0 + traffic.drain.0)
        .max()
        .unwrap_or(0);
    let left = drain.settled.map(|at| longest.saturating_sub(lens.now.since(at).0));
    let state = match left {
        None => "settling",
        Some(0) => "drained",
        Some(_) => "draining",
    };
    DrainView {
        place: place.clone(),
        state: state.to_owned(),
        remaining: left.filter(|left| *left > 0).map(Span),
        grant: drain.grant,
        takes: takes.iter().map(|(node, service)| format!("{node}/{service}")).collect(),
        remark: remark(&drain.remark),
    }
}

/// Returns the exceptions in force.
pub fn overrides(lens: Lens<'_>) -> Vec<OverrideView> {
    let in_force = lens.fleet.overrides.iter().filter(|(_, one)| one.until > lens.now);
    in_force
        .map(|(id, one)| OverrideView {
            id: *id,
            rules: one.rules.iter().cloned().collect(),
            service: one.service.clone(),
            remaining: one.until.since(lens.now),
            remark: remark(&one.remark),
        })
        .collect()
}

/// Returns whether the fleet is frozen.
pub fn freeze(lens: Lens<'_>) -> FreezeView {
    let found = lens.fleet.freeze.as_ref();
    FreezeView { frozen: found.is_some(), remark: found.map(remark) }
}

fn remark(remark: &Remark) -> RemarkView {
    RemarkView { reason: remark.reason.clone(), actor: remark.actor.clone(), at: remark.at }
}
