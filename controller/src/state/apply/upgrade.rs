//! Applies an upgrade's way forward: stage, switch, bake, confirm, end.
//!
//! ```text
//!  node:  Waiting ▶ Staging ▶ Staged ▶ Switching ▶ Up ▶ Confirming ▶ Confirmed
//!                                        │  └──▶ Stopped
//!                                        ▼          ▼            (rollback.rs)
//!                                      Failed ▶ Reverting ▶ Reverted | Dirty
//! ```

use std::collections::BTreeMap;

use trireme_proto::action::{ActionKind, Halt, Switch};
use trireme_proto::id::{NodeId, Place, ServiceId, UpgradeId};
use trireme_proto::plan::Operation;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;
use trireme_proto::view::UpgradePhase;

use super::{Context, Order, commit_action, grant, no_upgrade};
use crate::state::command::Outcome;
use crate::state::fleet::{Fleet, Stage, Upgrade, WaveRecord};

/// Ended upgrades of one service that are kept for people to look at.
const ENDED_MAX: usize = 100;

/// Returns an upgrade that goes forward, or why it does not.
pub(super) fn running(fleet: &Fleet, id: UpgradeId) -> Result<&Upgrade, Problem> {
    let upgrade = fleet.upgrades.get(&id).ok_or_else(|| no_upgrade(id))?;
    if upgrade.phase == UpgradePhase::Running {
        Ok(upgrade)
    } else {
        let phase = phase_word(upgrade.phase);
        Err(Problem::new(Code::Conflict, format!("{id} is {phase}"))
            .hint(format!("look at it: trictl upgrade status {id}")))
    }
}

/// Returns the phase as people read it.
fn phase_word(phase: UpgradePhase) -> &'static str {
    match phase {
        UpgradePhase::Running => "running",
        UpgradePhase::Aborting => "aborting",
        UpgradePhase::RollingBack => "rolling back",
        UpgradePhase::Succeeded => "succeeded",
        UpgradePhase::RolledBack => "rolled back",
        UpgradePhase::Aborted => "aborted",
        UpgradePhase::RollbackFailed => "in need of a person: its rollback failed",
    }
}

pub(super) fn pause(fleet: &mut Fleet, id: UpgradeId, reason: &str) -> Result<Outcome, Problem> {
    running(fleet, id)?;
    let now = fleet.now;
    if let Some(upgrade) = fleet.upgrades.get_mut(&id)
        && upgrade.paused.is_none()
    {
        upgrade.paused = Some(now);
        upgrade.reason = (!reason.is_empty()).then(|| reason.to_owned());
    }
    Ok(Outcome::Upgrade(id))
}

pub(super) fn resume(fleet: &mut Fleet, id: UpgradeId) -> Result<Outcome, Problem> {
    running(fleet, id)?;
    let now = fleet.now;
    if let Some(upgrade) = fleet.upgrades.get_mut(&id)
        && let Some(since) = upgrade.paused.take()
    {
        // A pause freezes the deadlines; resuming arms them anew with what was left.
        let pause = now.since(since);
        upgrade.due = upgrade.due.after(pause);
        for wave in &mut upgrade.waves {
            wave.moved = wave.moved.after(pause).min(now);
        }
        upgrade.reason = None;
    }
    Ok(Outcome::Upgrade(id))
}

pub(super) fn abort(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    id: UpgradeId,
    reason: &str,
) -> Result<Outcome, Problem> {
    if !fleet.upgrades.get(&id).is_some_and(|upgrade| waits_to_go_back(fleet, upgrade)) {
        running(fleet, id)?;
    }
    stop(fleet, id, reason);
    super::rollback::return_unstarted(fleet, context, id);
    advance_all(fleet);
    Ok(Outcome::Upgrade(id))
}

/// Returns whether a rollback has nothing under way. It may wait for capacity that never comes, or
/// for a node that a person must repair; leaving things as they are is then the only way on.
fn waits_to_go_back(fleet: &Fleet, upgrade: &Upgrade) -> bool {
    let service = &upgrade.plan.service;
    let at_rest = |(node, stage): (&NodeId, &Stage)| match stage {
        Stage::Confirmed { .. } => {
            fleet.nodes.get(node).is_none_or(|record| !record.drained.contains(service))
        }
        Stage::Reverting { .. } => false,
        _ => stage.touched_by().is_none(),
    };
    let mut nodes = upgrade.waves.iter().flat_map(|wave| &wave.nodes);
    upgrade.phase == UpgradePhase::RollingBack && nodes.all(at_rest)
}

