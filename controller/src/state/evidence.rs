//! What the leader knew when it asked, as commands carry it.
//!
//! In the log, what many nodes say alike stands once: ten thousand nodes whose services are as
//! they should be take some 300 KB, where a line each would not fit into one command.
//!
//! ```text
//!  {"said": [{"web": ["serving", "sha256:.."]}], "seen": {"aws-1": [340, 7, 0], ..}}
//!                                                           age, generation, which of `said`
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trireme_proto::action::ServiceState;
use trireme_proto::digest::Digest;
use trireme_proto::id::{NodeId, ServiceId};
use trireme_proto::time::Span;

/// State of each service of a node, and the digest of what runs.
type Services = BTreeMap<ServiceId, (ServiceState, Option<Digest>)>;

/// What the leader knew when it asked, so that apply judges the same on every controller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Nodes that were heard from.
    pub nodes: BTreeMap<NodeId, NodeEvidence>,
}

/// What was known of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEvidence {
    /// Time since its heartbeat, counted from when the leader asked.
    pub age: Span,
    /// Generation it acknowledges.
    pub generation: u64,
    /// State of each service, and the digest of what runs.
    pub services: Services,
}

#[derive(Serialize)]
struct Written<'a> {
    said: Vec<&'a Services>,
    seen: BTreeMap<&'a NodeId, (Span, u64, usize)>,
}

#[derive(Deserialize)]
struct Read {
    #[serde(default)]
    said: Vec<Services>,
    #[serde(default)]
    seen: BTreeMap<NodeId, (Span, u64, usize)>,
    /// As it was written up to 0.1.0: a log outlives the program that wrote it.
    #[serde(default)]
    nodes: BTreeMap<NodeId, NodeEvidence>,
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut said: Vec<&Services> = Vec::new();
        let mut known: BTreeMap<&Services, usize> = BTreeMap::new();
        let mut seen = BTreeMap::new();
        for (node, evidence) in &self.nodes {
            let which = *known.entry(&evidence.services).or_insert_with(|| {
                said.push(&evidence.services);
                said.len() - 1
            });
            seen.insert(node, (evidence.age, evidence.generation, which));
        }
        Written { said, seen }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Evidence {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Read { said, seen, mut nodes } = Read::deserialize(from)?;
        for (node, (age, generation, which)) in seen {
            let services = said.get(which).cloned().ok_or_else(|| {
                serde::de::Error::custom(format!("node {node} says what was never said"))
            })?;
            nodes.insert(node, NodeEvidence { age, generation, services });
        }
        Ok(Self { nodes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::COMMAND_BYTES_MAX;
    use crate::state::testing;

    #[test]
    fn reads_what_it_writes_and_what_0_1_0_wrote() {
        let (_, evidence) = testing::serving_fleet();
        let written = serde_json::to_string(&evidence).unwrap();
        assert_eq!(serde_json::from_str::<Evidence>(&written).unwrap(), evidence);
        let old = serde_json::json!({ "nodes": evidence.nodes }).to_string();
        assert_eq!(serde_json::from_str::<Evidence>(&old).unwrap(), evidence);
        assert!(serde_json::from_str::<Evidence>(r#"{"seen": {"a": [0, 0, 0]}}"#).is_err());
    }

    #[test]
    fn ten_thousand_nodes_fit_into_a_third_of_a_command() {
        let (_, evidence) = testing::serving_fleet();
        let one = evidence.nodes.values().next().unwrap();
        let named = |number| (format!("ap-southeast-{number}").parse().unwrap(), one.clone());
        let many = Evidence { nodes: (0..10_000).map(named).collect() };
        let length = serde_json::to_vec(&many).unwrap().len();
        assert!(length < COMMAND_BYTES_MAX / 3, "{length}");
    }
}
