//! Decides how an upgrade goes back: last wave first, nodes that do not serve first.

use std::collections::BTreeSet;

use trireme_proto::id::{NodeId, UpgradeId};

use super::forward::{settle, some_free, time_left};
use super::{Decision, World, wait};
use crate::state::Body;
use crate::state::fleet::{Stage, Upgrade, WaveRecord};
use crate::state::ledger::{Ask, Pair, judge, takes_nothing};

pub(super) fn plan(world: &World<'_>, id: UpgradeId, upgrade: &Upgrade, decision: &mut Decision) {
    let open = |wave: &WaveRecord| {
        wave.nodes
            .values()
            .any(|stage| stage.touched_by().is_some() || matches!(stage, Stage::Reverting { .. }))
    };
    for (node, stage) in upgrade.waves.iter().flat_map(|wave| &wave.nodes) {
        if let Stage::Dirty { reason, .. } = stage {
            let again = format!("repair node {node}, then: trictl upgrade rollback {id}");
            decision.wait(id, wait::reason("node.clean", reason, again));
        }
    }
    let Some(index) = upgrade.waves.iter().rposition(open) else { return };
    let wave = &upgrade.waves[index];
    let reverting = wave.nodes.iter().filter(|(_, s)| matches!(s, Stage::Reverting { .. }));
    decision.wait_for(world, id, reverting.map(|(node, _)| node));
    let touched: Vec<(&NodeId, &Stage)> =
        wave.nodes.iter().filter(|(_, stage)| stage.touched_by().is_some()).collect();
    if touched.is_empty() {
        return;
    }
    let (away, in_traffic): (Vec<_>, Vec<_>) =
        touched.into_iter().partition(|(node, _)| is_away(world, upgrade, wave, node));
    if !in_traffic.is_empty() {
        let nodes: Vec<NodeId> = in_traffic.into_iter().map(|(node, _)| node.clone()).collect();
        take_back(world, id, upgrade, index, &nodes, decision);
    }
    // What failed or was being switched has been out of traffic since the wave was drained.
    let (ready, draining): (Vec<_>, Vec<_>) = away
        .into_iter()
        .partition(|(_, stage)| matches!(stage, Stage::Switching { .. } | Stage::Failed { .. }));
    let mut nodes: Vec<NodeId> = ready.into_iter().map(|(node, _)| node.clone()).collect();
    if !draining.is_empty() {
        if wave.settled.is_none() {
            settle(world, id, index, wave, decision);
        } else if let Some((left, at)) = time_left(world, wave.settled, upgrade.plan.gates.ttl) {
            decision.wait(id, wait::time("routing.ttl", "answers naming the nodes expire", left));
            decision.wake(at);
        } else {
            nodes.extend(draining.into_iter().map(|(node, _)| node.clone()));
        }
    }
    if some_free(world, id, &nodes, decision) {
        decision.proposals.push(Body::Revert { upgrade: id, wave: index, nodes });
    }
}

/// Returns whether a node is covered by the wave's grant and out of traffic.
fn is_away(world: &World<'_>, upgrade: &Upgrade, wave: &WaveRecord, node: &NodeId) -> bool {
    let service = &upgrade.plan.service;
    let covered =
        wave.grant.and_then(|grant| world.fleet.grants.get(&grant)).is_some_and(|grant| {
            grant.is_held() && grant.takes.contains(&(node.clone(), service.clone()))
        });
    let drained =
        world.fleet.nodes.get(node).is_some_and(|record| record.drained.contains(service));
    covered && drained
}

/// Asks for what may be taken back now: what serves nothing first, else all, else one.
fn take_back(
    world: &World<'_>,
    id: UpgradeId,
    upgrade: &Upgrade,
    index: usize,
    nodes: &[NodeId],
    decision: &mut Decision,
) {
    let evidence = world.presence.evidence(world.now);
    let wave = &upgrade.waves[index];
    let pair = |node: &NodeId| (node.clone(), upgrade.plan.service.clone());
    let takes: BTreeSet<Pair> = nodes.iter().map(pair).collect();
    let covered = wave
        .grant
        .and_then(|grant| world.fleet.grants.get(&grant))
        .is_some_and(|grant| grant.is_held() && takes.is_subset(&grant.takes));
    let allowed = |nodes: &[NodeId]| {
        let takes = nodes.iter().map(pair).collect();
        let ask = Ask::new(upgrade.class(), &takes).within(wave.grant).undoing();
        judge(world.fleet, &evidence, ask).map(drop)
    };
    let free: Vec<NodeId> =
        nodes.iter().filter(|node| takes_nothing(&evidence, &pair(node))).cloned().collect();
    let chosen = if covered || allowed(nodes).is_ok() {
        Some(nodes.to_vec())
    } else if !free.is_empty() {
        Some(free)
    } else {
        nodes
            .iter()
            .find(|node| allowed(std::slice::from_ref(*node)).is_ok())
            .map(|n| vec![n.clone()])
    };
    match chosen {
        Some(nodes) => {
            decision.proposals.push(Body::TakeBack { upgrade: id, wave: index, nodes, evidence });
        }
        None => {
            if let Err(problem) = allowed(nodes) {
                let mut reason = wait::refused(&problem);
                let leave = format!("; or leave it as it is: trictl upgrade abort {id}");
                reason.unblock.push_str(&leave);
                decision.wait(id, reason);
            }
        }
    }
}