/// Lets an upgrade begin nothing more.
pub(super) fn stop(fleet: &mut Fleet, id: UpgradeId, reason: &str) {
    if let Some(upgrade) = fleet.upgrades.get_mut(&id).filter(|u| !u.phase.is_final()) {
        upgrade.phase = UpgradePhase::Aborting;
        upgrade.paused = None;
        upgrade.reason = Some(reason.to_owned());
    }
}

pub(super) fn stage(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    id: UpgradeId,
    wave: usize,
    nodes: &[NodeId],
) -> Result<Outcome, Problem> {
    let upgrade = running(fleet, id)?;
    let order = order(upgrade, id);
    for node in nodes {
        if stage_of(fleet, id, wave, node) != Some(&Stage::Waiting) {
            continue;
        }
        let Some(target) = fleet.upgrades[&id].target_of(node).cloned() else { continue };
        let kind = ActionKind::Stage { target };
        if let Some(action) = commit_action(fleet, context, &order, node, kind) {
            set_stage(fleet, id, wave, node, Stage::Staging { action });
        }
    }
    Ok(Outcome::Upgrade(id))
}

pub(super) fn skip(
    fleet: &mut Fleet,
    id: UpgradeId,
    wave: usize,
    nodes: &BTreeMap<NodeId, String>,
) -> Result<Outcome, Problem> {
    running(fleet, id)?;
    for (node, reason) in nodes {
        let untouched = matches!(
            stage_of(fleet, id, wave, node),
            Some(Stage::Waiting | Stage::Staging { .. } | Stage::Staged)
        );
        let ungranted = fleet.upgrades[&id].waves[wave].grant.is_none();
        if untouched && ungranted {
            set_stage(fleet, id, wave, node, Stage::Skipped { reason: reason.clone() });
        }
    }
    advance_all(fleet);
    Ok(Outcome::Upgrade(id))
}

pub(super) fn settle(fleet: &mut Fleet, id: UpgradeId, wave: usize) -> Result<Outcome, Problem> {
    let now = fleet.now;
    let upgrade = fleet.upgrades.get_mut(&id).ok_or_else(|| no_upgrade(id))?;
    if let Some(wave) = upgrade.waves.get_mut(wave)
        && wave.drained_at.is_some()
        && wave.settled.is_none()
    {
        wave.settled = Some(now);
        wave.moved = now;
    }
    Ok(Outcome::Upgrade(id))
}

/// Commits the switch of every node of a granted, settled wave.
pub(super) fn switch(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    id: UpgradeId,
    wave: usize,
) -> Result<Outcome, Problem> {
    let upgrade = running(fleet, id)?;
    let ready = upgrade.waves.get(wave).filter(|w| w.grant.is_some() && w.settled.is_some());
    let Some(record) = ready else {
        return Err(Problem::new(Code::Conflict, format!("wave {wave} of {id} is not drained")));
    };
    let actions: Vec<(NodeId, ActionKind)> = staged(fleet, record, &upgrade.plan.service)
        .into_iter()
        .filter_map(|node| Some((node.clone(), way_to_target(fleet, upgrade, &node)?)))
        .collect();
    let order = order(upgrade, id);
    for (node, kind) in actions {
        if let Some(switch) = commit_action(fleet, context, &order, &node, kind) {
            set_stage(fleet, id, wave, &node, Stage::Switching { switch });
        }
    }
    Ok(Outcome::Upgrade(id))
}

/// Returns the action that brings a node to where the upgrade wants it.
fn way_to_target(fleet: &Fleet, upgrade: &Upgrade, node: &NodeId) -> Option<ActionKind> {
    let gates = &upgrade.plan.gates;
    let service = &upgrade.plan.service;
    let expected = fleet.recorded(node, service);
    let in_flight = in_flight(fleet, service);
    if upgrade.plan.operation == Operation::Stop {
        return Some(ActionKind::Halt(Halt { expected, drain: gates.drain, in_flight }));
    }
    Some(ActionKind::Switch(Switch {
        target: upgrade.target_of(node)?.clone(),
        expected,
        drain: gates.drain,
        in_flight,
        // The confirm follows the bake at once; a step's deadline more covers a change of leader.
        revert_after: Span(gates.bake.0 + gates.step_deadline.0),
        recreate: upgrade.plan.operation == Operation::Recreate,
        stopped: upgrade.stopped.contains(node),
    }))
}

