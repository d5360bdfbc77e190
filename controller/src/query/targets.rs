//! Which nodes a look at a service is about, and why others that were named are not.

use std::collections::BTreeMap;

use trireme_proto::id::{NameError, NodeId, RegionId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::query::{LookRequest, Question};

use crate::state::Fleet;

/// Nodes of one look: a fleet's largest services; of larger ones a region or nodes are named.
const NODES_MAX: usize = 1000;

/// Nodes that a look is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    /// Nodes that have the service, by region and name.
    pub nodes: Vec<(RegionId, NodeId)>,
    /// Nodes that were named and do not, with the reason.
    pub unknown: BTreeMap<NodeId, String>,
}

impl Targets {
    /// Finds the nodes that a request is about.
    pub fn find(fleet: &Fleet, request: &LookRequest) -> Result<Self, Problem> {
        let LookRequest { service, region, nodes: named } = request;
        let missing = |what: String, hint: &str| Problem::new(Code::NotFound, what).hint(hint);
        let record = fleet.services.get(service).ok_or_else(|| {
            missing(format!("there is no service {service}"), "list them: trictl get service")
        })?;
        if let Some(region) = region.as_ref().filter(|name| !fleet.regions.contains_key(name)) {
            let what = format!("there is no region {region}");
            return Err(missing(what, "list them: trictl get region"));
        }
        let mut found = Self::default();
        for (here, nodes) in fleet.placement(&record.manifest) {
            if region.as_ref().is_some_and(|wanted| *wanted != here) {
                continue;
            }
            let wanted = |node: &NodeId| named.is_empty() || named.contains(&node.to_string());
            let nodes = nodes.into_iter().filter(wanted);
            found.nodes.extend(nodes.map(|node| (here.clone(), node)));
        }
        for name in named {
            let node: NodeId =
                name.parse().map_err(|error: NameError| usage(&error.to_string()))?;
            if !found.nodes.iter().any(|(_, placed)| *placed == node) {
                let reason = unplaced(fleet, &node, region.as_ref());
                found.unknown.insert(node, reason);
            }
        }
        let count = found.nodes.len();
        if count > NODES_MAX {
            let hint = "name a region or nodes: --region NAME, --node NAME";
            let message = format!("{count} nodes are more than {NODES_MAX} at once");
            return Err(usage(&message).hint(hint));
        }
        if count == 0 && found.unknown.is_empty() {
            let place = region.as_ref().map(|region| format!(" in region {region}"));
            let message = format!("no node{} has {service}", place.unwrap_or_default());
            return Err(missing(message, "list them: trictl get node"));
        }
        Ok(found)
    }
}

impl Targets {
    /// Returns the same question to each of the nodes.
    pub fn each(&self, question: &Question) -> Vec<(NodeId, Question)> {
        self.nodes.iter().map(|(_, node)| (node.clone(), question.clone())).collect()
    }
}

fn usage(message: &str) -> Problem {
    Problem::new(Code::Usage, message)
}

/// Returns why a node that was named has nothing of what is looked at.
pub(super) fn unplaced(fleet: &Fleet, node: &NodeId, region: Option<&RegionId>) -> String {
    match (fleet.nodes.get(node), region) {
        (None, _) => "there is no such node".to_owned(),
        (Some(record), _) if record.removed => "it was removed".to_owned(),
        (Some(record), Some(region)) if record.region != *region => {
            format!("it is in region {}", record.region)
        }
        (Some(_), _) => "none of the services is placed there".to_owned(),
    }
}
