//! Where a request works: the regions of what it names, as the fleet stands now.
//!
//! What is not known here is taken for the fleet as a whole, so that a role in one region opens
//! nothing by naming what does not exist.

use std::collections::BTreeSet;

use trireme_proto::access::Reach;
use trireme_proto::id::{GrantId, NodeId, RegionId, ServiceId};

use crate::state::Fleet;
use crate::view;

fn regions(regions: impl IntoIterator<Item = RegionId>) -> Reach {
    let regions: BTreeSet<_> = regions.into_iter().collect();
    if regions.is_empty() { Reach::Fleet } else { Reach::Regions(regions) }
}

/// Returns the regions that a service is placed in.
pub(super) fn service(fleet: &Fleet, name: &ServiceId) -> Reach {
    let placed = fleet.services.get(name).map(|record| fleet.placement(&record.manifest));
    regions(placed.unwrap_or_default().into_keys())
}

/// Returns the regions that a look at services reaches into: those of the nodes that are named,
/// the one that is named, or all that the services are placed in.
pub(super) fn look(
    fleet: &Fleet,
    services: &[ServiceId],
    region: Option<&RegionId>,
    nodes: &[String],
) -> Reach {
    if let Some(region) = region {
        return Reach::region(region);
    }
    let named = nodes.iter().map(|name| {
        let node = name.parse().ok().and_then(|name: NodeId| fleet.nodes.get(&name));
        node.map(|node| node.region.clone())
    });
    // A name that nobody knows opens nothing, and does not stand in the way of the others.
    let named: BTreeSet<_> = named.flatten().collect();
    if !named.is_empty() {
        return Reach::Regions(named);
    }
    let placed = services.iter().filter_map(|name| fleet.services.get(name));
    regions(placed.flat_map(|record| fleet.placement(&record.manifest).into_keys()))
}

/// Returns the regions of an upgrade, named by itself or by its service.
pub(super) fn upgrade(fleet: &Fleet, text: &str) -> Reach {
    let found = view::find_upgrade(fleet, text).ok();
    let upgrade = found.and_then(|id| fleet.upgrades.get(&id));
    let waves = upgrade.map(|upgrade| upgrade.plan.waves.as_slice()).unwrap_or_default();
    regions(waves.iter().map(|wave| wave.region.clone()))
}

/// Returns the region of a node.
pub(super) fn node(fleet: &Fleet, name: &NodeId) -> Reach {
    fleet.nodes.get(name).map_or(Reach::Fleet, |node| Reach::region(&node.region))
}

/// Returns the regions that a grant takes from.
pub(super) fn grant(fleet: &Fleet, id: GrantId) -> Reach {
    let takes = fleet.grants.get(&id).map(|grant| &grant.takes);
    let nodes = takes.into_iter().flatten().filter_map(|(node, _)| fleet.nodes.get(node));
    regions(nodes.map(|node| node.region.clone()))
}

/// Returns where those nodes of a service are that are meant; all of it if none are named.
pub(super) fn scope(
    fleet: &Fleet,
    service: &str,
    in_regions: &[String],
    nodes: &[String],
) -> Reach {
    if in_regions.is_empty() && nodes.is_empty() {
        return object(fleet, service);
    }
    let named = in_regions.iter().map(|name| name.parse::<RegionId>().ok());
    let around = nodes.iter().map(|name| {
        let id = name.parse::<NodeId>().ok()?;
        fleet.nodes.get(&id).map(|node| node.region.clone())
    });
    // One that is not known may be anywhere.
    named.chain(around).collect::<Option<Vec<_>>>().map_or(Reach::Fleet, regions)
}

/// Returns where an object named `kind/name` is.
pub(super) fn object(fleet: &Fleet, object: &str) -> Reach {
    let Some((kind, name)) = object.split_once('/') else { return Reach::Fleet };
    match kind {
        "region" => name.parse().map_or(Reach::Fleet, |region| Reach::region(&region)),
        "service" => name.parse().map_or(Reach::Fleet, |name| service(fleet, &name)),
        "node" => name.parse().map_or(Reach::Fleet, |name| node(fleet, &name)),
        "upgrade" => upgrade(fleet, name),
        _ => Reach::Fleet,
    }
}