/// Commits the confirm of every node of a wave that is up.
pub(super) fn confirm(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    id: UpgradeId,
    wave: usize,
) -> Result<Outcome, Problem> {
    let now = fleet.now;
    let upgrade = fleet.upgrades.get(&id).ok_or_else(|| no_upgrade(id))?;
    let forward = matches!(upgrade.phase, UpgradePhase::Running | UpgradePhase::Aborting);
    let baked = upgrade
        .waves
        .get(wave)
        .filter(|_| forward)
        .and_then(|wave| wave.baking)
        .is_some_and(|since| now.since(since) >= upgrade.plan.gates.bake);
    if !baked {
        return Err(Problem::new(Code::Conflict, format!("wave {wave} of {id} has not baked")));
    }
    let order = order(upgrade, id);
    let up: Vec<_> = upgrade.waves[wave]
        .nodes
        .iter()
        .filter_map(|(node, stage)| match stage {
            Stage::Up { switch } => Some((node.clone(), *switch)),
            _ => None,
        })
        .collect();
    for (node, switch) in up {
        let kind = ActionKind::Confirm { of: switch };
        if let Some(confirm) = commit_action(fleet, context, &order, &node, kind) {
            set_stage(fleet, id, wave, &node, Stage::Confirming { switch, confirm });
        }
    }
    Ok(Outcome::Upgrade(id))
}

/// Returns what the actions of an upgrade have in common.
pub(super) fn order(upgrade: &Upgrade, id: UpgradeId) -> Order {
    Order {
        upgrade: id,
        service: upgrade.plan.service.clone(),
        deadline: upgrade.plan.gates.step_deadline,
    }
}

/// Returns the URL at which a service tells its work in flight.
pub(super) fn in_flight(fleet: &Fleet, service: &ServiceId) -> Option<String> {
    fleet.services.get(service)?.manifest.traffic.as_ref()?.in_flight.clone()
}

/// Returns the nodes of a wave that are about to be switched: staged, and out of traffic.
fn staged(fleet: &Fleet, wave: &WaveRecord, service: &ServiceId) -> Vec<NodeId> {
    let drained =
        |node: &NodeId| fleet.nodes.get(node).is_some_and(|node| node.drained.contains(service));
    wave.nodes
        .iter()
        .filter(|(node, stage)| **stage == Stage::Staged && drained(node))
        .map(|(node, _)| node.clone())
        .collect()
}

/// Returns the stage of a node in a wave.
pub(super) fn stage_of<'a>(
    fleet: &'a Fleet,
    id: UpgradeId,
    wave: usize,
    node: &NodeId,
) -> Option<&'a Stage> {
    fleet.upgrades.get(&id)?.waves.get(wave)?.nodes.get(node)
}

/// Moves a node of a wave to another stage.
pub(super) fn set_stage(fleet: &mut Fleet, id: UpgradeId, wave: usize, node: &NodeId, to: Stage) {
    let now = fleet.now;
    if let Some(wave) = fleet.upgrades.get_mut(&id).and_then(|u| u.waves.get_mut(wave)) {
        wave.moved = now;
        wave.nodes.insert(node.clone(), to);
    }
}

/// Draws the consequences of changed stages: bakes begin, grants are released, upgrades end.
pub(super) fn advance_all(fleet: &mut Fleet) {
    let open: Vec<UpgradeId> =
        fleet.upgrades.iter().filter(|(_, u)| !u.phase.is_final()).map(|(id, _)| *id).collect();
    for id in open {
        advance(fleet, id);
    }
}

