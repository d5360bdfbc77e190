//! Decides how an upgrade goes forward: stage, ask the ledger, drain, switch, bake, confirm.

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::id::{ControllerId, NodeId, ServiceId, UpgradeId};
use trireme_proto::time::{FleetTime, Span};
use trireme_proto::view::UpgradePhase;

use super::wait::{self, reason, still_since, stuck_after};
use super::{Decision, NODES_NAMED_MAX, World};
use crate::presence::Health;
use crate::state::Body;
use crate::state::fleet::{ActionRecord, Stage, Upgrade, WaveRecord};
use crate::state::ledger::{Ask, Pair, count, judge};

/// Controllers that have not confirmed a routing change by then are named and waited for no
/// longer (DESIGN rule 18).
pub(super) const SETTLE_MAX: Span = Span::secs(5);

/// Waves whose artifacts are fetched ahead, the current one included.
const STAGE_AHEAD: usize = 2;

pub(super) fn plan(world: &World<'_>, id: UpgradeId, upgrade: &Upgrade, decision: &mut Decision) {
    let running = upgrade.phase == UpgradePhase::Running;
    if running && upgrade.paused.is_none() {
        if world.now > upgrade.due {
            let limit = upgrade.plan.gates.fleet_deadline;
            let reason = format!("it was not done within its deadline of {limit}");
            decision.proposals.push(Body::Fail { upgrade: id, reason });
            return;
        }
        decision.wake(FleetTime(upgrade.due.0 + 1));
    }
    let first = upgrade.current_wave().unwrap_or(upgrade.waves.len());
    let waves = upgrade.waves.iter().enumerate().skip(first);
    // Aborting looks at every wave that holds a grant; running at the current one alone.
    for (index, wave) in waves {
        if index == first || wave.grant.is_some() {
            one_wave(world, &Wave { id, upgrade, index, record: wave }, decision);
        }
    }
    // Last: a node that is asked for something counts as down until it has answered, and what is
    // fetched ahead must not be what a grant is refused for.
    if running && upgrade.paused.is_none() {
        for index in first..(first + STAGE_AHEAD).min(upgrade.waves.len()) {
            stage(world, id, upgrade, index, decision);
        }
    }
}

/// A wave with its surroundings.
struct Wave<'a> {
    id: UpgradeId,
    upgrade: &'a Upgrade,
    index: usize,
    record: &'a WaveRecord,
}

impl Wave<'_> {
    fn nodes(&self, wanted: impl Fn(&Stage) -> bool) -> Vec<NodeId> {
        let picked = self.record.nodes.iter().filter(|(_, stage)| wanted(stage));
        picked.map(|(node, _)| node.clone()).collect()
    }
}

/// Has artifacts fetched where nothing was asked yet, and leaves out what is lost.
fn stage(
    world: &World<'_>,
    id: UpgradeId,
    upgrade: &Upgrade,
    index: usize,
    decision: &mut Decision,
) {
    let wave = &upgrade.waves[index];
    let mut nodes = Vec::new();
    let mut lost = BTreeMap::new();
    for (node, _) in wave.nodes.iter().filter(|(_, stage)| **stage == Stage::Waiting) {
        match world.fleet.nodes.get(node) {
            Some(record) if record.lost => {
                lost.insert(node.clone(), "out of sight when its wave began".to_owned());
            }
            Some(record) if record.action.as_ref().is_none_or(ActionRecord::is_final) => {
                nodes.push(node.clone());
            }
            _ => {}
        }
    }
    if !nodes.is_empty() {
        decision.proposals.push(Body::Stage { upgrade: id, wave: index, nodes });
    }
    // A lost node does not block the others of its region; a region of lost nodes alone waits.
    let is_current = upgrade.current_wave() == Some(index);
    if !lost.is_empty() && is_current && region_goes_on(world, upgrade, index) {
        decision.proposals.push(Body::Skip { upgrade: id, wave: index, nodes: lost });
    } else if is_current {
        decision.wait_for(world, id, lost.keys());
    }
}

