//! I18: taking what is freshly known to serve nothing takes nothing, so no rule may refuse it.

use trireme_controller::state::fleet::{Fleet, Stage};
use trireme_controller::state::{Body, Evidence, Outcome};
use trireme_proto::id::NodeId;
use trireme_proto::view::UpgradePhase;

use super::{Look, Moment, Pair, evidence_of, is_proven_down};
use crate::sim::World;

#[derive(Debug, Default)]
pub(super) struct Restoring;

impl Look for Restoring {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Committed(committed) => {
                let Outcome::Refused(problem) = &committed.reply.outcome else { return Ok(()) };
                let by_ledger = problem.rule.as_deref().is_some_and(|rule| rule != "clock.skew");
                let body = &committed.command.body;
                let (Some(evidence), true) = (evidence_of(body), by_ledger) else { return Ok(()) };
                let pairs = asked_for(&world.log.fleet, body);
                if !pairs.is_empty() && all_down(evidence, &pairs) {
                    return Err(format!("{pairs:?} serve nothing, yet: {}", problem.message));
                }
                Ok(())
            }
            Moment::Decided { controller, decision, now, in_flight: false } => {
                let controller = &world.controllers[*controller];
                let Some(lead) = &controller.lead else { return Ok(()) };
                let evidence = lead.presence.evidence(*now);
                for (id, upgrade) in &controller.fleet.upgrades {
                    if upgrade.phase != UpgradePhase::RollingBack || !decision.proposals.is_empty()
                    {
                        continue;
                    }
                    let refused = decision.waiting.get(id).into_iter().flatten();
                    if !refused.into_iter().any(|reason| reason.predicate.starts_with("serving.")) {
                        continue;
                    }
                    if let Some(node) = free_to_restore(&controller.fleet, &evidence, *id) {
                        return Err(format!("{id} waits for the ledger though {node} is down"));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn all_down(evidence: &Evidence, pairs: &[Pair]) -> bool {
    pairs.iter().all(|pair| is_proven_down(evidence, pair))
}

/// Returns what a refused command wanted to take.
fn asked_for(fleet: &Fleet, body: &Body) -> Vec<Pair> {
    match body {
        Body::Grant { upgrade, wave, .. } => {
            let Some(upgrade) = fleet.upgrades.get(upgrade) else { return Vec::new() };
            let staged = upgrade.waves[*wave].nodes.iter().filter(|(_, s)| **s == Stage::Staged);
            staged.map(|(node, _)| (node.clone(), upgrade.plan.service.clone())).collect()
        }
        Body::TakeBack { upgrade, nodes, .. } => {
            let Some(upgrade) = fleet.upgrades.get(upgrade) else { return Vec::new() };
            nodes.iter().map(|node| (node.clone(), upgrade.plan.service.clone())).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns a touched node of the wave that goes back next which is in traffic by name only.
fn free_to_restore(
    fleet: &Fleet,
    evidence: &Evidence,
    id: trireme_proto::id::UpgradeId,
) -> Option<NodeId> {
    let upgrade = fleet.upgrades.get(&id)?;
    let open =
        |stage: &Stage| stage.touched_by().is_some() || matches!(stage, Stage::Reverting { .. });
    let wave = upgrade.waves.iter().rev().find(|wave| wave.nodes.values().any(open))?;
    let service = &upgrade.plan.service;
    wave.nodes
        .iter()
        .filter(|(_, stage)| stage.touched_by().is_some())
        .map(|(node, _)| node)
        // What is out of traffic already is on its way.
        .filter(|node| !fleet.nodes.get(*node).is_some_and(|n| n.drained.contains(service)))
        .find(|node| is_proven_down(evidence, &((*node).clone(), service.clone())))
        .cloned()
}
