//! Applies what concerns nodes: tokens, joining, removal, what was seen of them.

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::id::{NodeId, Place};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::token::SecretHash;

use super::{Context, grant};
use crate::state::command::{Body, Outcome, Sighted};
use crate::state::fleet::{Fleet, Node, Token};

/// Tokens that may wait for use at once; more than any fleet joins in an hour.
const TOKENS_MAX: usize = 20_000;

pub(super) fn create_token(fleet: &mut Fleet, context: &Context<'_>) -> Result<Outcome, Problem> {
    let Body::CreateToken { id, secret_hash, node, region, address, labels, expires_at } =
        &context.command.body
    else {
        return Err(Problem::new(Code::Failed, "this command creates no token"));
    };
    if !fleet.regions.contains_key(region) {
        return Err(Problem::new(Code::NotFound, format!("there is no region {region}"))
            .hint("list them: trictl get region; add one: trictl apply -f FILE"));
    }
    match fleet.nodes.get(node) {
        Some(old) if old.removed => {
            return Err(Problem::new(
                Code::Conflict,
                format!("node {node} was removed, and its name is denied for ever"),
            )
            .hint("give the node another name"));
        }
        Some(_) => {
            return Err(Problem::new(Code::Conflict, format!("node {node} has joined already"))
                .because("a second agent under one name would act in its stead")
                .hint(format!(
                    "use another name; or first: trictl node remove {node} --reason WHY --confirm {node}"
                )));
        }
        None => {}
    }
    let now = context.command.wall;
    fleet.tokens.retain(|_, token| token.expires_at > now && token.node != *node);
    if fleet.tokens.len() >= TOKENS_MAX {
        return Err(Problem::new(
            Code::Conflict,
            format!("{TOKENS_MAX} tokens wait for use already"),
        ));
    }
    let token = Token {
        secret_hash: secret_hash.clone(),
        node: node.clone(),
        region: region.clone(),
        address: address.clone(),
        labels: labels.clone(),
        expires_at: *expires_at,
        used: false,
    };
    fleet.tokens.insert(id.clone(), token);
    Ok(Outcome::Done)
}

pub(super) fn join(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    id: &str,
    secret_hash: &SecretHash,
    incarnation: &str,
) -> Result<Outcome, Problem> {
    let refused = |message: String| {
        Problem::new(Code::Denied, message).hint(
            "make a new one: trictl token create --node NAME --region REGION --address ADDRESS",
        )
    };
    let token = fleet
        .tokens
        .get_mut(id)
        // An unknown id and a wrong secret get one answer, so that ids cannot be tried out.
        .filter(|token| token.secret_hash == *secret_hash)
        .ok_or_else(|| refused(format!("token {id} is not of this fleet")))?;
    if token.used {
        // The answer to the first use may have been lost: the same disk may ask again.
        let node = fleet.nodes.get(&token.node).filter(|node| !node.removed);
        if let Some(node) = node.filter(|node| node.incarnation == incarnation) {
            let (region, address) = (node.region.clone(), node.address.clone());
            return Ok(Outcome::Joined { node: token.node.clone(), region, address });
        }
        return Err(refused(format!("token {id} for node {} was used already", token.node)));
    }
    if token.expires_at <= context.command.wall {
        return Err(refused(format!(
            "token {id} for node {} expired at {}",
            token.node, token.expires_at
        )));
    }
    token.used = true;
    let token = token.clone();
    let node = Node {
        region: token.region.clone(),
        address: token.address.clone(),
        labels: token.labels,
        incarnation: incarnation.to_owned(),
        agent_version: String::new(),
        removed: false,
        lost: true,
        generation: 0,
        acknowledged: 0,
        report_seq: 0,
        observed: BTreeMap::new(),
        installed: BTreeMap::new(),
        drained: BTreeSet::new(),
        stopped: BTreeSet::new(),
        action: None,
    };
    fleet.nodes.insert(token.node.clone(), node);
    context.wake.insert(token.node.clone());
    Ok(Outcome::Joined { node: token.node, region: token.region, address: token.address })
}

/// Denies a node for ever (DESIGN rule 8): its grants end as forced, and it no longer counts.
pub(super) fn remove(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    node: &NodeId,
    reason: &str,
) -> Result<Outcome, Problem> {
    let actor = context.command.actor.subject.clone();
    let record = fleet.nodes.get_mut(node).ok_or_else(|| {
        Problem::new(Code::NotFound, format!("there is no node {node}"))
            .hint("list them: trictl node list")
    })?;
    if record.removed {
        return Ok(Outcome::Done);
    }
    record.removed = true;
    record.generation += 1;
    record.action = None;
    record.observed.clear();
    fleet.denied.insert(format!("agent/{node}"), reason.to_owned());
    fleet.tokens.retain(|_, token| token.node != *node);
    fleet.cordons.remove(node);
    fleet.drains.remove(&Place::Node(node.clone()));
    let why = format!("node {node} was removed by {actor}: {reason}");
    grant::drop_node(fleet, node, &why);
    for upgrade in fleet.upgrades.values_mut().filter(|upgrade| !upgrade.phase.is_final()) {
        for wave in &mut upgrade.waves {
            if let Some(stage) = wave.nodes.get_mut(node) {
                *stage = crate::state::fleet::Stage::Skipped { reason: why.clone() };
            }
        }
    }
    super::upgrade::advance_all(fleet);
    context.wake.insert(node.clone());
    Ok(Outcome::Done)
}

pub(super) fn observe(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    nodes: &BTreeMap<NodeId, Sighted>,
) {
    for (id, sighted) in nodes {
        if let Some(node) = fleet.nodes.get_mut(id).filter(|node| !node.removed) {
            node.observed.clone_from(&sighted.observed);
            node.acknowledged = sighted.generation;
            node.agent_version.clone_from(&sighted.agent_version);
            context.wake.insert(id.clone());
        }
    }
}

pub(super) fn presence(fleet: &mut Fleet, lost: &[NodeId], seen: &[NodeId]) {
    for (nodes, value) in [(lost, true), (seen, false)] {
        for id in nodes {
            if let Some(node) = fleet.nodes.get_mut(id) {
                node.lost = value;
            }
        }
    }
}
