//! Nodes as operators see them.

use std::collections::BTreeMap;

use trireme_proto::action::{Observed, ServiceState};
use trireme_proto::id::{NodeId, ServiceId};
use trireme_proto::view::{ActionView, NodeService, NodeView};

use super::Lens;
use crate::state::aside::Remark;
use crate::state::fleet::{ActionRecord, Node};
use crate::state::traffic;

/// Returns one node.
pub fn node(lens: Lens<'_>, id: &NodeId, node: &Node) -> NodeView {
    let sighting = lens.presence.nodes.get(id);
    let in_sight = lens.presence.in_sight(id, lens.now);
    let state = state(node);
    let services = lens
        .fleet
        .services_on(id)
        .into_iter()
        .map(|record| {
            let service = &record.manifest.name;
            let targets = traffic::targets(lens.fleet, &record.manifest);
            (service.clone(), on_node(node, service, targets.contains(id)))
        })
        .collect::<BTreeMap<_, _>>();
    NodeView {
        name: id.clone(),
        region: node.region.clone(),
        address: node.address.clone(),
        labels: node.labels.clone(),
        state: state.to_owned(),
        generation: node.generation,
        connected_to: sighting.filter(|_| in_sight).map(|seen| seen.controller.clone()),
        last_seen: sighting.map(|seen| lens.now.since(seen.at)),
        agent_version: (!node.agent_version.is_empty()).then(|| node.agent_version.clone()),
        services,
        action: node.action.as_ref().filter(|action| !action.is_final()).map(action),
        aside: aside(lens, id, node),
    }
}

/// Returns a node's state in a word.
pub(super) fn state(node: &Node) -> &'static str {
    if node.removed {
        "removed"
    } else if node.agent_version.is_empty() {
        "joined"
    } else if node.lost {
        "lost"
    } else {
        "ready"
    }
}

/// Returns how operators have put a node aside, if they have.
pub(super) fn aside(lens: Lens<'_>, id: &NodeId, node: &Node) -> Option<String> {
    let words = |what: &str, remark: &Remark| {
        format!("{what} by {} since {}: {}", remark.actor, remark.at, remark.reason)
    };
    if let Some((place, drain)) = lens.fleet.drain_of(id, node) {
        return Some(words(&format!("{place} was drained"), &drain.remark));
    }
    lens.fleet.cordons.get(id).map(|remark| words("cordoned", remark))
}

/// Returns what is known of a service on a node.
pub(super) fn on_node(node: &Node, service: &ServiceId, in_traffic: bool) -> NodeService {
    let observed = node.observed.get(service).cloned().unwrap_or(Observed {
        state: ServiceState::NeverStarted,
        running: None,
        version: None,
        failing: BTreeMap::new(),
    });
    NodeService { observed, in_traffic, stopped: node.stopped.contains(service) }
}

/// Returns an action.
pub(super) fn action(record: &ActionRecord) -> ActionView {
    ActionView {
        id: record.action.id,
        kind: record.kind().to_owned(),
        state: record.state(),
        upgrade: record.action.upgrade,
    }
}
