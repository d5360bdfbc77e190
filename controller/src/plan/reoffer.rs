//! Decides which actions of an earlier leader this one vouches for (DESIGN rule 13).
//!
//! Until it does, no controller offers them: an action that no agent has accepted was judged on
//! evidence that may be long out of date.

use std::collections::BTreeSet;

use trireme_proto::action::ActionKind;

use super::{Decision, World};
use crate::state::Body;
use crate::state::fleet::Class;
use crate::state::ledger::{Ask, judge};

pub(super) fn plan(world: &World<'_>, decision: &mut Decision) {
    let evidence = world.presence.evidence(world.now);
    let mut actions = Vec::new();
    for (name, node) in &world.fleet.nodes {
        let Some(record) = &node.action else { continue };
        if record.progress.is_some() || record.offer_term == world.term {
            continue;
        }
        if matches!(record.action.kind, ActionKind::Switch(_)) {
            let grant = world
                .fleet
                .upgrades
                .get(&record.action.upgrade)
                .and_then(|upgrade| upgrade.waves.iter().find(|w| w.nodes.contains_key(name)))
                .and_then(|wave| wave.grant);
            let takes = BTreeSet::from([(name.clone(), record.action.service.clone())]);
            let ask = Ask { class: Class::Upgrade, takes: &takes, within: grant };
            if judge(world.fleet, &evidence, ask).is_err() {
                continue;
            }
        }
        actions.push(record.action.id);
    }
    if !actions.is_empty() {
        decision.proposals.push(Body::Reoffer { actions, evidence });
    }
}