/// Returns whether some node in the region of a wave is at the target already, or on its way.
fn region_goes_on(world: &World<'_>, upgrade: &Upgrade, index: usize) -> bool {
    let plan = &upgrade.plan;
    let region = plan.waves.get(index).map(|wave| &wave.region);
    let waves = plan.waves.iter().zip(&upgrade.waves);
    let mut nodes = waves
        .filter(|(wave, _)| Some(&wave.region) == region)
        .flat_map(|(_, record)| &record.nodes);
    nodes.any(|(node, stage)| {
        let in_sight = world.fleet.nodes.get(node).is_some_and(|n| !n.lost && !n.removed);
        match stage {
            Stage::Confirmed { .. } => true,
            // One that was left out has nothing to do because it runs the target, or is no help.
            Stage::Skipped { .. } => in_sight && plan.previous.get(node) == Some(&plan.target),
            _ => in_sight,
        }
    })
}

fn one_wave(world: &World<'_>, wave: &Wave<'_>, decision: &mut Decision) {
    let before = decision.proposals.len();
    let staging = wave.nodes(|stage| matches!(stage, Stage::Waiting | Stage::Staging { .. }));
    let staged = wave.nodes(|stage| matches!(stage, Stage::Staged));
    let switching = wave.nodes(|stage| matches!(stage, Stage::Switching { .. }));
    let moving =
        wave.nodes(|stage| matches!(stage, Stage::Confirming { .. } | Stage::Reverting { .. }));
    // What was given back waits in traffic until the rest of its wave has come through.
    let service = &wave.upgrade.plan.service;
    let drained: Vec<NodeId> =
        staged.iter().filter(|node| is_drained(world, service, node)).cloned().collect();
    if wave.record.grant.is_none() {
        ask_for_grant(world, wave, &staging, &staged, decision);
    } else if dropped(world, wave, drained.iter().chain(&unaccepted(world, &switching))) {
        let reason = "the service has fallen below the regions that must serve it".to_owned();
        decision.proposals.push(Body::StandDown { upgrade: wave.id, wave: wave.index, reason });
    } else if !drained.is_empty() {
        drain(world, wave, &drained, decision);
    } else if wave.record.baking.is_some() && switching.is_empty() {
        bake(world, wave, decision);
    }
    decision.wait_for(world, wave.id, switching.iter().chain(&moving));
    let in_flight = !switching.is_empty() || !moving.is_empty() || !staging.is_empty();
    if in_flight && decision.proposals.len() == before && wave.upgrade.paused.is_none() {
        give_up_when_stuck(world, wave, decision);
    }
}

/// Turns the upgrade back when a node takes longer than it may.
fn give_up_when_stuck(world: &World<'_>, wave: &Wave<'_>, decision: &mut Decision) {
    if wave.upgrade.phase != UpgradePhase::Running {
        return;
    }
    let still = still_since(wave.upgrade, wave.index);
    let limit = stuck_after(wave.upgrade);
    if world.now.since(still) > limit {
        let service = &wave.upgrade.plan.service;
        let is_late = |(node, stage): &(&NodeId, &Stage)| match stage {
            Stage::Staged => is_drained(world, service, node),
            Stage::Waiting
            | Stage::Staging { .. }
            | Stage::Switching { .. }
            | Stage::Confirming { .. } => true,
            _ => false,
        };
        let late = wave.record.nodes.iter().filter(is_late);
        let late: Vec<String> = late.map(|(node, _)| node.to_string()).collect();
        let reason = format!("nothing was heard of {} for {limit}", late.join(", "));
        decision.proposals.push(Body::Fail { upgrade: wave.id, reason });
    } else {
        decision.wake(FleetTime(still.after(limit).0 + 1));
    }
}

