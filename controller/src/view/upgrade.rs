//! Upgrades and plans as operators see them.

use trireme_proto::action::Progress;
use trireme_proto::id::{NodeId, RegionId, ServiceId, UpgradeId, Version};
use trireme_proto::plan::{Operation, Plan, Scope};
use trireme_proto::problem::Problem;
use trireme_proto::time::Span;
use trireme_proto::view::{PlanView, Reason, UpgradePhase, UpgradeView, WaveNode, WaveView};

use super::Lens;
use crate::state::fleet::{Stage, Upgrade, WaveRecord};
use crate::state::waves;

/// Returns one upgrade.
pub fn upgrade(lens: Lens<'_>, id: UpgradeId, upgrade: &Upgrade) -> UpgradeView {
    let waves = upgrade
        .waves
        .iter()
        .zip(&upgrade.plan.waves)
        .map(|(record, planned)| wave(lens, upgrade, record, &planned.region))
        .collect();
    UpgradeView {
        id,
        plan: upgrade.plan.id(),
        service: upgrade.plan.service.clone(),
        operation: upgrade.plan.operation,
        to: upgrade.plan.to.clone(),
        phase: upgrade.phase,
        paused: upgrade.paused.is_some(),
        reason: upgrade.reason.clone(),
        started_by: upgrade.actor.clone(),
        started_at: upgrade.started_at,
        started: upgrade.started,
        ended: upgrade.ended,
        waves,
        required_wait: upgrade.plan.required_wait(),
        waiting: waiting(lens, id, upgrade),
    }
}

/// Returns what an upgrade waits for; never empty while it has not ended.
fn waiting(lens: Lens<'_>, id: UpgradeId, upgrade: &Upgrade) -> Vec<Reason> {
    if upgrade.phase.is_final() {
        return Vec::new();
    }
    let told = lens.waiting.get(&id).cloned().unwrap_or_default();
    if !told.is_empty() {
        return told;
    }
    vec![Reason {
        predicate: "leader.decides".to_owned(),
        evidence: "the leader has just been given something new to look at".to_owned(),
        unblock: "the leader, at once; if not: trictl controller status".to_owned(),
    }]
}

fn wave(lens: Lens<'_>, upgrade: &Upgrade, record: &WaveRecord, region: &RegionId) -> WaveView {
    let nodes = record
        .nodes
        .iter()
        .map(|(node, stage)| (node.clone(), wave_node(lens, node, stage)))
        .collect();
    let (state, remaining) = state_of(lens, upgrade, record);
    WaveView {
        region: region.clone(),
        state: state.to_owned(),
        grant: record.grant,
        remaining,
        nodes,
    }
}

fn state_of(lens: Lens<'_>, upgrade: &Upgrade, wave: &WaveRecord) -> (&'static str, Option<Span>) {
    let any = |wanted: fn(&Stage) -> bool| wave.nodes.values().any(wanted);
    let left = |from: Option<_>, span: Span| {
        from.map(|from| Span(span.0.saturating_sub(lens.now.since(from).0)))
    };
    let gates = &upgrade.plan.gates;
    if any(|s| matches!(s, Stage::Dirty { .. })) {
        ("needs a person", None)
    } else if any(|s| matches!(s, Stage::Reverting { .. })) {
        ("rolling back", None)
    } else if any(|s| matches!(s, Stage::Reverted)) {
        ("rolled back", None)
    } else if wave.has_passed() {
        ("passed", None)
    } else if upgrade.phase == UpgradePhase::RollingBack && any(|s| s.touched_by().is_some()) {
        ("to roll back", None)
    } else if any(|s| matches!(s, Stage::Confirming { .. })) {
        ("confirming", None)
    } else if any(|s| matches!(s, Stage::Switching { .. })) {
        ("switching", None)
    } else if wave.baking.is_some() {
        ("baking", left(wave.baking, gates.bake))
    } else if wave.grant.is_some() {
        ("draining", left(wave.settled, gates.ttl))
    } else if any(|s| matches!(s, Stage::Staging { .. })) {
        ("staging", None)
    } else {
        ("waiting", None)
    }
}

