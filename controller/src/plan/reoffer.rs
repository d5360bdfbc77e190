//! Decides which actions of an earlier leader this one vouches for (DESIGN rule 13).
//!
//! Until it does, no controller offers them: an action that no agent has accepted was judged on
//! evidence that may be long out of date.

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::id::{GrantId, NodeId};

use super::{Decision, World};
use crate::state::Body;
use crate::state::fleet::Node;
use crate::state::ledger::{Ask, Pair, judge};

pub(super) fn plan(world: &World<'_>, decision: &mut Decision) {
    let unvouched = |node: &Node| {
        let record = node.action.as_ref();
        record.is_some_and(|record| record.progress.is_none() && record.offer_term != world.term)
    };
    let mut actions = Vec::new();
    let mut switches: BTreeMap<Option<GrantId>, Vec<(&NodeId, &Node)>> = BTreeMap::new();
    for (name, node) in world.fleet.nodes.iter().filter(|(_, node)| unvouched(node)) {
        let Some(record) = &node.action else { continue };
        if record.action.kind.takes_capacity() {
            switches.entry(grant_of(world, name, node)).or_default().push((name, node));
        } else {
            actions.push(record.action.id);
        }
    }
    if actions.is_empty() && switches.is_empty() {
        return;
    }
    let evidence = world.presence.evidence(world.now);
    let takes = |nodes: &[(&NodeId, &Node)]| -> BTreeSet<Pair> {
        let pair = |(name, node): &(&NodeId, &Node)| {
            let record = node.action.as_ref()?;
            Some(((*name).clone(), record.action.service.clone()))
        };
        nodes.iter().filter_map(pair).collect()
    };
    let allowed = |within: Option<GrantId>, nodes: &[(&NodeId, &Node)]| {
        let takes = takes(nodes);
        let ask = Ask::new(world.fleet.class_of(within), &takes).within(within);
        judge(world.fleet, &evidence, ask).is_ok()
    };
    for (grant, nodes) in switches {
        // What one grant holds is allowed or refused as one; if it is refused, some of it may
        // take nothing by now.
        let chosen = if allowed(grant, &nodes) {
            nodes
        } else {
            nodes.into_iter().filter(|node| allowed(grant, std::slice::from_ref(node))).collect()
        };
        actions.extend(chosen.iter().filter_map(|(_, node)| Some(node.action.as_ref()?.action.id)));
    }
    if !actions.is_empty() {
        actions.sort_unstable();
        decision.proposals.push(Body::Reoffer { actions, evidence });
    }
}

/// Returns the grant under which a node is switched.
fn grant_of(world: &World<'_>, name: &NodeId, node: &Node) -> Option<GrantId> {
    let upgrade = world.fleet.upgrades.get(&node.action.as_ref()?.action.upgrade)?;
    upgrade.waves.iter().find(|wave| wave.nodes.contains_key(name))?.grant
}
