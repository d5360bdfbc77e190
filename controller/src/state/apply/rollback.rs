//! Applies an upgrade's way back: to the recorded previous release of every touched node.
//!
//! The target of a rollback is a recorded [`RunSpec`](trireme_proto::action::RunSpec), taken when
//! the upgrade began. It is never looked up by a version's name, which may mean another thing by
//! now: the runbooks this replaces restarted the bad image that way.

use std::collections::BTreeSet;

use trireme_proto::action::ActionKind;
use trireme_proto::id::{NodeId, ServiceId, UpgradeId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::UpgradePhase;

use super::upgrade::{self, in_flight, order, set_stage};
use super::{Context, commit_action, drain, grant, no_upgrade};
use crate::state::command::{Evidence, Outcome};
use crate::state::fleet::{Fleet, Grant, Stage};
use crate::state::ledger::{Ask, Pair, judge};

/// An operator asks for the way back.
pub(super) fn ask(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    id: UpgradeId,
    reason: &str,
) -> Result<Outcome, Problem> {
    let actor = context.command.actor.subject.clone();
    let found = fleet.upgrades.get(&id).ok_or_else(|| no_upgrade(id))?;
    let service = found.plan.service.clone();
    match found.phase {
        UpgradePhase::RolledBack => return Ok(Outcome::Upgrade(id)),
        _ => is_newest(fleet, id, &service)?,
    }
    let Fleet { upgrades, nodes, now, .. } = &mut *fleet;
    if let Some(upgrade) = upgrades.get_mut(&id) {
        upgrade.due = now.after(upgrade.plan.gates.fleet_deadline);
        upgrade.ended = None;
        for (node, stage) in upgrade.waves.iter_mut().flat_map(|wave| &mut wave.nodes) {
            if nodes.get(node).is_none_or(|record| record.removed) {
                *stage = Stage::Skipped { reason: format!("node {node} was removed") };
            } else if let Stage::Dirty { switch, reason } = stage {
                *stage = Stage::Failed { switch: *switch, reason: reason.clone() };
            }
        }
    }
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    turn_back(fleet, context, id, &format!("{actor} asked for it{why}"));
    Ok(Outcome::Upgrade(id))
}

/// Refuses to put back what a later upgrade found or changes.
fn is_newest(fleet: &Fleet, id: UpgradeId, service: &ServiceId) -> Result<(), Problem> {
    if let Some((other, upgrade)) = fleet.active_upgrade(service).filter(|(other, _)| *other != id)
    {
        let done = upgrade.plan.operation.participle();
        let message = format!("service {service} is being {done} by {other}");
        return Err(Problem::new(Code::Conflict, message)
            .hint(format!("wait for it: trictl upgrade watch {other}")));
    }
    // What changes no release found what this one left, and returns to it.
    match fleet.newest_upgrade(service, |operation| operation.is_upgrade()) {
        Some(newest) if newest > id => Err(Problem::new(
            Code::Conflict,
            format!("{id} is not the newest upgrade of {service}"),
        )
        .because("a later one recorded what to return to")
        .hint(format!("roll that back: trictl upgrade rollback {newest}"))),
        _ => Ok(()),
    }
}

/// The leader turns an upgrade back.
pub(super) fn fail(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    id: UpgradeId,
    reason: &str,
) -> Result<Outcome, Problem> {
    let found = fleet.upgrades.get(&id).ok_or_else(|| no_upgrade(id))?;
    if found.phase.is_final() {
        return Err(Problem::new(Code::Conflict, format!("{id} has ended")));
    }
    turn_back(fleet, context, id, reason);
    Ok(Outcome::Upgrade(id))
}

/// Turns an upgrade back: what has not begun never will, what was touched returns.
pub(super) fn turn_back(fleet: &mut Fleet, context: &mut Context<'_>, id: UpgradeId, reason: &str) {
    if let Some(upgrade) = fleet.upgrades.get_mut(&id) {
        upgrade.phase = UpgradePhase::RollingBack;
        upgrade.paused = None;
        upgrade.reason = Some(reason.to_owned());
    }
    return_unstarted(fleet, context, id);
    upgrade::advance_all(fleet);
}

/// Returns granted nodes to traffic whose switch was never committed. Where that is the whole
/// wave, its grant ends: that no action was ever committed under it is the proof.
pub(super) fn return_unstarted(fleet: &mut Fleet, context: &mut Context<'_>, id: UpgradeId) {
    let Some(upgrade) = fleet.upgrades.get_mut(&id) else { return };
    let service = upgrade.plan.service.clone();
    let mut ended = Vec::new();
    let mut returned = Vec::new();
    for wave in upgrade.waves.iter_mut().filter(|wave| wave.grant.is_some()) {
        let unstarted =
            wave.nodes.values().all(|stage| matches!(stage, Stage::Staged | Stage::Skipped { .. }));
        if unstarted {
            wave.drained_at = None;
            wave.settled = None;
            ended.extend(wave.grant.take());
        }
        let staged = wave.nodes.iter().filter(|(_, stage)| **stage == Stage::Staged);
        returned.extend(staged.map(|(node, _)| node.clone()));
    }
    let returned = returned.into_iter().map(|node| (node, service.clone())).collect();
    drain::reopen(fleet, context, &returned);
    for grant in ended {
        grant::prove(fleet, grant, "nothing was begun under it");
    }
}

/// Gives back a granted wave while the service is short of regions (DESIGN rule 9).
pub(super) fn stand_down(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    id: UpgradeId,
    wave: usize,
    reason: &str,
) -> Result<Outcome, Problem> {
    let upgrade = fleet.upgrades.get(&id).ok_or_else(|| no_upgrade(id))?;
    // One that was stopped still calls back what nobody has begun.
    let aborting = upgrade.phase == UpgradePhase::Aborting;
    if !aborting {
        upgrade::running(fleet, id)?;
    }
    let Some(record) = upgrade.waves.get(wave) else { return Err(no_upgrade(id)) };
    // Switches that no agent has accepted are called back; the proof comes as a report.
    let unaccepted: Vec<NodeId> = record
        .nodes
        .iter()
        .filter(|(node, stage)| {
            matches!(stage, Stage::Switching { .. })
                && fleet
                    .nodes
                    .get(*node)
                    .and_then(|node| node.action.as_ref())
                    .is_some_and(|action| action.progress.is_none())
        })
        .map(|(node, _)| node.clone())
        .collect();
    return_unstarted(fleet, context, id);
    revert_nodes(fleet, context, id, wave, &unaccepted);
    if let Some(upgrade) = fleet.upgrades.get_mut(&id).filter(|_| !aborting) {
        upgrade.reason = Some(reason.to_owned());
    }
    upgrade::advance_all(fleet);
    Ok(Outcome::Upgrade(id))
}

/// Takes touched nodes of a wave out of traffic, under its grant or a new one.
pub(super) fn take_back(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    id: UpgradeId,
    wave: usize,
    nodes: &[NodeId],
    evidence: &Evidence,
) -> Result<Outcome, Problem> {
    let upgrade = fleet.upgrades.get(&id).ok_or_else(|| no_upgrade(id))?;
    let service = upgrade.plan.service.clone();
    let Some(record) = upgrade.waves.get(wave) else { return Err(no_upgrade(id)) };
    let touched: BTreeSet<Pair> = nodes
        .iter()
        .filter(|node| record.nodes.get(*node).is_some_and(|s| s.touched_by().is_some()))
        .map(|node| (node.clone(), service.clone()))
        .collect();
    if upgrade.phase == UpgradePhase::Succeeded || touched.is_empty() {
        return Err(Problem::new(Code::Conflict, format!("{id} has nothing to take back there")));
    }
    // A person may have ended the grant of a rollback that had failed.
    let own = record.grant.filter(|id| fleet.grants.get(id).is_some_and(Grant::is_held));
    let held = own.filter(|id| touched.is_subset(&fleet.grants[id].takes));
    if held.is_none() {
        let ask = Ask::new(upgrade.class(), &touched).within(own).undoing();
        let overrides = judge(fleet, evidence, ask)?;
        if let Some(old) = own {
            // What the old grant still holds stays held: the new one covers both. What has come
            // back is in traffic, and stays there.
            let mut both = touched.clone();
            let back =
                |node: &NodeId| upgrade::stage_of(fleet, id, wave, node) == Some(&Stage::Reverted);
            let held = fleet.grants.get(&old).into_iter().flat_map(|grant| &grant.takes);
            both.extend(held.filter(|(node, _)| !back(node)).cloned());
            grant::give(fleet, context, (id, wave), both, overrides);
            grant::prove(fleet, old, "a wider grant took its place");
        } else {
            grant::give(fleet, context, (id, wave), touched.clone(), overrides);
        }
    }
    let now = fleet.now;
    for (node, _) in &touched {
        if let Some(record) = fleet.nodes.get_mut(node) {
            record.drained.insert(service.clone());
        }
    }
    if let Some(record) = fleet.upgrades.get_mut(&id).and_then(|u| u.waves.get_mut(wave)) {
        record.drained_at = Some(context.at.index);
        record.settled = None;
        record.moved = now;
    }
    Ok(Outcome::Upgrade(id))
}

/// Commits the revert of nodes that are out of traffic.
pub(super) fn revert(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    id: UpgradeId,
    wave: usize,
    nodes: &[NodeId],
) -> Result<Outcome, Problem> {
    let upgrade = fleet.upgrades.get(&id).ok_or_else(|| no_upgrade(id))?;
    let service = upgrade.plan.service.clone();
    let Some(record) = upgrade.waves.get(wave) else { return Err(no_upgrade(id)) };
    let granted = record.grant.and_then(|grant| fleet.grants.get(&grant));
    for node in nodes {
        let covered =
            granted.is_some_and(|grant| grant.takes.contains(&(node.clone(), service.clone())));
        let drained = fleet.nodes.get(node).is_some_and(|record| record.drained.contains(&service));
        if !covered || !drained {
            return Err(Problem::new(
                Code::Conflict,
                format!("node {node} is not covered by a grant and drained"),
            ));
        }
    }
    revert_nodes(fleet, context, id, wave, nodes);
    Ok(Outcome::Upgrade(id))
}

fn revert_nodes(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    id: UpgradeId,
    wave: usize,
    nodes: &[NodeId],
) {
    let Some(upgrade) = fleet.upgrades.get(&id) else { return };
    let (order, drain) = (order(upgrade, id), upgrade.plan.gates.drain);
    let in_flight = in_flight(fleet, &order.service);
    for node in nodes {
        let upgrade = &fleet.upgrades[&id];
        let stage = upgrade.waves.get(wave).and_then(|wave| wave.nodes.get(node));
        let Some(switch) = stage.and_then(Stage::touched_by) else { continue };
        let previous = upgrade.previous.get(node).cloned().flatten();
        let stopped = upgrade.stopped.contains(node);
        let in_flight = in_flight.clone();
        let kind = ActionKind::Revert { of: switch, previous, stopped, drain, in_flight };
        if let Some(revert) = commit_action(fleet, context, &order, node, kind) {
            set_stage(fleet, id, wave, node, Stage::Reverting { revert, switch });
        }
    }
}
