//! Services and regions as operators see them.

use std::collections::BTreeMap;

use trireme_proto::id::RegionId;
use trireme_proto::model::{Region, Service};
use trireme_proto::view::{RegionView, ServiceRegion, ServiceView};

use super::{Lens, node};
use crate::state::fleet::ServiceRecord;
use crate::state::traffic;

/// Returns one service.
pub fn service(lens: Lens<'_>, record: &ServiceRecord) -> ServiceView {
    let service = &record.manifest;
    let versions = lens.fleet.releases.get(&service.name);
    ServiceView {
        service: service.clone(),
        revision: record.revision,
        versions: versions.map(|v| v.keys().cloned().collect()).unwrap_or_default(),
        at_least: lens.fleet.at_least(service),
        regions: regions(lens, service),
        upgrade: lens.fleet.active_upgrade(&service.name).map(|(id, _)| id),
    }
}

/// Returns how a service stands in each region, by the replicated observations.
fn regions(lens: Lens<'_>, service: &Service) -> BTreeMap<RegionId, ServiceRegion> {
    let targets = traffic::targets(lens.fleet, service);
    let mut regions = BTreeMap::new();
    for (region, nodes) in lens.fleet.placement(service) {
        let records = nodes.iter().filter_map(|id| Some((id, lens.fleet.nodes.get(id)?)));
        let ready = records
            .clone()
            .filter(|(id, node)| node.serves(&service.name) && targets.contains(*id))
            .count();
        let nodes = records
            .map(|(id, record)| {
                (id.clone(), node::on_node(record, &service.name, targets.contains(id)))
            })
            .collect();
        let serving = ready >= service.serving.nodes as usize;
        regions.insert(region, ServiceRegion { serving, nodes });
    }
    regions
}

/// Returns one region.
pub fn region(lens: Lens<'_>, region: &Region) -> RegionView {
    let live = lens.fleet.nodes.iter().filter(|(_, n)| !n.removed && n.region == region.name);
    let mut serving = BTreeMap::new();
    for record in lens.fleet.services.values() {
        if let Some(here) = regions(lens, &record.manifest).get(&region.name) {
            serving.insert(record.manifest.name.clone(), here.serving);
        }
    }
    RegionView { region: region.clone(), nodes: live.map(|(id, _)| id.clone()).collect(), serving }
}
