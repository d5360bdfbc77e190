//! Applies what concerns the ledger: giving a grant, vouching anew, and ending one.

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::id::{ActionId, GrantId, NodeId, OverrideId, UpgradeId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;

use super::{Context, drain, no_upgrade, upgrade};
use crate::state::command::{Evidence, Outcome};
use crate::state::fleet::{Class, Fleet, Grant, GrantState, Holder, Node, Stage, WaveRecord};
use crate::state::ledger::{Ask, Pair, judge};

/// Ended grants that are kept for people to look at.
const ENDED_MAX: usize = 1000;

/// Gives a wave its grant and takes its nodes out of traffic in the same entry.
pub(super) fn grant(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    id: UpgradeId,
    wave: usize,
    evidence: &Evidence,
) -> Result<Outcome, Problem> {
    let record = upgrade::running(fleet, id)?;
    if record.paused.is_some() {
        return Err(Problem::new(Code::Conflict, format!("{id} is paused")));
    }
    let service = record.plan.service.clone();
    let earlier_passed = record.waves.iter().take(wave).all(WaveRecord::has_passed);
    // Part of a wave may have come through before the rest was given back.
    let ready = |stage: &Stage| {
        matches!(stage, Stage::Staged | Stage::Skipped { .. } | Stage::Confirmed { .. })
    };
    let staged = record
        .waves
        .get(wave)
        .is_some_and(|wave| wave.grant.is_none() && wave.nodes.values().all(ready));
    if !earlier_passed || !staged {
        return Err(Problem::new(Code::Conflict, format!("wave {wave} of {id} is not next")));
    }
    let takes: BTreeSet<Pair> = record.waves[wave]
        .nodes
        .iter()
        .filter(|(_, stage)| **stage == Stage::Staged)
        .map(|(node, _)| (node.clone(), service.clone()))
        .collect();
    let overrides = judge(fleet, evidence, Ask::new(record.class(), &takes))?;
    let grant = give(fleet, context, (id, wave), takes, overrides);
    Ok(Outcome::Granted(grant))
}

/// Records a grant that was judged, and drains what it takes.
pub(super) fn give(
    fleet: &mut Fleet,
    context: &Context<'_>,
    (id, wave): (UpgradeId, usize),
    takes: BTreeSet<Pair>,
    overrides: BTreeSet<OverrideId>,
) -> GrantId {
    let now = fleet.now;
    let mut class = Class::Upgrade;
    let mut due = now;
    let mut actor = String::new();
    if let Some(upgrade) = fleet.upgrades.get_mut(&id) {
        let gates = &upgrade.plan.gates;
        let longest = gates.ttl.0 + gates.drain.0 + gates.bake.0 + 2 * gates.step_deadline.0;
        due = now.after(Span(longest));
        actor = format!("{id} ({})", upgrade.actor);
        class = upgrade.class();
        let record = &mut upgrade.waves[wave];
        record.drained_at = Some(context.at.index);
        record.settled = None;
        record.baking = None;
        record.moved = now;
    }
    let holder = Holder::Upgrade(id);
    let state = GrantState::Held;
    let record = Grant { holder, wave, class, takes, state, at: now, due, actor, overrides };
    let grant = hold(fleet, record);
    if let Some(upgrade) = fleet.upgrades.get_mut(&id) {
        upgrade.waves[wave].grant = Some(grant);
    }
    grant
}

/// Enters a grant in the ledger and takes what it takes out of traffic.
pub(super) fn hold(fleet: &mut Fleet, record: Grant) -> GrantId {
    let id = GrantId(fleet.take_id());
    for (node, service) in &record.takes {
        if let Some(node) = fleet.nodes.get_mut(node) {
            node.drained.insert(service.clone());
        }
    }
    fleet.grants.insert(id, record);
    prune(fleet);
    id
}

/// Ends a grant by proof.
pub(super) fn prove(fleet: &mut Fleet, id: GrantId, proof: &str) {
    if let Some(grant) = fleet.grants.get_mut(&id).filter(|grant| grant.is_held()) {
        grant.state = GrantState::Released { proof: proof.to_owned() };
    }
}

/// Ends a grant on an operator's word; late execution is fenced off (DESIGN rule 8).
pub(super) fn release(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    id: GrantId,
    reason: &str,
) -> Result<Outcome, Problem> {
    let actor = context.command.actor.subject.clone();
    let grant = fleet.grants.get_mut(&id).ok_or_else(|| {
        Problem::new(Code::NotFound, format!("there is no {id}"))
            .hint("list them: trictl grants list")
    })?;
    if !grant.is_held() {
        return Err(Problem::new(Code::Conflict, format!("{id} has ended already"))
            .hint("list those that count: trictl grants list"));
    }
    grant.state = GrantState::Forced { reason: format!("{actor}: {reason}") };
    let (takes, wave) = (grant.takes.clone(), grant.wave);
    let Some(holder) = grant.holder.upgrade() else {
        fleet.drains.retain(|_, drain| drain.grant != id);
        drain::ended(fleet, context, &takes);
        return Ok(Outcome::Done);
    };
    let why = format!("{id} was released by {actor}: {reason}");
    for (node, _) in &takes {
        if let Some(record) = fleet.nodes.get_mut(node) {
            record.generation += 1;
            // What another upgrade does there is none of this grant's business.
            record.action.take_if(|record| record.action.upgrade == holder);
        }
    }
    drain::reopen(fleet, context, &takes);
    if let Some(upgrade) = fleet.upgrades.get_mut(&holder) {
        upgrade.waves[wave].grant = None;
    }
    if let Some(upgrade) = fleet.upgrades.get_mut(&holder).filter(|u| !u.phase.is_final()) {
        for stage in upgrade.waves[wave].nodes.values_mut() {
            if !matches!(stage, Stage::Confirmed { .. } | Stage::Skipped { .. }) {
                *stage = Stage::Skipped { reason: why.clone() };
            }
        }
    }
    // The upgrade no longer knows what these nodes run: it stops, and a person decides.
    upgrade::stop(fleet, holder, &why);
    upgrade::advance_all(fleet);
    Ok(Outcome::Done)
}

/// Takes a node out of the grants of upgrades that ended in need of a person: what a later upgrade
/// has brought up and proved there is as good a repair as any.
pub(super) fn repaired(fleet: &mut Fleet, pair: &Pair, by: UpgradeId) {
    let Fleet { grants, upgrades, .. } = fleet;
    let ended = |holder| upgrades.get(&holder).is_none_or(|upgrade| upgrade.phase.is_final());
    for grant in grants.values_mut().filter(|grant| grant.is_held()) {
        let other = grant.holder.upgrade().is_some_and(|holder| holder != by && ended(holder));
        if other && grant.takes.remove(pair) && grant.takes.is_empty() {
            grant.state = GrantState::Released { proof: format!("{by} was confirmed there") };
        }
    }
}

/// Takes a removed node out of every grant; a grant left empty ends as forced.
pub(super) fn drop_node(fleet: &mut Fleet, node: &NodeId, reason: &str) {
    for grant in fleet.grants.values_mut().filter(|grant| grant.is_held()) {
        let before = grant.takes.len();
        grant.takes.retain(|(taken, _)| taken != node);
        if before > 0 && grant.takes.is_empty() {
            grant.state = GrantState::Forced { reason: reason.to_owned() };
        }
    }
}

/// Vouches anew for actions that no agent has accepted (DESIGN rule 13).
pub(super) fn reoffer(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    actions: &[ActionId],
    evidence: &Evidence,
) -> Result<Outcome, Problem> {
    let wanted: BTreeSet<ActionId> = actions.iter().copied().collect();
    let waits = |node: &Node| {
        let record = node.action.as_ref().filter(|record| wanted.contains(&record.action.id));
        record.is_some_and(|record| record.progress.is_none())
    };
    let found: Vec<NodeId> =
        fleet.nodes.iter().filter(|(_, node)| waits(node)).map(|(name, _)| name.clone()).collect();
    judge_again(fleet, &found, evidence)?;
    for name in found {
        if let Some(record) = fleet.nodes.get_mut(&name).and_then(|node| node.action.as_mut()) {
            record.offer_term = context.at.term;
            context.wake.insert(name);
        }
    }
    Ok(Outcome::Done)
}

/// Judges the switches among the newest actions of `nodes`, those of one grant as one.
fn judge_again(fleet: &Fleet, nodes: &[NodeId], evidence: &Evidence) -> Result<(), Problem> {
    let mut switches: BTreeMap<Option<GrantId>, BTreeSet<Pair>> = BTreeMap::new();
    for name in nodes {
        let record = fleet.nodes.get(name).and_then(|node| node.action.as_ref());
        let Some(action) = record.map(|record| &record.action) else { continue };
        if action.kind.takes_capacity() {
            let upgrade =
                fleet.upgrades.get(&action.upgrade).ok_or_else(|| no_upgrade(action.upgrade))?;
            let grant =
                upgrade.waves.iter().find(|w| w.nodes.contains_key(name)).and_then(|w| w.grant);
            switches.entry(grant).or_default().insert((name.clone(), action.service.clone()));
        }
    }
    for (within, takes) in &switches {
        judge(fleet, evidence, Ask::new(fleet.class_of(*within), takes).within(*within))?;
    }
    Ok(())
}

/// Forgets the oldest ended grants beyond what people look at.
fn prune(fleet: &mut Fleet) {
    let ended: Vec<GrantId> =
        fleet.grants.iter().filter(|(_, grant)| !grant.is_held()).map(|(id, _)| *id).collect();
    for id in ended.iter().take(ended.len().saturating_sub(ENDED_MAX)) {
        fleet.grants.remove(id);
    }
}
