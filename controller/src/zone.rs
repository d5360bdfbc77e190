//! Computes the DNS zone from the replicated state. Pure.

use std::net::IpAddr;

use crate::dns::{DomainError, ServiceRecords, Target, Zone};
use crate::state::Fleet;
use crate::state::traffic;

/// Returns the zone as every controller answers it at this state, named by `primary`.
pub fn zone(fleet: &Fleet, domain: &str, primary: &str) -> Result<Zone, DomainError> {
    let mut zone = Zone::new(domain, primary)?;
    // The serial may wrap: DNS compares serials around the circle (RFC 1982).
    zone.serial = u32::try_from(fleet.index & u64::from(u32::MAX)).unwrap_or(0);
    for (name, controller) in &fleet.controllers {
        if let Some(address) = host(&controller.dns) {
            zone.nameservers.push((name.to_string(), address));
        }
    }
    for record in fleet.services.values() {
        let Some(routing) = &record.manifest.traffic else { continue };
        let targets = traffic::targets(fleet, &record.manifest)
            .into_iter()
            .filter_map(|node| {
                let address = fleet.nodes.get(&node)?.address.parse().ok()?;
                Some(Target { node: node.to_string(), address })
            })
            .collect();
        let records =
            ServiceRecords { ttl: routing.dns.ttl.to_duration(), port: routing.dns.port, targets };
        zone.services.insert(record.manifest.name.to_string(), records);
    }
    Ok(zone)
}

fn host(address: &str) -> Option<IpAddr> {
    address.parse::<std::net::SocketAddr>().ok().map(|address| address.ip())
}