fn advance(fleet: &mut Fleet, id: UpgradeId) {
    let Fleet { upgrades, nodes, drains, now, .. } = &mut *fleet;
    let Some(upgrade) = upgrades.get_mut(&id) else { return };
    let service = &upgrade.plan.service;
    let forward = upgrade.phase != UpgradePhase::RollingBack;
    // An operator keeps clients away, whatever the upgrade does there.
    let by_choice = |node: &NodeId| {
        let region = nodes.get(node).map(|record| Place::Region(record.region.clone()));
        drains.contains_key(&Place::Node(node.clone()))
            || region.is_some_and(|region| drains.contains_key(&region))
    };
    let drained =
        |node: &NodeId| nodes.get(node).is_some_and(|node| node.drained.contains(service));
    let mut proven = Vec::new();
    for wave in &mut upgrade.waves {
        // What was given back before it began asks again later; the rest of its wave goes on.
        let given_back =
            |node: &NodeId, stage: &Stage| matches!(stage, Stage::Staged) && !drained(node);
        let up = |stage: &Stage| matches!(stage, Stage::Up { .. });
        let through = |(node, stage): (&NodeId, &Stage)| {
            given_back(node, stage)
                || matches!(
                    stage,
                    Stage::Up { .. }
                        | Stage::Confirming { .. }
                        | Stage::Confirmed { .. }
                        | Stage::Stopped { .. }
                        | Stage::Skipped { .. }
                        | Stage::Failed { .. }
                        | Stage::Reverted
                )
        };
        // What was never drained has nobody up: no need to look at its nodes.
        if wave.baking.is_none()
            && wave.drained_at.is_some()
            && wave.hints.coming.all(&wave.nodes, through)
            && wave.nodes.values().any(up)
        {
            wave.baking = Some(*now);
            wave.moved = *now;
        }
        // A granted wave that has not begun is at rest too, but its grant is about to be used.
        let at_rest = |(node, stage): (&NodeId, &Stage)| match stage {
            Stage::Staged => given_back(node, stage),
            // Drained, it was taken back and waits for its revert.
            Stage::Confirmed { .. } => !drained(node) || (forward && by_choice(node)),
            Stage::Reverting { .. } | Stage::Dirty { .. } => false,
            _ => stage.touched_by().is_none(),
        };
        if wave.grant.is_some()
            && wave.hints.resting.all(&wave.nodes, at_rest)
            && let Some(grant) = wave.grant.take()
        {
            proven.push(grant);
        }
    }
    end(fleet, id);
    for grant in proven {
        grant::prove(fleet, grant, "every node it took has reported its end");
    }
}

/// Ends an upgrade that has nothing more to do.
fn end(fleet: &mut Fleet, id: UpgradeId) {
    let now = fleet.now;
    let Some(upgrade) = fleet.upgrades.get_mut(&id) else { return };
    let phase = match upgrade.phase {
        // The last wave first: until it has passed there is no need to look at the others.
        UpgradePhase::Running => {
            let passed = |(_, stage): (&NodeId, &Stage)| stage.has_passed();
            let mut waves = upgrade.waves.iter_mut().rev();
            waves
                .all(|wave| wave.hints.passing.all(&wave.nodes, passed))
                .then_some(UpgradePhase::Succeeded)
        }
        UpgradePhase::Aborting | UpgradePhase::RollingBack => stopped(upgrade),
        _ => None,
    };
    let Some(phase) = phase else { return };
    upgrade.phase = phase;
    upgrade.ended = Some(now);
    upgrade.paused = None;
    let (service, version) = (upgrade.plan.service.clone(), upgrade.plan.to.clone());
    if phase == UpgradePhase::Succeeded
        && let Some(version) = version
        && let Some(release) = fleet.releases.get_mut(&service).and_then(|r| r.get_mut(&version))
    {
        release.good = true;
    }
    forget(fleet, &service);
}

/// Returns how an upgrade ends that does not go forward, once nothing of it is under way.
fn stopped(upgrade: &Upgrade) -> Option<UpgradePhase> {
    let any = |wanted: fn(&Stage) -> bool| {
        upgrade.waves.iter().flat_map(|wave| wave.nodes.values()).any(wanted)
    };
    let dirty = |stage: &Stage| matches!(stage, Stage::Dirty { .. });
    let reverting = |stage: &Stage| matches!(stage, Stage::Reverting { .. });
    let touched = |stage: &Stage| stage.touched_by().is_some();
    let moving = |stage: &Stage| {
        matches!(stage, Stage::Switching { .. } | Stage::Up { .. } | Stage::Confirming { .. })
    };
    let aborting = upgrade.phase == UpgradePhase::Aborting;
    if any(if aborting { moving } else { touched }) || any(reverting) {
        return None;
    }
    if any(dirty) {
        return Some(UpgradePhase::RollbackFailed);
    }
    if !aborting {
        return Some(UpgradePhase::RolledBack);
    }
    let granted = upgrade.waves.iter().any(|wave| wave.grant.is_some());
    (!granted).then_some(UpgradePhase::Aborted)
}

/// Forgets the oldest ended upgrades of a service.
fn forget(fleet: &mut Fleet, service: &ServiceId) {
    let ended: Vec<UpgradeId> = fleet
        .upgrades
        .iter()
        .filter(|(_, u)| u.plan.service == *service && u.phase.is_final())
        .map(|(id, _)| *id)
        .collect();
    for id in ended.iter().take(ended.len().saturating_sub(ENDED_MAX)) {
        fleet.upgrades.remove(id);
    }
}
