//! A small fleet for tests: three regions of two nodes each, all serving `web` 1.0.0.

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::action::{Action, ActionKind, Fence, Observed, RunSpec, ServiceState};
use trireme_proto::digest::Digest;
use trireme_proto::id::{ActionId, GrantId, NodeId, ServiceId, UpgradeId, Version};
use trireme_proto::model::{
    Artifact, Bake, Check, Deadline, DnsTraffic, Driver, HttpCheck, Probe, ProcessDriver, Region,
    Release, Selector, Service, Serving, Traffic, UpgradePolicy,
};
use trireme_proto::time::{FleetTime, Span};

use super::command::{Evidence, NodeEvidence};
use super::fleet::{
    ActionRecord, Class, Fleet, Grant, GrantState, Holder, Node, ReleaseRecord, ServiceRecord,
};

/// Regions in the order of the service's upgrades.
pub(crate) const REGIONS: [&str; 3] = ["aws", "aliyun", "gcp"];

/// Returns the service `web`.
pub(crate) fn web() -> Service {
    let labels = BTreeMap::from([("role".to_owned(), "web".to_owned())]);
    Service {
        name: name("web"),
        nodes: Selector { labels },
        driver: Driver::Process(ProcessDriver::default()),
        serving: Serving::default(),
        checks: vec![Check {
            name: "health".to_owned(),
            probe: Probe::Http(HttpCheck {
                url: "http://{address}:8080/health".to_owned(),
                status: None,
            }),
            every: Span(200),
            timeout: Span(100),
            rise: 2,
            fall: 2,
        }],
        logs: BTreeMap::new(),
        traffic: Some(Traffic {
            dns: DnsTraffic { port: 8080, ttl: Span::secs(1) },
            drain: Span(500),
            in_flight: None,
        }),
        upgrade: UpgradePolicy {
            order: REGIONS.iter().map(|region| region.parse().expect("a name")).collect(),
            bake: Bake { region: Span::secs(2) },
            deadline: Deadline { step: Span::secs(20), fleet: Span::secs(600) },
            approvals: None,
        },
        by_hand: None,
    }
}

/// Returns a release of `web`.
pub(crate) fn release(version: &str) -> Release {
    Release {
        service: name("web"),
        version: version.parse().expect("a version"),
        artifact: Some(Artifact {
            url: format!("file:///srv/web-{version}"),
            sha256: Digest::of(version.as_bytes()),
        }),
        images: BTreeMap::new(),
        argv: vec!["{artifact}".to_owned()],
        env: BTreeMap::new(),
    }
}

/// Returns the fleet and evidence that says all is well.
pub(crate) fn serving_fleet() -> (Fleet, Evidence) {
    let mut fleet = empty_fleet();
    let spec = fleet.run_spec(&name("web"), &version("1.0.0")).expect("it was added");
    for node in fleet.nodes.values_mut() {
        node.installed.insert(name("web"), spec.clone());
        node.observed.insert(name("web"), observed(ServiceState::Serving, Some(&spec)));
    }
    let evidence = evidence(&fleet);
    (fleet, evidence)
}

/// Returns the fleet before anything was ever started.
pub(crate) fn empty_fleet() -> Fleet {
    let mut fleet = Fleet { name: "test".to_owned(), epoch: 1, ..Fleet::default() };
    let mut versions = BTreeMap::new();
    for text in ["1.0.0", "1.1.0"] {
        versions.insert(
            version(text),
            ReleaseRecord { manifest: release(text), good: text == "1.0.0" },
        );
    }
    fleet.releases.insert(name("web"), versions);
    fleet.services.insert(name("web"), ServiceRecord { manifest: web(), revision: 1 });
    fleet.revision = 1;
    for region in REGIONS {
        let manifest = Region { name: region.parse().expect("a name"), cloud: None };
        fleet.regions.insert(manifest.name.clone(), manifest);
        for number in 1..=2 {
            let node = node(region);
            fleet.nodes.insert(format!("{region}-{number}").parse().expect("a name"), node);
        }
    }
    fleet
}

fn node(region: &str) -> Node {
    Node {
        region: region.parse().expect("a name"),
        address: "127.0.0.1".to_owned(),
        labels: web().nodes.labels,
        incarnation: "disk".to_owned(),
        agent_version: String::new(),
        removed: false,
        lost: false,
        generation: 0,
        acknowledged: 0,
        report_seq: 0,
        observed: BTreeMap::new(),
        installed: BTreeMap::new(),
        drained: BTreeSet::new(),
        stopped: BTreeSet::new(),
        action: None,
    }
}

/// Returns fresh evidence of exactly what the fleet has recorded.
pub(crate) fn evidence(fleet: &Fleet) -> Evidence {
    let nodes = fleet
        .nodes
        .iter()
        .filter(|(_, node)| !node.removed && !node.lost)
        .map(|(id, node)| {
            let services = node
                .observed
                .iter()
                .map(|(service, seen)| (service.clone(), (seen.state, seen.running)))
                .collect();
            (id.clone(), NodeEvidence { age: Span(0), generation: node.generation, services })
        })
        .collect();
    Evidence { nodes }
}

/// Returns what a node says of a service.
pub(crate) fn observed(state: ServiceState, spec: Option<&RunSpec>) -> Observed {
    Observed {
        state,
        running: spec.map(RunSpec::digest),
        version: spec.map(|spec| spec.release.version.to_string()),
        failing: BTreeMap::new(),
    }
}

/// Changes what the evidence says of a node.
pub(crate) fn set_state(evidence: &mut Evidence, node: &str, state: ServiceState) {
    let node: NodeId = node.parse().expect("a name");
    if let Some(seen) = evidence.nodes.get_mut(&node) {
        for service in seen.services.values_mut() {
            service.0 = state;
        }
        if seen.services.is_empty() {
            seen.services.insert(name("web"), (state, None));
        }
    }
}

/// Commits an action on a node that it has not acknowledged.
pub(crate) fn act(fleet: &mut Fleet, node: &str) {
    let (id, node): (_, NodeId) = (ActionId(fleet.take_id()), node.parse().expect("a name"));
    let target = fleet.run_spec(&name("web"), &version("1.1.0")).expect("it was added");
    let record = fleet.nodes.get_mut(&node).expect("it was added");
    record.generation += 1;
    let action = Action {
        id,
        node,
        service: name("web"),
        upgrade: UpgradeId(0),
        fence: Fence { epoch: 1, term: 1, generation: record.generation },
        deadline: Span::secs(20),
        kind: ActionKind::Stage { target },
    };
    record.action = Some(ActionRecord { action, progress: None, offer_term: 1, at: FleetTime(0) });
}

/// Adds a held grant on nodes.
pub(crate) fn hold(fleet: &mut Fleet, nodes: &[&str]) -> GrantId {
    let id = GrantId(fleet.take_id());
    let takes = nodes.iter().map(|node| (node.parse().expect("a name"), name("web"))).collect();
    let grant = Grant {
        holder: Holder::Upgrade(UpgradeId(0)),
        wave: 0,
        class: Class::Upgrade,
        takes,
        state: GrantState::Held,
        at: FleetTime(0),
        due: FleetTime(u64::MAX),
        actor: "user/test".to_owned(),
        overrides: BTreeSet::new(),
    };
    fleet.grants.insert(id, grant);
    id
}

fn name(text: &str) -> ServiceId {
    text.parse().expect("a name")
}

fn version(text: &str) -> Version {
    text.parse().expect("a version")
}
