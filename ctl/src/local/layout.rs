//! Where everything of a local fleet is: names, addresses, files, and the daemons' configuration.
//!
//! ```text
//!  127.R.2S.K     controller K of region R in slot S        R: 1 aws, 2 aliyun, 3 gcp
//!  127.R.2S+1.N   node N of region R                        S: so that fleets can live side by side
//! ```
//!
//! Pure: shapes in, names and texts out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;
use trireme_proto::id::{ControllerId, NodeId, RegionId};
use trireme_proto::identity::FleetName;

/// Regions of a local fleet, in the order of their addresses.
pub const REGIONS: [&str; 3] = ["aws", "aliyun", "gcp"];
/// Agents per region that have an address each.
pub const AGENTS_MAX: usize = 250;
/// Fleets that can live side by side on one machine.
pub(super) const SLOTS: u8 = 100;

/// Most controllers of a fleet: more than five make no group faster or safer.
pub(super) const CONTROLLERS_MAX: usize = 5;

/// Ports of a controller.
const PEER: u16 = 7401;
const API: u16 = 7402;
const ENROL: u16 = 7403;
const DNS: u16 = 7453;
/// Ports for metrics and health, of a controller and of an agent.
const TELEMETRY: u16 = 7404;
const AGENT_TELEMETRY: u16 = 7405;
/// Ports on its address where somebody in between listens for it.
const PEER_DOOR: u16 = 8401;
const API_DOOR: u16 = 8402;
const OPERATOR_DOOR: u16 = 8404;

/// What kind of fleet it is; kept with it, so that a later run finds it as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Name of the fleet.
    pub fleet: FleetName,
    /// Domain that its DNS answers for.
    pub domain: String,
    /// Controllers, dealt out over the regions.
    #[serde(default = "one_in_each_region")]
    pub controllers: usize,
    /// Whether controllers and agents are told [`Doors`] in place of the controllers' own
    /// addresses; whoever makes such a fleet listens there and passes on.
    #[serde(default)]
    pub through_doors: bool,
    /// Agents in each region.
    pub agents: usize,
    /// Labels of every node.
    pub labels: BTreeMap<String, String>,
    /// Timing of the controllers: lan, wan or wan-slow.
    pub profile: String,
    /// Log entries between snapshots; the controllers' own default if absent.
    pub snapshot_every: Option<u64>,
    /// Ports that services will need on the nodes' addresses.
    pub service_ports: Vec<u16>,
}

impl Shape {
    /// Returns a fleet of two agents per region, timed for one machine, labelled `role: web`.
    pub fn new(fleet: FleetName) -> Self {
        Self {
            domain: format!("{fleet}.test"),
            fleet,
            controllers: one_in_each_region(),
            through_doors: false,
            agents: 2,
            labels: BTreeMap::from([("role".to_owned(), "web".to_owned())]),
            profile: "lan".to_owned(),
            snapshot_every: None,
            service_ports: Vec::new(),
        }
    }

    /// Returns the nodes, region by region.
    pub(super) fn nodes(&self, slot: u8) -> Vec<NodePlace> {
        let region = |(number, region): (u8, &str)| {
            let name = region.to_owned();
            (1_u8..=u8::try_from(self.agents).unwrap_or(u8::MAX)).map(move |node| NodePlace {
                node: parsed(&format!("{name}-{node}")),
                region: parsed(&name),
                ip: Ipv4Addr::new(127, number, 2 * slot + 1, node),
            })
        };
        (1_u8..).zip(REGIONS).flat_map(region).collect()
    }

    /// Returns every address that the controllers listen on.
    pub(super) fn listeners(&self, slot: u8) -> Vec<SocketAddr> {
        let places = self.controllers(slot).into_iter();
        let listeners = |place: ControllerPlace| {
            [place.peer(), place.api(), place.enrol(), place.dns(), place.telemetry()]
        };
        places.flat_map(listeners).collect()
    }

    /// Returns the controllers, region by region and then over again.
    pub(super) fn controllers(&self, slot: u8) -> Vec<ControllerPlace> {
        (1_u8..=u8::try_from(self.controllers).unwrap_or(u8::MAX))
            .map(|number| Self::controller(slot, number))
            .collect()
    }

    /// Returns the controller of a number, which need not be one of those it is made with.
    pub(super) fn controller(slot: u8, number: u8) -> ControllerPlace {
        let (place, round) = ((number - 1) % 3, (number - 1) / 3 + 1);
        let region = REGIONS[usize::from(place)];
        let again = if round == 1 { String::new() } else { format!("-{round}") };
        ControllerPlace {
            name: parsed(&format!("c-{region}{again}")),
            region: parsed(region),
            raft_id: number.into(),
            ip: Ipv4Addr::new(127, place + 1, 2 * slot, round),
        }
    }

