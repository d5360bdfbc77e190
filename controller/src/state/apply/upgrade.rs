//! Applies an upgrade's way forward: start, stage, switch, bake, confirm, end.
//!
//! ```text
//!  node:  Waiting ▶ Staging ▶ Staged ▶ Switching ▶ Up ▶ Confirming ▶ Confirmed
//!                                        │          │
//!                                        ▼          ▼            (rollback.rs)
//!                                      Failed ▶ Reverting ▶ Reverted | Dirty
//! ```

use std::collections::BTreeMap;

use trireme_proto::action::{ActionKind, Switch};
use trireme_proto::id::{NodeId, ServiceId, UpgradeId};
use trireme_proto::plan::{Plan, PlanId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;
use trireme_proto::view::UpgradePhase;

use super::{Context, Order, commit_action, grant, no_upgrade};
use crate::state::command::{Evidence, Outcome};
use crate::state::fleet::{Class, Fleet, Stage, Upgrade, WaveRecord};
use crate::state::hints::Hints;
use crate::state::ledger::{Ask, judge};
use crate::state::waves;

/// Ended upgrades of one service that are kept for people to look at.
const ENDED_MAX: usize = 100;

pub(super) fn start(
    fleet: &mut Fleet,
    context: &Context<'_>,
    id: &PlanId,
    evidence: &Evidence,
) -> Result<Outcome, Problem> {
    if let Some((holder, upgrade)) = fleet.active_upgrade(&id.service) {
        return Err(Problem::new(
            Code::Conflict,
            format!("service {} is being upgraded by {holder}", id.service),
        )
        .because(format!("{} started it, to {}", upgrade.actor, upgrade.plan.to))
        .hint(format!("watch it: trictl upgrade watch {holder}")));
    }
    let plan = waves::plan(fleet, &id.service, &id.version)?;
    if plan.id() != *id {
        return Err(Problem::new(
            Code::Conflict,
            format!("plan {id} is stale: it is now {}", plan.id()),
        )
        .because("the service, its release or its nodes changed after the plan was printed")
        .hint(format!(
            "look at the new one: trictl upgrade plan {} --to {}",
            id.service, id.version
        )));
    }
    drift(fleet, evidence, &plan)?;
    let upgrade = record(fleet, context, plan)?;
    if let Some(wave) = upgrade.current_wave() {
        let takes = upgrade.waves[wave]
            .nodes
            .iter()
            .filter(|(_, stage)| **stage == Stage::Waiting)
            .map(|(node, _)| (node.clone(), id.service.clone()))
            .collect();
        judge(fleet, evidence, Ask { class: Class::Upgrade, takes: &takes, within: None })?;
    }
    let id = UpgradeId(fleet.take_id());
    fleet.upgrades.insert(id, upgrade);
    advance_all(fleet);
    Ok(Outcome::Upgrade(id))
}

/// Refuses while a node runs something that nobody recorded.
fn drift(fleet: &Fleet, evidence: &Evidence, plan: &Plan) -> Result<(), Problem> {
    for (node, recorded) in &plan.previous {
        let Some(seen) = evidence.nodes.get(node) else { continue };
        let Some((_, running)) = seen.services.get(&plan.service) else { continue };
        let unfinished = fleet.nodes.get(node).is_some_and(|n| !n.acknowledges(seen.generation));
        if running != recorded && !unfinished {
            let text = |digest: &Option<_>| {
                digest.as_ref().map_or("nothing".to_owned(), trireme_proto::digest::Digest::short)
            };
            return Err(Problem::new(
                Code::Conflict,
                format!("node {node} runs {} where {} was recorded", text(running), text(recorded)),
            )
            .because("a rollback could not return to what nobody recorded")
            .hint(format!("look at it: trictl describe node {node}")));
        }
    }
    Ok(())
}

/// Makes the record of a new upgrade.
fn record(fleet: &Fleet, context: &Context<'_>, plan: Plan) -> Result<Upgrade, Problem> {
    let target = fleet.run_spec(&plan.service, &plan.to).ok_or_else(|| {
        Problem::new(Code::NotFound, format!("service {} has no release {}", plan.service, plan.to))
    })?;
    let now = fleet.now;
    let previous = plan
        .previous
        .keys()
        .map(|node| {
            let installed = fleet.nodes.get(node).and_then(|n| n.installed.get(&plan.service));
            (node.clone(), installed.cloned())
        })
        .collect();
    let waves = plan
        .waves
        .iter()
        .map(|wave| WaveRecord {
            grant: None,
            drained_at: None,
            settled: None,
            baking: None,
            moved: now,
            nodes: wave
                .nodes
                .iter()
                .map(|node| {
                    let runs_it = plan.previous.get(node) == Some(&Some(plan.target));
                    let stage = if runs_it {
                        Stage::Skipped { reason: format!("runs {} already", plan.to) }
                    } else {
                        Stage::Waiting
                    };
                    (node.clone(), stage)
                })
                .collect(),
            hints: Hints::default(),
        })
        .collect();
    Ok(Upgrade {
        due: now.after(plan.gates.fleet_deadline),
        target,
        previous,
        phase: UpgradePhase::Running,
        paused: None,
        reason: None,
        actor: context.command.actor.subject.clone(),
        started_at: context.command.wall,
        started: now,
        ended: None,
        waves,
        plan,
    })
}

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
    let target = upgrade.target.clone();
    let order = order(upgrade, id);
    for node in nodes {
        if stage_of(fleet, id, wave, node) != Some(&Stage::Waiting) {
            continue;
        }
        let kind = ActionKind::Stage { target: target.clone() };
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
    let nodes: Vec<NodeId> = staged(fleet, record, &upgrade.plan.service);
    let order = order(upgrade, id);
    let template = Switch {
        target: upgrade.target.clone(),
        expected: None,
        drain: upgrade.plan.gates.drain,
        in_flight: in_flight(fleet, &order.service),
        // The confirm follows the bake at once; a step's deadline more covers a change of leader.
        revert_after: Span(upgrade.plan.gates.bake.0 + upgrade.plan.gates.step_deadline.0),
    };
    for node in nodes {
        let expected = fleet.recorded(&node, &order.service);
        let kind = ActionKind::Switch(Switch { expected, ..template.clone() });
        if let Some(switch) = commit_action(fleet, context, &order, &node, kind) {
            set_stage(fleet, id, wave, &node, Stage::Switching { switch });
        }
    }
    Ok(Outcome::Upgrade(id))
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
    let Fleet { upgrades, nodes, now, .. } = &mut *fleet;
    let Some(upgrade) = upgrades.get_mut(&id) else { return };
    let service = &upgrade.plan.service;
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
            Stage::Confirmed { .. } => !drained(node),
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
