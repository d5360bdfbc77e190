//! Decides what a controller may offer to an agent that is connected to it.

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::action::{Action, Assignment};
use trireme_proto::id::{NodeId, ServiceId};
use trireme_proto::time::Span;

use crate::state::Fleet;

/// A controller that has not heard from a leader for longer offers nothing (DESIGN rule 13).
pub const CONTACT_AGE_MAX: Span = Span::secs(2);

/// Returns the action that `node` should be offered, if this controller may offer it.
///
/// `contact` is the term of the leader last heard from, and how long ago that was.
pub fn offer<'a>(
    fleet: &'a Fleet,
    node: &NodeId,
    contact: Option<(u64, Span)>,
) -> Option<&'a Action> {
    let (term, age) = contact?;
    let node = fleet.nodes.get(node).filter(|node| !node.removed)?;
    let record = node.action.as_ref()?;
    let vouched = record.progress.is_none() && record.offer_term == term;
    (vouched && age <= CONTACT_AGE_MAX).then_some(&record.action)
}

/// Returns what `node` should check.
pub fn assignments(fleet: &Fleet, node: &NodeId) -> Vec<Assignment> {
    fleet
        .services_on(node)
        .into_iter()
        .map(|record| Assignment {
            service: record.manifest.name.clone(),
            checks: record.manifest.checks.clone(),
            wanted: wanted(fleet, &record.manifest.name),
            logs: record.manifest.logs.clone(),
        })
        .collect()
}

/// Returns the numbers of a service's checks that alert rules ask for, by check.
fn wanted(fleet: &Fleet, service: &ServiceId) -> BTreeMap<String, BTreeSet<String>> {
    let mut wanted: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let asked = fleet.alerts.rules().filter_map(|rule| rule.when.wanted());
    for (_, check, label) in asked.filter(|(of, ..)| *of == service) {
        wanted.entry(check.to_owned()).or_default().insert(label.to_owned());
    }
    wanted
}
