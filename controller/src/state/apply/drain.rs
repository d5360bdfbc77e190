//! Applies drains and cordons: places that clients are kept away from, nodes that work passes by.

use std::collections::BTreeSet;

use trireme_proto::id::{NodeId, Place};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::FleetTime;

use super::{Context, grant};
use crate::state::aside::Drain;
use crate::state::command::{Evidence, Outcome};
use crate::state::fleet::{Class, Fleet, Grant, GrantState, Holder, Stage, WaveRecord};
use crate::state::ledger::{Ask, Pair, judge};

/// Keeps clients away from a place; the ledger counts it as down until it is returned.
pub(super) fn drain(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    place: &Place,
    reason: &str,
    evidence: &Evidence,
) -> Result<Outcome, Problem> {
    exists(fleet, place)?;
    if let Some(drain) = fleet.drains.get(place) {
        let remark = &drain.remark;
        let message = format!("{place} was drained by {}: {}", remark.actor, remark.reason);
        return Err(Problem::new(Code::Conflict, message)
            .hint(format!("return it first: {}", return_command(place))));
    }
    let takes = fleet.pairs_at(place);
    let overrides = judge(fleet, evidence, Ask::new(Class::Manual, &takes))?;
    let remark = context.remark(reason);
    for (node, _) in &takes {
        context.wake.insert(node.clone());
    }
    let record = Grant {
        holder: Holder::Drain(place.clone()),
        wave: 0,
        class: Class::Manual,
        takes,
        state: GrantState::Held,
        at: fleet.now,
        // It lasts as long as the operator needs.
        due: FleetTime(u64::MAX),
        actor: remark.actor.clone(),
        overrides,
    };
    let grant = grant::hold(fleet, record);
    let (drained_at, since) = (context.at.index, fleet.now);
    let drain = Drain { remark, grant, drained_at, since, settled: None };
    fleet.drains.insert(place.clone(), drain);
    Ok(Outcome::Granted(grant))
}

/// Records that no controller sends clients there any more.
pub(super) fn settle(fleet: &mut Fleet, place: &Place) -> Result<Outcome, Problem> {
    let now = fleet.now;
    let drain = fleet.drains.get_mut(place).ok_or_else(|| not_drained(place))?;
    drain.settled.get_or_insert(now);
    Ok(Outcome::Done)
}

/// Ends a drain and the cordons there: clients may come again at once (DESIGN rule 9).
pub(super) fn give_back(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    place: &Place,
    reason: &str,
) -> Result<Outcome, Problem> {
    exists(fleet, place)?;
    let nodes = &fleet.nodes;
    let before = fleet.cordons.len();
    fleet.cordons.retain(|id, _| match place {
        Place::Node(name) => id != name,
        Place::Region(region) => nodes.get(id).is_none_or(|node| node.region != *region),
    });
    let cordoned = fleet.cordons.len() < before;
    let Some(drain) = fleet.drains.remove(place) else {
        if cordoned {
            return Ok(Outcome::Done);
        }
        return Err(inner_drain(fleet, place).unwrap_or_else(|| not_drained(place)));
    };
    let actor = &context.command.actor.subject;
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let takes = fleet.grants.get(&drain.grant).map(|grant| grant.takes.clone()).unwrap_or_default();
    grant::prove(fleet, drain.grant, &format!("{actor} returned {place}{why}"));
    ended(fleet, context, &takes);
    Ok(Outcome::Done)
}

/// Sends clients again to what a drain has kept from them, except where an upgrade has led them
/// away for its own sake.
pub(super) fn ended(fleet: &mut Fleet, context: &mut Context<'_>, takes: &BTreeSet<Pair>) {
    let free = takes.iter().filter(|pair| !is_being_touched(fleet, pair)).cloned().collect();
    reopen(fleet, context, &free);
}

/// Returns whether an upgrade holds a node of a service that it is about to touch, has stopped, or
/// has not brought back.
fn is_being_touched(fleet: &Fleet, (node, service): &Pair) -> bool {
    let holds = |wave: &&WaveRecord| {
        let grant = wave.grant.and_then(|id| fleet.grants.get(&id));
        grant.is_some_and(|grant| grant.is_held() && grant.takes.iter().any(|(n, _)| n == node))
    };
    let upgrades = fleet.upgrades.values().filter(|upgrade| upgrade.plan.service == *service);
    upgrades.flat_map(|upgrade| &upgrade.waves).filter(holds).any(|wave| {
        wave.nodes.get(node).is_some_and(|stage| {
            matches!(
                stage,
                Stage::Staged
                    | Stage::Switching { .. }
                    | Stage::Stopped { .. }
                    | Stage::Failed { .. }
                    | Stage::Reverting { .. }
                    | Stage::Dirty { .. }
            )
        })
    })
}

/// Has new work pass a node by.
pub(super) fn cordon(
    fleet: &mut Fleet,
    context: &Context<'_>,
    node: &NodeId,
    reason: &str,
) -> Result<Outcome, Problem> {
    exists(fleet, &Place::Node(node.clone()))?;
    fleet.cordons.insert(node.clone(), context.remark(reason));
    Ok(Outcome::Done)
}

/// Sends clients again wherever nothing else keeps them away.
pub(super) fn reopen(fleet: &mut Fleet, context: &mut Context<'_>, pairs: &BTreeSet<Pair>) {
    for (id, service) in pairs {
        let Some(node) = fleet.nodes.get(id) else { continue };
        if fleet.drain_of(id, node).is_some() {
            continue;
        }
        if let Some(node) = fleet.nodes.get_mut(id) {
            node.drained.remove(service);
            context.wake.insert(id.clone());
        }
    }
}

fn exists(fleet: &Fleet, place: &Place) -> Result<(), Problem> {
    let (there, list) = match place {
        Place::Region(name) => (fleet.regions.contains_key(name), "trictl get region"),
        Place::Node(name) => {
            (fleet.nodes.get(name).is_some_and(|node| !node.removed), "trictl node list")
        }
    };
    if there {
        return Ok(());
    }
    Err(Problem::new(Code::NotFound, format!("there is no {place}"))
        .hint(format!("list them: {list}")))
}

/// Tells that a node is kept from its clients by the drain of its region.
fn inner_drain(fleet: &Fleet, place: &Place) -> Option<Problem> {
    let Place::Node(name) = place else { return None };
    let region = Place::Region(fleet.nodes.get(name)?.region.clone());
    fleet.drains.get(&region)?;
    Some(
        Problem::new(Code::Conflict, format!("{place} is drained as part of {region}"))
            .hint(format!("return the whole region: {}", return_command(&region))),
    )
}

fn not_drained(place: &Place) -> Problem {
    Problem::new(Code::NotFound, format!("{place} is neither drained nor cordoned"))
        .hint("list what is: trictl get drain")
}

fn return_command(place: &Place) -> String {
    match place {
        Place::Region(name) => format!("trictl region return {name}"),
        Place::Node(name) => format!("trictl node return {name}"),
    }
}