fn wave_node(lens: Lens<'_>, node: &NodeId, stage: &Stage) -> WaveNode {
    let action = lens.fleet.nodes.get(node).and_then(|node| node.action.as_ref());
    let step = action.and_then(|action| match &action.progress {
        Some(Progress::Running { step }) => Some(step.to_string()),
        _ => None,
    });
    let reason = match stage {
        Stage::Failed { reason, .. } | Stage::Dirty { reason, .. } | Stage::Skipped { reason } => {
            Some(reason.clone())
        }
        _ => None,
    };
    WaveNode { stage: stage.word().to_owned(), step, reason }
}

/// Returns the plan of an upgrade with the proof that the promise is kept; whether it could begin
/// this moment is for the leader to say.
pub fn plan(lens: Lens<'_>, service: &ServiceId, version: &Version) -> Result<PlanView, Problem> {
    Ok(planned(lens, waves::plan(lens.fleet, service, version)?))
}

/// Returns the plan of what an operator asks of a service as it is.
pub fn operation(
    lens: Lens<'_>,
    service: &ServiceId,
    operation: Operation,
    scope: &Scope,
) -> Result<PlanView, Problem> {
    Ok(planned(lens, waves::operation(lens.fleet, service, operation, scope)?))
}

fn planned(lens: Lens<'_>, plan: Plan) -> PlanView {
    let service = &plan.service;
    let manifest = &lens.fleet.services[service].manifest;
    let all: Vec<RegionId> = lens.fleet.placement(manifest).into_keys().collect();
    let keeps_serving = plan
        .waves
        .iter()
        .map(|wave| {
            let spared = spared(lens, &plan, &wave.nodes, &wave.region) >= manifest.serving.nodes;
            all.iter().filter(|region| spared || **region != wave.region).cloned().collect()
        })
        .collect();
    let installed = |node: &NodeId| {
        let spec = lens.fleet.nodes.get(node)?.installed.get(service)?;
        Some(spec.release.version.to_string())
    };
    let unchanged: Vec<NodeId> = plan
        .previous
        .iter()
        .filter(|(_, digest)| plan.target.is_some() && **digest == plan.target)
        .map(|(node, _)| node.clone())
        .collect();
    PlanView {
        id: plan.id(),
        from: plan.previous.keys().map(|node| (node.clone(), installed(node))).collect(),
        at_least: lens.fleet.at_least(manifest),
        keeps_serving,
        required_wait: plan.required_wait(),
        warnings: warnings(lens, &plan),
        blocked: Vec::new(),
        unchanged,
        plan,
    }
}

/// Returns how many nodes of a region a wave leaves alone.
fn spared(lens: Lens<'_>, plan: &Plan, taken: &[NodeId], region: &RegionId) -> u32 {
    let in_region =
        |node: &&NodeId| lens.fleet.nodes.get(*node).is_some_and(|n| n.region == *region);
    let all = plan.previous.keys().filter(in_region).count();
    u32::try_from(all.saturating_sub(taken.len())).unwrap_or(u32::MAX)
}

fn warnings(lens: Lens<'_>, plan: &Plan) -> Vec<String> {
    let manifest = &lens.fleet.services[&plan.service].manifest;
    let mut warnings = Vec::new();
    if manifest.serving.at_least == Some(0) {
        warnings
            .push("serving.at_least is 0: the service may be down everywhere at once".to_owned());
    }
    if manifest.checks.is_empty() {
        warnings.push("no checks: a process that runs counts as healthy".to_owned());
    }
    if manifest.traffic.is_none() {
        warnings
            .push("no traffic section: clients are not led away before a node stops".to_owned());
    }
    for (node, why) in &plan.aside {
        warnings.push(format!("node {node} is left as it is: {why}"));
    }
    if plan.gates.bake == Span(0) && plan.operation.is_upgrade() {
        warnings.push("upgrade.bake.region is 0: nothing is watched after a region".to_owned());
    }
    warnings
}