fn ask_for_grant(
    world: &World<'_>,
    wave: &Wave<'_>,
    staging: &[NodeId],
    staged: &[NodeId],
    decision: &mut Decision,
) {
    if wave.upgrade.phase != UpgradePhase::Running {
        return;
    }
    if wave.upgrade.paused.is_some() {
        let who = wave.upgrade.reason.clone().unwrap_or_else(|| "no reason given".to_owned());
        let resume = format!("trictl upgrade resume {}", wave.id);
        decision.wait(wave.id, reason("upgrade.paused", format!("it is paused: {who}"), resume));
        return;
    }
    if !staging.is_empty() {
        decision.wait_for(world, wave.id, staging);
        return;
    }
    if staged.is_empty() {
        return;
    }
    if !all_in_sight(world, wave.id, staged, decision) {
        return;
    }
    let service = &wave.upgrade.plan.service;
    let takes: BTreeSet<Pair> = staged.iter().map(|node| (node.clone(), service.clone())).collect();
    let evidence = world.presence.evidence(world.now);
    match judge(world.fleet, &evidence, Ask::new(wave.upgrade.class(), &takes)) {
        Ok(_) => {
            let (upgrade, wave) = (wave.id, wave.index);
            decision.proposals.push(Body::Grant { upgrade, wave, evidence });
        }
        Err(problem) => decision.wait(wave.id, wait::refused(&problem)),
    }
}

/// Returns whether every one of `nodes` was seen by this leader; the first that was not is waited
/// for. A new leader takes nothing in a region whose agents it has not seen (DESIGN rule 14).
fn all_in_sight(
    world: &World<'_>,
    id: UpgradeId,
    nodes: &[NodeId],
    decision: &mut Decision,
) -> bool {
    let unseen = nodes.iter().find(|node| !world.presence.in_sight(node, world.now));
    if let Some(node) = unseen {
        let evidence = format!("node {node} has not been seen by this leader yet");
        decision.wait(id, reason("node.in_sight", evidence, format!("the agent of {node}")));
    }
    unseen.is_none()
}

/// Waits until clients stay away from the nodes of a granted wave, then has them switched.
fn drain(world: &World<'_>, wave: &Wave<'_>, staged: &[NodeId], decision: &mut Decision) {
    let (upgrade, index) = (wave.id, wave.index);
    if wave.record.settled.is_none() {
        settle(world, wave.id, wave.index, wave.record, decision);
        return;
    }
    match time_left(world, wave.record.settled, wave.upgrade.plan.gates.ttl) {
        // The grant may be another leader's, and nobody can be given back who is out of sight.
        None if !all_in_sight(world, upgrade, staged, decision) => {
            give_up_when_stuck(world, wave, decision);
        }
        None if some_free(world, upgrade, staged, decision) => {
            decision.proposals.push(Body::Switch { upgrade, wave: index });
        }
        None => {}
        Some((left, at)) => {
            decision
                .wait(upgrade, wait::time("routing.ttl", "answers naming the nodes expire", left));
            decision.wake(at);
        }
    }
}

/// Waits until every controller has confirmed a routing change, or has been silent for long.
pub(super) fn settle(
    world: &World<'_>,
    id: UpgradeId,
    index: usize,
    wave: &WaveRecord,
    decision: &mut Decision,
) {
    let Some(drained_at) = wave.drained_at else { return };
    let silent = unconfirmed(world, drained_at);
    let until = wave.moved.after(SETTLE_MAX);
    if silent.is_empty() || world.now >= until {
        decision.proposals.push(Body::Settle { upgrade: id, wave: index, silent });
        return;
    }
    let names: Vec<String> = silent.iter().map(ToString::to_string).collect();
    let evidence = format!("not confirmed yet by {}", names.join(", "));
    decision
        .wait(id, reason("routing.settled", evidence, format!("they, or {SETTLE_MAX} of silence")));
    decision.wake(until);
}

/// Returns the controllers that may still send clients as before log index `drained_at`.
pub(super) fn unconfirmed(world: &World<'_>, drained_at: u64) -> Vec<ControllerId> {
    let confirmed = |controller: &ControllerId| {
        world.presence.controllers.get(controller).is_some_and(|heard| heard.applied >= drained_at)
    };
    world.fleet.controllers.keys().filter(|name| !confirmed(name)).cloned().collect()
}

