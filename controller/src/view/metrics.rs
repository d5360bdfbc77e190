//! The fleet as metrics. Pure: what is counted follows from the state and from what is seen.
//!
//! It looks at the state in place and keeps nothing: a scrape of ten thousand nodes is a walk over
//! them, and between two scrapes there is no cost at all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::action::ServiceState;
use trireme_proto::id::{NodeId, RegionId};
use trireme_proto::model::Service;
use trireme_proto::time::WallTime;
use trireme_proto::view::UpgradePhase;
use trireme_telemetry::{Page, seconds};

use super::Lens;
use crate::state::fleet::Node;
use crate::state::traffic;
use crate::telemetry::names;

/// Nodes that are named at a time: those silent for longest.
pub const NODES_MAX: usize = 100;

/// States of a node that counts.
const NODE_STATES: [&str; 3] = ["joined", "ready", "lost"];

/// States of a service on a node.
const SERVICE_STATES: [&str; 4] = ["serving", "not_serving", "never_started", "unknown"];

/// Phases of an upgrade, each with its word.
const PHASES: [(UpgradePhase, &str); 7] = [
    (UpgradePhase::Running, "running"),
    (UpgradePhase::Aborting, "aborting"),
    (UpgradePhase::RollingBack, "rolling_back"),
    (UpgradePhase::Succeeded, "succeeded"),
    (UpgradePhase::RolledBack, "rolled_back"),
    (UpgradePhase::Aborted, "aborted"),
    (UpgradePhase::RollbackFailed, "rollback_failed"),
];

/// Adds what the replicated state and presence tell.
///
/// `leads` tells whether presence is of all nodes; `wall` is the time of now, for people.
pub fn metrics(lens: Lens<'_>, leads: bool, wall: WallTime, page: &mut Page) {
    nodes(lens, page);
    for record in lens.fleet.services.values() {
        service(lens, &record.manifest, page);
        upgrade(lens, &record.manifest, page);
    }
    let held = lens.fleet.grants.values().filter(|grant| grant.is_held());
    page.number(&names::GRANTS, &[], held.clone().count());
    page.number(&names::OVERDUE, &[], held.filter(|grant| lens.now > grant.due).count());
    page.number(&names::REVISION, &[], lens.fleet.revision);
    page.count(&names::AUDITED, &[], lens.fleet.audit.seq);
    if leads {
        sightings(lens, wall, page);
    }
}

fn nodes(lens: Lens<'_>, page: &mut Page) {
    let mut counts: BTreeMap<(&RegionId, &str), usize> = BTreeMap::new();
    for region in lens.fleet.regions.keys() {
        counts.extend(NODE_STATES.map(|state| ((region, state), 0)));
    }
    for node in lens.fleet.nodes.values().filter(|node| !node.removed) {
        let state = if node.agent_version.is_empty() {
            "joined"
        } else if node.lost {
            "lost"
        } else {
            "ready"
        };
        *counts.entry((&node.region, state)).or_default() += 1;
    }
    for ((region, state), count) in counts {
        page.number(&names::NODES, &[region.as_str(), state], count);
    }
}

/// What is counted of a service in one region.
#[derive(Default)]
struct Here {
    ready: usize,
    states: [usize; SERVICE_STATES.len()],
}

fn service(lens: Lens<'_>, service: &Service, page: &mut Page) {
    let targets = traffic::targets(lens.fleet, service);
    let mut regions: BTreeMap<&RegionId, Here> = BTreeMap::new();
    for (id, node) in lens.fleet.placed(service) {
        let here = regions.entry(&node.region).or_default();
        here.ready += usize::from(is_ready(&targets, id, node, service));
        here.states[state_of(node, service)] += 1;
    }
    let name = service.name.as_str();
    let needed = service.serving.nodes as usize;
    let serving = regions.values().filter(|here| here.ready >= needed).count();
    page.number(&names::SERVING, &[name], serving);
    page.number(&names::REQUIRED, &[name], lens.fleet.at_least(service));
    for (region, here) in regions {
        page.flag(&names::REGION_SERVING, &[name, region.as_str()], here.ready >= needed);
        for (state, count) in SERVICE_STATES.iter().zip(here.states) {
            page.number(&names::SERVICE_NODES, &[name, region.as_str(), state], count);
        }
    }
}

/// Returns whether clients are sent there and it serves.
fn is_ready(targets: &BTreeSet<NodeId>, id: &NodeId, node: &Node, service: &Service) -> bool {
    node.serves(&service.name) && targets.contains(id)
}

fn state_of(node: &Node, service: &Service) -> usize {
    match node.observed.get(&service.name).map(|seen| seen.state) {
        _ if node.lost => 3,
        Some(ServiceState::Serving) => 0,
        Some(ServiceState::NotServing) => 1,
        Some(ServiceState::NeverStarted) => 2,
        None => 3,
    }
}

fn upgrade(lens: Lens<'_>, service: &Service, page: &mut Page) {
    let Some(id) = lens.fleet.newest_upgrade(&service.name, |_| true) else { return };
    let Some(upgrade) = lens.fleet.upgrades.get(&id) else { return };
    let name = service.name.as_str();
    for (phase, word) in PHASES {
        page.flag(&names::UPGRADE, &[name, word], upgrade.phase == phase);
    }
    let waiting = lens.waiting.get(&id).filter(|_| !upgrade.phase.is_final());
    page.number(&names::WAITING, &[name], waiting.map_or(0, Vec::len));
}

/// Names the nodes that were silent for longest, with when they were last heard from.
fn sightings(lens: Lens<'_>, wall: WallTime, page: &mut Page) {
    let live = |id: &NodeId| lens.fleet.nodes.get(id).filter(|node| !node.removed);
    let mut silent: Vec<_> = lens
        .presence
        .nodes
        .iter()
        .filter_map(|(id, sighting)| Some((lens.now.since(sighting.at), id, live(id)?)))
        .collect();
    silent.sort_unstable_by_key(|(age, id, _)| (Reverse(*age), *id));
    for (age, id, node) in silent.into_iter().take(NODES_MAX) {
        let at = WallTime(wall.0.saturating_sub(age.0));
        page.gauge(&names::SEEN, &[node.region.as_str(), id.as_str()], seconds(at));
    }
}
