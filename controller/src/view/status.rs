//! The fleet on one screen.

use std::collections::BTreeMap;

use trireme_proto::id::{NodeId, RegionId};
use trireme_proto::query::{NodeUse, Totals};
use trireme_proto::view::ControllersView;
use trireme_proto::view::status::{FleetStatusView, HealthHere, ServiceHere};

use super::{Lens, alert, attention, drains, freeze, node, overrides, upgrade};
use crate::state::fleet::ServiceRecord;
use crate::state::traffic;

/// Returns how the fleet stands, given what nodes answered of what their services use.
pub fn fleet_status(
    lens: Lens<'_>,
    controllers: ControllersView,
    answers: &BTreeMap<NodeId, Result<NodeUse, String>>,
) -> FleetStatusView {
    let fleet = lens.fleet;
    let services = fleet.services.values().flat_map(|record| service(lens, record, answers));
    let mut items: Vec<_> = services.collect();
    items.sort_by(|a, b| (a.health, &a.service, &a.region).cmp(&(b.health, &b.service, &b.region)));
    let mut nodes: BTreeMap<String, usize> = BTreeMap::new();
    for record in fleet.nodes.values().filter(|node| !node.removed) {
        *nodes.entry(node::state(record).to_owned()).or_default() += 1;
    }
    let under_way = fleet.upgrades.iter().filter(|(_, one)| !one.phase.is_final());
    let cordons = fleet.cordons.iter().map(|(id, remark)| {
        (id.clone(), format!("by {} since {}: {}", remark.actor, remark.at, remark.reason))
    });
    let alerts = alert::incidents(lens).into_iter();
    let asked = answers.iter().map(|(node, answer)| (node.clone(), answer.as_ref().err().cloned()));
    FleetStatusView {
        items,
        attention: attention(fleet, lens.now),
        controllers,
        nodes,
        upgrades: under_way.map(|(id, one)| upgrade(lens, *id, one)).collect(),
        freeze: freeze(lens),
        drains: drains(lens),
        cordons: cordons.collect(),
        overrides: overrides(lens),
        alerts: alerts
            .filter(|one| matches!(one.state.as_str(), "firing" | "acknowledged"))
            .collect(),
        totals: Totals::of(asked),
    }
}

/// Returns a service in each region that it is placed in.
fn service(
    lens: Lens<'_>,
    record: &ServiceRecord,
    answers: &BTreeMap<NodeId, Result<NodeUse, String>>,
) -> Vec<ServiceHere> {
    let (service, name) = (&record.manifest, &record.manifest.name);
    let targets = traffic::targets(lens.fleet, service);
    let upgrade = lens.fleet.active_upgrade(name).map(|(id, _)| id);
    let mut regions: BTreeMap<&RegionId, ServiceHere> = BTreeMap::new();
    for (id, node) in lens.fleet.placed(service) {
        let here = regions.entry(&node.region).or_insert_with(|| ServiceHere {
            service: name.clone(),
            region: node.region.clone(),
            health: HealthHere::Down,
            ready: 0,
            needed: service.serving.nodes as usize,
            nodes: 0,
            stopped: 0,
            versions: BTreeMap::new(),
            upgrade,
            cpu_millicores: None,
            memory_bytes: None,
            answered: 0,
        });
        here.nodes += 1;
        here.ready += usize::from(node.serves(name) && targets.contains(id));
        here.stopped += usize::from(node.stopped.contains(name));
        let version = node.observed.get(name).and_then(|seen| seen.version.clone());
        if let Some(version) = version.filter(|_| !node.lost) {
            *here.versions.entry(version).or_default() += 1;
        }
        let Some(Ok(used)) = answers.get(id) else { continue };
        if used.failed.contains_key(name) {
            continue;
        }
        here.answered += 1;
        let (cpu, memory) = (&mut here.cpu_millicores, &mut here.memory_bytes);
        let (cpu, memory) = (cpu.get_or_insert(0), memory.get_or_insert(0));
        for one in used.services.get(name).into_iter().flatten() {
            *cpu += one.cpu_millicores;
            *memory += one.memory_bytes;
        }
    }
    let mut items: Vec<_> = regions.into_values().collect();
    for here in &mut items {
        here.health = if here.stopped == here.nodes {
            HealthHere::Stopped
        } else if here.ready < here.needed {
            HealthHere::Down
        } else if here.ready < here.nodes {
            HealthHere::Degraded
        } else {
            HealthHere::Serving
        };
    }
    items
}
