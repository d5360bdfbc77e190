//! How services stand on their nodes: what the fleet wants there, and what the nodes say.

use serde::{Deserialize, Serialize};

use super::ActionView;
use crate::id::{NodeId, RegionId, ServiceId, Version};
use crate::query::{InstanceUse, ServiceStatus, Totals};

/// A service on all nodes that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// The service.
    pub service: ServiceId,
    /// Regions that serve, by what is replicated.
    pub serving: Vec<RegionId>,
    /// Regions that must serve.
    pub at_least: u32,
    /// Each node, by region and name.
    pub items: Vec<NodeStatus>,
    /// Who answered.
    pub totals: Totals,
}

/// A service on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// Its region.
    pub region: RegionId,
    /// What the fleet wants there.
    pub desired: Desired,
    /// Whether clients are sent there.
    pub in_traffic: bool,
    /// How operators have put the node aside, if they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<String>,
    /// Action of the node that has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionView>,
    /// What the node says; nothing if it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ServiceStatus>,
    /// Why it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
}

/// What the fleet wants of a service on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Version that should run; none if nothing should.
    pub version: Option<Version>,
    /// Whether an operator has stopped it there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

/// What a service uses on all nodes that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseView {
    /// The service.
    pub service: ServiceId,
    /// Each process or container, what uses most of the processor first.
    pub items: Vec<NodeInstanceUse>,
    /// Who answered.
    pub totals: Totals,
}

/// What one process or container of a node uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInstanceUse {
    /// The node.
    pub node: NodeId,
    /// Its region.
    pub region: RegionId,
    /// What it uses.
    #[serde(flatten)]
    pub used: InstanceUse,
}
