//! A service on its nodes: what the fleet wants there, beside what the nodes answered.

use std::collections::BTreeMap;

use trireme_proto::action::{ActionKind, RunSpec};
use trireme_proto::id::{NodeId, RegionId, ServiceId};
use trireme_proto::query::{NodeUse, ServiceStatus, Totals};
use trireme_proto::view::look::{Desired, NodeInstanceUse, NodeStatus, StatusView, UseView};

use super::{Lens, node, service};
use crate::state::fleet::{Node, ServiceRecord};
use crate::state::traffic;

/// What each node answered, or why it did not.
type Answers<T> = BTreeMap<NodeId, Result<T, String>>;

/// Returns how a service stands on nodes.
pub fn status(
    lens: Lens<'_>,
    record: &ServiceRecord,
    nodes: &[(RegionId, NodeId)],
    unknown: &BTreeMap<NodeId, String>,
    mut answers: Answers<ServiceStatus>,
) -> StatusView {
    let name = &record.manifest.name;
    let targets = traffic::targets(lens.fleet, &record.manifest);
    let totals = totals(nodes, unknown, &answers);
    let items = nodes.iter().filter_map(|(region, id)| {
        let known = lens.fleet.nodes.get(id)?;
        let (status, silent) = match answers.remove(id) {
            Some(Ok(status)) => (Some(status), None),
            Some(Err(reason)) => (None, Some(reason)),
            None => (None, Some("it was not asked".to_owned())),
        };
        let action = known.action.as_ref().filter(|action| !action.is_final());
        Some(NodeStatus {
            node: id.clone(),
            region: region.clone(),
            desired: desired(known, name),
            in_traffic: targets.contains(id),
            aside: node::aside(lens, id, known),
            action: action.map(node::action),
            status,
            silent,
        })
    });
    let items = items.collect();
    let view = service::service(lens, record);
    let serving = view.regions.iter().filter(|(_, region)| region.serving);
    StatusView {
        service: name.clone(),
        serving: serving.map(|(region, _)| region.clone()).collect(),
        at_least: view.at_least,
        items,
        totals,
    }
}

/// Returns what a service uses on nodes, what uses most of the processor first.
pub fn used(
    service: &ServiceId,
    nodes: &[(RegionId, NodeId)],
    unknown: &BTreeMap<NodeId, String>,
    answers: Answers<NodeUse>,
) -> UseView {
    // A node whose host does not tell has not answered.
    let answers: Answers<NodeUse> = answers
        .into_iter()
        .map(|(node, answer)| {
            let answer = answer.and_then(|mut used| match used.failed.remove(service) {
                Some(reason) => Err(reason),
                None => Ok(used),
            });
            (node, answer)
        })
        .collect();
    let totals = totals(nodes, unknown, &answers);
    let told = nodes.iter().filter_map(|(region, node)| {
        let used = answers.get(node)?.as_ref().ok()?.services.get(service)?;
        Some((region, node, used))
    });
    let mut items: Vec<_> = told
        .flat_map(|(region, node, used)| {
            used.iter().map(|used| NodeInstanceUse {
                node: node.clone(),
                region: region.clone(),
                used: used.clone(),
            })
        })
        .collect();
    items.sort_by(|a, b| {
        let most = b.used.cpu_millicores.cmp(&a.used.cpu_millicores);
        most.then_with(|| (&a.node, &a.used.name).cmp(&(&b.node, &b.used.name)))
    });
    UseView { service: service.clone(), items, totals }
}

/// Returns who answered, of all that were meant.
pub fn totals<T>(
    nodes: &[(RegionId, NodeId)],
    unknown: &BTreeMap<NodeId, String>,
    answers: &Answers<T>,
) -> Totals {
    let asked = nodes.iter().map(|(_, node)| {
        let reason = match answers.get(node) {
            Some(Ok(_)) => None,
            Some(Err(reason)) => Some(reason.clone()),
            None => Some("it was not asked".to_owned()),
        };
        (node.clone(), reason)
    });
    let unknown = unknown.iter().map(|(node, reason)| (node.clone(), Some(reason.clone())));
    Totals::of(asked.chain(unknown))
}

/// Returns what should run on a node: what its action is bringing, or else what the last one left.
fn desired(node: &Node, service: &ServiceId) -> Desired {
    let version = |spec: &RunSpec| spec.release.version.clone();
    let stopped = node.stopped.contains(service);
    let action = node.action.as_ref().filter(|one| !one.is_final());
    let action = action.filter(|one| one.action.service == *service);
    let version = match action.map(|one| &one.action.kind) {
        Some(ActionKind::Switch(switch)) => Some(version(&switch.target)),
        Some(ActionKind::Revert { previous, .. }) => previous.as_ref().map(version),
        Some(ActionKind::Halt(_)) => None,
        Some(ActionKind::Stage { .. } | ActionKind::Confirm { .. }) | None => {
            node.installed.get(service).map(version)
        }
    };
    Desired { version: version.filter(|_| !stopped), stopped }
}