/// Watches a wave whose nodes are all up, and confirms it when its time has passed.
fn bake(world: &World<'_>, wave: &Wave<'_>, decision: &mut Decision) {
    let up = wave.nodes(|stage| matches!(stage, Stage::Up { .. }));
    if up.is_empty() {
        return;
    }
    let service = &wave.upgrade.plan.service;
    let mut silent = Vec::new();
    for node in &up {
        match world.presence.serves(world.fleet, node, service, world.now) {
            // A heartbeat from before the bake tells of the start, not of what came of it.
            _ if !heard_since(world, node, wave.record.baking) => silent.push(node.clone()),
            Health::Serving => {}
            Health::Unknown => silent.push(node.clone()),
            Health::NotServing(failing) => {
                unhealthy(wave, node, &failing, decision);
                return;
            }
        }
    }
    let bake = wave.upgrade.plan.gates.bake;
    if let Some((left, at)) = time_left(world, wave.record.baking, bake) {
        decision.wait(wave.id, wait::time("upgrade.bake", "the wave is watched", left));
        decision.wake(at);
    } else if silent.is_empty() {
        if some_free(world, wave.id, &up, decision) {
            let (upgrade, wave) = (wave.id, wave.index);
            decision.proposals.push(Body::Confirm { upgrade, wave });
        }
    } else {
        for node in silent.iter().take(NODES_NAMED_MAX) {
            let evidence = format!("nothing recent is known of node {node}");
            let unblock = format!("the agent of {node}");
            decision.wait(wave.id, reason("node.serving", evidence, unblock));
        }
        give_up_when_stuck(world, wave, decision);
    }
}

/// Returns whether some of `nodes` can take an action now; the others are waited for.
pub(super) fn some_free(
    world: &World<'_>,
    id: UpgradeId,
    nodes: &[NodeId],
    decision: &mut Decision,
) -> bool {
    let is_free =
        |node: &&NodeId| world.fleet.nodes.get(*node).is_some_and(|record| record.is_free_for(id));
    let (free, busy): (Vec<_>, Vec<_>) = nodes.iter().partition(is_free);
    decision.wait_for(world, id, busy);
    !free.is_empty()
}

/// Returns whether a heartbeat of `node` is newer than `since`.
fn heard_since(world: &World<'_>, node: &NodeId, since: Option<FleetTime>) -> bool {
    world.presence.nodes.get(node).is_some_and(|sighting| Some(sighting.at) > since)
}

/// A node has become unhealthy while it was watched.
fn unhealthy(wave: &Wave<'_>, node: &NodeId, failing: &str, decision: &mut Decision) {
    let detail = if failing.is_empty() { "it does not run" } else { failing };
    let reason = format!("node {node} stopped serving while it was watched: {detail}");
    decision.proposals.push(Body::Fail { upgrade: wave.id, reason });
}

/// Returns the time left of `span` since `from` and its end, or `None` when it has passed.
pub(super) fn time_left(
    world: &World<'_>,
    from: Option<FleetTime>,
    span: Span,
) -> Option<(Span, FleetTime)> {
    let until = from?.after(span);
    (world.now < until).then(|| (until.since(world.now), until))
}

/// Returns whether the service serves in fewer regions than it must while one of `unstarted`, nodes
/// taken under a grant and not begun, would serve if it were given back (DESIGN rule 9).
fn dropped<'a>(
    world: &World<'_>,
    wave: &Wave<'_>,
    mut unstarted: impl Iterator<Item = &'a NodeId>,
) -> bool {
    let Some(record) = world.fleet.services.get(&wave.upgrade.plan.service) else { return false };
    let service = &record.manifest;
    let serves = |node: &NodeId| {
        world.presence.serves(world.fleet, node, &service.name, world.now) == Health::Serving
    };
    if !unstarted.any(serves) {
        return false;
    }
    let evidence = world.presence.evidence(world.now);
    let counted = count(world.fleet, &evidence, service, &BTreeSet::new());
    let serving = counted.values().filter(|region| region.serving).count();
    serving < world.fleet.at_least(service) as usize
}

/// Returns those of `switching` whose switch was not accepted by its agent yet.
fn unaccepted(world: &World<'_>, switching: &[NodeId]) -> Vec<NodeId> {
    let waits = |node: &&NodeId| {
        let record = world.fleet.nodes.get(*node).and_then(|node| node.action.as_ref());
        record.is_some_and(|action| action.progress.is_none())
    };
    switching.iter().filter(waits).cloned().collect()
}

/// Returns whether clients of `service` are kept away from `node`.
fn is_drained(world: &World<'_>, service: &ServiceId, node: &NodeId) -> bool {
    world.fleet.nodes.get(node).is_some_and(|record| record.drained.contains(service))
}