    /// Returns every address that must be free before the fleet can be made.
    pub(super) fn needed(&self, slot: u8) -> Vec<SocketAddr> {
        let nodes = self.nodes(slot).into_iter();
        let served = nodes.flat_map(|node| {
            let served = self.service_ports.iter();
            let served = served.map(move |port| SocketAddr::new(node.ip.into(), *port));
            served.chain(std::iter::once(node.telemetry()))
        });
        let doors = self.controllers(slot).into_iter().filter(|_| self.through_doors);
        let doors = doors.map(|place| place.doors()).flat_map(|d| [d.peer, d.api, d.operator]);
        self.listeners(slot).into_iter().chain(served).chain(doors).collect()
    }

    /// Returns the configuration of one controller.
    pub(super) fn controller_config(&self, slot: u8, own: &ControllerPlace, data: &Path) -> String {
        let member = |place: &ControllerPlace| {
            json!({
                "name": place.name, "region": place.region, "raft_id": place.raft_id,
                "peer": self.reached(place).0, "api": self.reached(place).1,
                "enrol": place.enrol(),
                "dns": place.dns(),
            })
        };
        let mut places = self.controllers(slot);
        // One that came later, or under another id, is listed as it is.
        places.retain(|place| place.name != own.name);
        let at = places.partition_point(|place| place.raft_id < own.raft_id);
        places.insert(at, own.clone());
        let controllers: Vec<_> = places.iter().map(member).collect();
        let mut config = json!({
            "fleet": self.fleet, "name": own.name, "region": own.region, "raft_id": own.raft_id,
            "data": data, "profile": self.profile, "domain": self.domain,
            "listen": {
                "peer": own.peer(), "api": own.api(), "enrol": own.enrol(), "dns": own.dns(),
            },
            "telemetry": { "listen": own.telemetry() },
            "controllers": controllers,
        });
        if let Some(every) = self.snapshot_every {
            config["snapshot_every"] = every.into();
        }
        // YAML takes JSON as it is.
        format!("{config:#}\n")
    }

    /// Returns the configuration of one agent; it joins through its own region's controller.
    pub(super) fn agent_config(&self, slot: u8, own: &NodePlace, dir: &Path) -> String {
        let all = self.controllers(slot);
        let near = all.iter().find(|place| place.region == own.region);
        let known: Vec<_> = all
            .iter()
            .map(|place| json!({"address": self.reached(place).1, "region": place.region}))
            .collect();
        let config = json!({
            "data": dir.join("data"),
            "controllers": known,
            "join": { "address": near.unwrap_or(&all[0]).enrol() },
            "telemetry": { "listen": own.telemetry() },
        });
        format!("{config:#}\n")
    }

    /// Returns where other controllers, and where agents, are told that a controller is.
    fn reached(&self, place: &ControllerPlace) -> (SocketAddr, SocketAddr) {
        let doors = place.doors();
        if self.through_doors { (doors.peer, doors.api) } else { (place.peer(), place.api()) }
    }
}

/// Where somebody in between listens for one controller, and what it passes on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doors {
    /// Other controllers come here.
    pub peer: SocketAddr,
    /// Agents come here.
    pub api: SocketAddr,
    /// Operators may come here.
    pub operator: SocketAddr,
    /// Who comes by `peer` is passed on to here.
    pub peer_behind: SocketAddr,
    /// Who comes by `api` or `operator` is passed on to here.
    pub api_behind: SocketAddr,
}

/// Controllers of a fleet that does not say otherwise.
fn one_in_each_region() -> usize {
    REGIONS.len()
}

/// Where one controller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ControllerPlace {
    pub(super) name: ControllerId,
    pub(super) region: RegionId,
    pub(super) raft_id: u64,
    ip: Ipv4Addr,
}

impl ControllerPlace {
    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), port)
    }

    pub(super) fn doors(&self) -> Doors {
        Doors {
            peer: self.at(PEER_DOOR),
            api: self.at(API_DOOR),
            operator: self.at(OPERATOR_DOOR),
            peer_behind: self.peer(),
            api_behind: self.api(),
        }
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.at(PEER)
    }

    pub(super) fn api(&self) -> SocketAddr {
        self.at(API)
    }

    pub(super) fn enrol(&self) -> SocketAddr {
        self.at(ENROL)
    }

    pub(super) fn dns(&self) -> SocketAddr {
        self.at(DNS)
    }

    pub(super) fn telemetry(&self) -> SocketAddr {
        self.at(TELEMETRY)
    }
}

