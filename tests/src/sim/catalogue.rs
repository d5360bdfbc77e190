//! The manifests of simulated fleets, and the truth about every release that no manifest tells.

use std::collections::BTreeMap;

use trireme_controller::state::fleet::Controller;
use trireme_proto::digest::Digest;
use trireme_proto::id::{ControllerId, NodeId, RegionId, ServiceId, Version};
use trireme_proto::model::{
    Artifact, Bake, Check, Deadline, DnsTraffic, Driver, Object, Probe, ProcessDriver, Region,
    Release, Selector, Service, Serving, TcpCheck, Traffic, UpgradePolicy,
};
use trireme_proto::time::Span;

use super::config::{CONTROLLERS, Config, REGIONS};

/// Version that runs everywhere when a history does not begin with nothing.
pub const FIRST: &str = "1.0.0";
/// Versions there are; what becomes of each is in [`truth`].
pub const VERSIONS: [&str; 7] =
    [FIRST, "1.1.0", "1.2.0", "2.0.0-never", "2.1.0-late", "2.2.0-gone", "2.3.0-picky"];

/// What a release does on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// It becomes healthy and stays so.
    Good,
    /// It never becomes healthy.
    Never,
    /// It becomes healthy and fails a while later.
    Late,
    /// Its artifact cannot be fetched.
    Gone,
    /// It becomes healthy except on the last node of a region.
    Picky,
}

/// Returns what a version does on hosts.
pub fn truth(version: &Version) -> Truth {
    match version.as_str().split_once('-').map(|(_, word)| word) {
        Some("never") => Truth::Never,
        Some("late") => Truth::Late,
        Some("gone") => Truth::Gone,
        Some("picky") => Truth::Picky,
        _ => Truth::Good,
    }
}

/// Returns a name that is known to be one.
pub fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("names in the simulation are well formed")
}

/// Returns the name of a region.
pub fn region(index: usize) -> RegionId {
    name(REGIONS[index])
}

/// Returns the name of the node at `number`, from zero, in a region.
pub fn node(region: usize, number: usize) -> NodeId {
    name(&format!("{}-{}", REGIONS[region], number + 1))
}

/// Returns the name of a controller.
pub fn controller(index: usize) -> ControllerId {
    name(&format!("c{}", index + 1))
}

/// Returns the labels of every node.
pub fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("role".to_owned(), "app".to_owned())])
}

/// Returns the controllers as others reach them.
pub fn controllers(config: &Config) -> BTreeMap<ControllerId, Controller> {
    (0..CONTROLLERS)
        .map(|index| {
            let record = Controller {
                raft_id: index as u64 + 1,
                region: region(index % config.nodes.len()),
                address: format!("127.0.0.{index}:1"),
                enrol: format!("127.0.0.{index}:2"),
                dns: format!("127.0.0.{index}:3"),
                peer: format!("127.0.0.{index}:4"),
            };
            (controller(index), record)
        })
        .collect()
}

/// Returns every manifest a fleet begins with.
pub fn objects(config: &Config) -> Vec<Object> {
    let regions = (0..config.nodes.len())
        .map(|index| Object::Region(Region { name: region(index), cloud: None }));
    let services = config.services.iter().map(|text| Object::Service(service(config, text)));
    let releases = config.services.iter().flat_map(|text| {
        VERSIONS.iter().map(move |version| Object::Release(release(text, version)))
    });
    regions.chain(services).chain(releases).collect()
}

/// Returns a service as the configuration wants it.
pub fn service(config: &Config, text: &str) -> Service {
    Service {
        name: name(text),
        nodes: Selector { labels: labels() },
        driver: Driver::Process(ProcessDriver::default()),
        serving: Serving { at_least: config.at_least, nodes: config.serving_nodes },
        checks: vec![Check {
            name: "port".to_owned(),
            probe: Probe::Tcp(TcpCheck { address: "{address}:8080".to_owned() }),
            every: Span(500),
            timeout: Span(200),
            rise: 2,
            fall: 2,
        }],
        logs: [].into(),
        traffic: Some(Traffic {
            dns: DnsTraffic { port: 8080, ttl: Span::secs(1) },
            drain: Span(500),
            in_flight: None,
        }),
        upgrade: UpgradePolicy {
            order: (0..config.nodes.len()).map(region).collect(),
            bake: Bake { region: Span(config.bake_ms) },
            deadline: Deadline { step: Span(config.step_ms), fleet: Span(config.fleet_ms) },
            approvals: None,
        },
        by_hand: None,
    }
}

/// Returns a release of a service.
pub fn release(service: &str, version: &str) -> Release {
    let content = format!("{service}-{version}");
    Release {
        service: name::<ServiceId>(service),
        version: name(version),
        artifact: Some(Artifact {
            url: format!("file:///srv/{content}"),
            sha256: Digest::of(content.as_bytes()),
        }),
        images: BTreeMap::new(),
        argv: vec!["{artifact}".to_owned()],
        env: BTreeMap::new(),
    }
}
