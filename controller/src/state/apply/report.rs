//! Applies what nodes say of their actions: each report once, in the order of its number.

use std::collections::BTreeSet;

use trireme_proto::action::{ActionKind, Progress, Report};
use trireme_proto::id::{ActionId, NodeId, ServiceId, UpgradeId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::UpgradePhase;

use super::upgrade::{advance_all, set_stage};
use super::{Context, drain, grant, rollback};
use crate::state::command::Outcome;
use crate::state::fleet::{Fleet, Stage};

pub(super) fn reports(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    node: &NodeId,
    incarnation: &str,
    reports: &[Report],
) -> Result<Outcome, Problem> {
    let record = fleet
        .nodes
        .get(node)
        .filter(|record| !record.removed)
        .ok_or_else(|| Problem::new(Code::NotFound, format!("there is no node {node}")))?;
    if record.incarnation != incarnation {
        return Err(Problem::new(
            Code::Denied,
            format!("node {node} runs on another disk than the one that joined"),
        )
        .hint(format!(
            "remove it and join under a new name: trictl node remove {node} --reason WHY --confirm {node}"
        )));
    }
    for report in reports {
        let Some(record) = fleet.nodes.get_mut(node) else { break };
        if report.seq <= record.report_seq {
            continue;
        }
        record.report_seq = report.seq;
        one(fleet, context, node, report);
    }
    advance_all(fleet);
    // The agent waits for the word that its reports are committed.
    context.wake.insert(node.clone());
    Ok(Outcome::Done)
}

fn one(fleet: &mut Fleet, context: &mut Context<'_>, node: &NodeId, report: &Report) {
    let Some(record) = fleet.nodes.get_mut(node) else { return };
    let newest = record.action.as_mut().filter(|action| action.action.id == report.action);
    let Some(action) = newest.filter(|action| !action.is_final()) else {
        // Of an action that has ended or was superseded only one thing is still news.
        return went_alone(fleet, context, node, report);
    };
    action.progress = Some(report.progress.clone());
    let kind = action.action.kind.clone();
    let upgrade = action.action.upgrade;
    let Some(wave) = wave_of(fleet, upgrade, node) else { return };
    let place = Place { upgrade, wave, node: node.clone() };
    touch(fleet, &place);
    if report.progress.is_final() {
        ended(fleet, context, &place, report.action, &kind, &report.progress);
    }
}

/// A node in a wave of an upgrade.
#[derive(Debug, Clone)]
struct Place {
    upgrade: UpgradeId,
    wave: usize,
    node: NodeId,
}

fn wave_of(fleet: &Fleet, upgrade: UpgradeId, node: &NodeId) -> Option<usize> {
    fleet.upgrades.get(&upgrade)?.waves.iter().position(|wave| wave.nodes.contains_key(node))
}

fn touch(fleet: &mut Fleet, place: &Place) {
    let now = fleet.now;
    if let Some(upgrade) = fleet.upgrades.get_mut(&place.upgrade) {
        upgrade.waves[place.wave].moved = now;
    }
}

fn ended(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    place: &Place,
    action: ActionId,
    kind: &ActionKind,
    progress: &Progress,
) {
    let problem = match progress {
        Progress::FailedUndone { step, reason } | Progress::FailedDirty { step, reason } => {
            Some(format!("node {} failed at {step}: {reason}", place.node))
        }
        _ => None,
    };
    let dirty = matches!(progress, Progress::FailedDirty { .. });
    match (kind, problem) {
        (ActionKind::Stage { .. }, None) => set(fleet, place, Stage::Staged),
        (ActionKind::Stage { .. }, Some(reason)) => {
            set(fleet, place, Stage::Waiting);
            turn_back(fleet, context, place, &reason);
        }
        (ActionKind::Switch(switch), None) => {
            install(fleet, place, Some(switch.target.clone()));
            open(fleet, context, place, false);
            set(fleet, place, Stage::Up { switch: action });
        }
        (ActionKind::Halt(_), None) => {
            mark(fleet, place, true);
            set(fleet, place, Stage::Stopped { switch: action });
        }
        (ActionKind::Switch(_) | ActionKind::Halt(_), Some(reason)) => {
            let stage = if dirty {
                Stage::Dirty { switch: action, reason: reason.clone() }
            } else {
                Stage::Failed { switch: action, reason: reason.clone() }
            };
            set(fleet, place, stage);
            turn_back(fleet, context, place, &reason);
        }
        (ActionKind::Revert { previous, stopped, .. }, None) => {
            install(fleet, place, previous.clone());
            open(fleet, context, place, *stopped);
            // While the upgrade still goes forward, the switch was only called back.
            let forward = fleet.upgrades[&place.upgrade].phase == UpgradePhase::Running;
            set(fleet, place, if forward { Stage::Staged } else { Stage::Reverted });
            if forward {
                rollback::return_unstarted(fleet, context, place.upgrade);
            }
        }
        (ActionKind::Revert { of, .. }, Some(reason)) => {
            set(fleet, place, Stage::Dirty { switch: *of, reason: reason.clone() });
            turn_back(fleet, context, place, &reason);
        }
        (ActionKind::Confirm { of }, None) => {
            set(fleet, place, Stage::Confirmed { switch: *of });
            let service = fleet.upgrades[&place.upgrade].plan.service.clone();
            grant::repaired(fleet, &(place.node.clone(), service), place.upgrade);
        }
        (ActionKind::Confirm { of }, Some(reason)) => {
            set(fleet, place, Stage::Failed { switch: *of, reason: reason.clone() });
            turn_back(fleet, context, place, &reason);
        }
    }
}

/// A switch that was done was not confirmed in time: the node went back by itself, or tried to.
fn went_alone(fleet: &mut Fleet, context: &mut Context<'_>, node: &NodeId, report: &Report) {
    let switch = report.action;
    let place = fleet.upgrades.iter().find_map(|(id, upgrade)| {
        let wave = upgrade.waves.iter().position(|wave| {
            wave.nodes.get(node).is_some_and(|stage| stage.touched_by() == Some(switch))
        })?;
        Some(Place { upgrade: *id, wave, node: node.clone() })
    });
    let Some(place) = place else { return };
    let (stage, reason) = match &report.progress {
        Progress::RevertedAlone { reason } => {
            let previous = fleet.upgrades[&place.upgrade].previous.get(node).cloned().flatten();
            install(fleet, &place, previous);
            let stopped = fleet.upgrades[&place.upgrade].stopped.contains(node);
            mark(fleet, &place, stopped);
            let reason = format!("node {node} went back by itself: {reason}");
            (Stage::Failed { switch, reason: reason.clone() }, reason)
        }
        Progress::FailedDirty { step, reason } => {
            let reason = format!("node {node} could not go back by itself, at {step}: {reason}");
            (Stage::Dirty { switch, reason: reason.clone() }, reason)
        }
        _ => return,
    };
    set(fleet, &place, stage);
    turn_back(fleet, context, &place, &reason);
}

/// Turns the upgrade back, unless it goes back already or has ended.
fn turn_back(fleet: &mut Fleet, context: &mut Context<'_>, place: &Place, reason: &str) {
    let phase = fleet.upgrades.get(&place.upgrade).map(|upgrade| upgrade.phase);
    if matches!(phase, Some(UpgradePhase::Running | UpgradePhase::Aborting)) {
        rollback::turn_back(fleet, context, place.upgrade, reason);
    }
}

fn set(fleet: &mut Fleet, place: &Place, stage: Stage) {
    set_stage(fleet, place.upgrade, place.wave, &place.node, stage);
}

/// Records what runs on the node from now on.
fn install(fleet: &mut Fleet, place: &Place, spec: Option<trireme_proto::action::RunSpec>) {
    let Some(service) = service_of(fleet, place) else { return };
    if let Some(node) = fleet.nodes.get_mut(&place.node) {
        match spec {
            Some(spec) => node.installed.insert(service, spec),
            None => node.installed.remove(&service),
        };
    }
}

/// Records whether an operator has stopped the service there.
fn mark(fleet: &mut Fleet, place: &Place, stopped: bool) {
    let Some(service) = service_of(fleet, place) else { return };
    let Some(node) = fleet.nodes.get_mut(&place.node) else { return };
    if stopped {
        node.stopped.insert(service);
    } else {
        node.stopped.remove(&service);
    }
}

/// Sends clients to the node again: its gate has just proved it healthy, or it stays down and no
/// client is sent to what does not serve.
fn open(fleet: &mut Fleet, context: &mut Context<'_>, place: &Place, stopped: bool) {
    mark(fleet, place, stopped);
    let Some(service) = service_of(fleet, place) else { return };
    drain::reopen(fleet, context, &BTreeSet::from([(place.node.clone(), service)]));
}

fn service_of(fleet: &Fleet, place: &Place) -> Option<ServiceId> {
    fleet.upgrades.get(&place.upgrade).map(|upgrade| upgrade.plan.service.clone())
}
