//! Applies the start of an upgrade: of a release that was planned, or of what an operator asks of a
//! service as it is.

use std::collections::BTreeSet;

use trireme_proto::action::ServiceState;
use trireme_proto::id::{NodeId, ServiceId, UpgradeId};
use trireme_proto::plan::{Operation, Plan, PlanId, Scope};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::UpgradePhase;

use super::upgrade::advance_all;
use super::{Context, approval};
use crate::state::command::{Evidence, Outcome};
use crate::state::fleet::{Fleet, Stage, Upgrade, WaveRecord};
use crate::state::hints::Hints;
use crate::state::ledger::{Ask, Pair, judge};
use crate::state::waves;

/// Starts a change of release exactly as it was planned.
pub(super) fn start(
    fleet: &mut Fleet,
    context: &Context<'_>,
    id: &PlanId,
    evidence: &Evidence,
) -> Result<Outcome, Problem> {
    alone(fleet, &id.service)?;
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
    if let Err(waiting) = approval::gate(fleet, context, &plan, None) {
        return Ok(waiting);
    }
    let started = begin(fleet, context, plan, "", evidence)?;
    approval::use_up(fleet, id);
    Ok(started)
}

/// Starts what an operator asks of a service as it is: a restart, a stop, a start.
pub(super) fn operate(
    fleet: &mut Fleet,
    context: &Context<'_>,
    (service, operation): (&ServiceId, Operation),
    scope: &Scope,
    reason: &str,
    evidence: &Evidence,
) -> Result<Outcome, Problem> {
    alone(fleet, service)?;
    let plan = waves::operation(fleet, service, operation, scope)?;
    let id = plan.id();
    let asked = Some((operation, scope.clone()));
    if let Err(waiting) = approval::gate(fleet, context, &plan, asked) {
        return Ok(waiting);
    }
    let started = begin(fleet, context, plan, reason, evidence)?;
    approval::use_up(fleet, &id);
    Ok(started)
}

/// Refuses while something else is done to the service.
fn alone(fleet: &Fleet, service: &ServiceId) -> Result<(), Problem> {
    let Some((holder, upgrade)) = fleet.active_upgrade(service) else { return Ok(()) };
    let done = upgrade.plan.operation.participle();
    let to = upgrade.plan.to.as_ref().map(|to| format!(", to {to}")).unwrap_or_default();
    Err(Problem::new(Code::Conflict, format!("service {service} is being {done} by {holder}"))
        .because(format!("{} started it{to}", upgrade.actor))
        .hint(format!("watch it: trictl upgrade watch {holder}")))
}

fn begin(
    fleet: &mut Fleet,
    context: &Context<'_>,
    plan: Plan,
    reason: &str,
    evidence: &Evidence,
) -> Result<Outcome, Problem> {
    drift(fleet, evidence, &plan)?;
    let upgrade = record(fleet, context, plan, reason, evidence)?;
    let takes = first_takes(&upgrade);
    judge(fleet, evidence, Ask::new(upgrade.class(), &takes))?;
    let id = UpgradeId(fleet.take_id());
    fleet.upgrades.insert(id, upgrade);
    advance_all(fleet);
    Ok(Outcome::Upgrade(id))
}

/// Returns what must be to be had at the start: the first wave, for the others return; of what
/// stays down all of it.
fn first_takes(upgrade: &Upgrade) -> BTreeSet<Pair> {
    let waves = match upgrade.plan.operation {
        Operation::Stop => upgrade.waves.as_slice(),
        _ => upgrade.current_wave().map_or(&[][..], |wave| &upgrade.waves[wave..=wave]),
    };
    waves
        .iter()
        .flat_map(|wave| &wave.nodes)
        .filter(|(_, stage)| **stage == Stage::Waiting)
        .map(|(node, _)| (node.clone(), upgrade.plan.service.clone()))
        .collect()
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
fn record(
    fleet: &Fleet,
    context: &Context<'_>,
    plan: Plan,
    reason: &str,
    evidence: &Evidence,
) -> Result<Upgrade, Problem> {
    let target = match &plan.to {
        None => None,
        Some(version) => Some(fleet.run_spec(&plan.service, version).ok_or_else(|| {
            let message = format!("service {} has no release {version}", plan.service);
            Problem::new(Code::NotFound, message)
        })?),
    };
    let now = fleet.now;
    let previous = plan
        .previous
        .keys()
        .map(|node| {
            let installed = fleet.nodes.get(node).and_then(|n| n.installed.get(&plan.service));
            (node.clone(), installed.cloned())
        })
        .collect();
    let is_stopped = |node: &&NodeId| {
        fleet.nodes.get(*node).is_some_and(|record| record.stopped.contains(&plan.service))
    };
    let stopped = plan.previous.keys().filter(is_stopped).cloned().collect();
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
                .map(|node| (node.clone(), first_stage(fleet, &plan, node, evidence)))
                .collect(),
            hints: Hints::default(),
        })
        .collect();
    Ok(Upgrade {
        due: now.after(plan.gates.fleet_deadline),
        target,
        previous,
        stopped,
        phase: UpgradePhase::Running,
        paused: None,
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        actor: context.command.actor.subject.clone(),
        started_at: context.command.wall,
        started: now,
        ended: None,
        waves,
        plan,
    })
}

/// Returns where a node stands at the start: it waits, or there is nothing to do.
fn first_stage(fleet: &Fleet, plan: &Plan, node: &NodeId, evidence: &Evidence) -> Stage {
    let recorded = plan.previous.get(node).copied().flatten();
    let stopped = fleet.nodes.get(node).is_some_and(|n| n.stopped.contains(&plan.service));
    let serves = || {
        let seen = evidence.nodes.get(node).and_then(|seen| seen.services.get(&plan.service));
        seen.is_some_and(|(state, _)| *state == ServiceState::Serving)
    };
    let reason = match (plan.operation, &plan.to) {
        (Operation::Upgrade, Some(version)) if recorded == plan.target && !stopped => {
            format!("runs {version} already")
        }
        (Operation::Upgrade, _) => return Stage::Waiting,
        _ if recorded.is_none() => "nothing was ever installed".to_owned(),
        (Operation::Stop, _) if stopped => "stopped already".to_owned(),
        (Operation::Start, _) if serves() => "serves already".to_owned(),
        _ => return Stage::Waiting,
    };
    Stage::Skipped { reason }
}