/// Where one node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodePlace {
    pub(super) node: NodeId,
    pub(super) region: RegionId,
    pub(super) ip: Ipv4Addr,
}

impl NodePlace {
    pub(super) fn telemetry(&self) -> SocketAddr {
        SocketAddr::new(self.ip.into(), AGENT_TELEMETRY)
    }
}

/// Files of a fleet below its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) root: PathBuf,
}

impl Files {
    /// What the fleet is, written when it is complete.
    pub(super) fn record(&self) -> PathBuf {
        self.root.join("fleet.json")
    }

    /// The root of the fleet, as `trictl ca` keeps it.
    pub(super) fn ca(&self) -> PathBuf {
        self.root.join("ca")
    }

    /// Logs and numbers of the daemons.
    pub(super) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The context file of `trictl`.
    pub(super) fn context(&self) -> PathBuf {
        self.root.join("config.yaml")
    }

    /// Directory of one controller.
    pub(super) fn controller(&self, name: &ControllerId) -> PathBuf {
        self.root.join("controllers").join(name.as_str())
    }

    /// Directory of one agent.
    pub(super) fn agent(&self, node: &NodeId) -> PathBuf {
        self.root.join("agents").join(node.as_str())
    }
}

fn parsed<T: std::str::FromStr>(name: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    name.parse().expect("our own names are lower-case words and numbers")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn shape() -> Shape {
        Shape { service_ports: vec![8080], ..Shape::new("dev".parse().unwrap()) }
    }

    #[test]
    fn addresses_of_two_fleets_never_meet() {
        let agents = AGENTS_MAX;
        let shape = Shape { agents, controllers: CONTROLLERS_MAX, through_doors: true, ..shape() };
        let all: Vec<_> = (0..SLOTS).flat_map(|slot| shape.needed(slot)).collect();
        let distinct: BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        let first: Vec<_> = shape.needed(0).iter().map(ToString::to_string).collect();
        assert_eq!(first[0], "127.1.0.1:7401");
        assert!(first.contains(&"127.3.1.250:8080".to_owned()));
    }

    #[test]
    fn every_controller_is_told_of_every_controller() {
        let shape = shape();
        let places = shape.controllers(1);
        let text = shape.controller_config(1, &places[1], Path::new("/x/data"));
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["name"], "c-aliyun");
        assert_eq!(config["raft_id"], 2);
        assert_eq!(config["listen"]["api"], "127.2.2.1:7402");
        assert_eq!(config["controllers"].as_array().unwrap().len(), 3);
        assert_eq!(config["controllers"][2]["dns"], "127.3.2.1:7453");
        assert_eq!(config.get("snapshot_every"), None);
    }

    #[test]
    fn an_agent_joins_in_its_own_region_and_knows_every_controller() {
        let shape = shape();
        let text = shape.agent_config(0, &shape.nodes(0)[2], Path::new("/x/agents/aliyun-1"));
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["join"]["address"], "127.2.0.1:7403");
        assert_eq!(config["data"], "/x/agents/aliyun-1/data");
        assert_eq!(config["controllers"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn five_controllers_are_dealt_out_and_reached_through_their_doors() {
        let shape = Shape { controllers: 5, through_doors: true, ..shape() };
        let places = shape.controllers(1);
        let names: Vec<_> = places.iter().map(|place| place.name.to_string()).collect();
        assert_eq!(names, ["c-aws", "c-aliyun", "c-gcp", "c-aws-2", "c-aliyun-2"]);
        let text = shape.controller_config(1, &places[4], Path::new("/x/data"));
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["listen"]["peer"], "127.2.2.2:7401");
        assert_eq!(config["controllers"][4]["peer"], "127.2.2.2:8401");
        assert_eq!(config["controllers"][4]["raft_id"], 5);
        let text = shape.agent_config(1, &shape.nodes(1)[0], Path::new("/x/agents/aws-1"));
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["controllers"][3]["address"], "127.1.2.2:8402");
        assert_eq!(config["join"]["address"], "127.1.2.1:7403");
    }

    #[test]
    fn nodes_are_named_after_their_regions() {
        let nodes = shape().nodes(0);
        let names: Vec<_> = nodes.iter().map(|place| place.node.to_string()).collect();
        assert_eq!(names, ["aws-1", "aws-2", "aliyun-1", "aliyun-2", "gcp-1", "gcp-2"]);
        assert_eq!(nodes[5].ip.to_string(), "127.3.1.2");
    }
}
