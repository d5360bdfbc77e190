//! What placeholders stand for on this node.

use trireme_proto::id::{NodeId, RegionId};
use trireme_proto::placeholders;

pub(super) use trireme_proto::placeholders::PlaceholderError as FillError;

/// What the agent knows of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name of the node.
    pub node: NodeId,
    /// Region of the node.
    pub region: RegionId,
    /// Address at which clients reach the node.
    pub address: String,
}

/// What the placeholders of one service stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Path of the release's file.
    pub artifact: String,
    /// Address at which clients reach the node.
    pub address: String,
    /// Name of the node.
    pub node: String,
    /// Region of the node.
    pub region: String,
    /// Name of the service.
    pub service: String,
    /// Version of the release.
    pub version: String,
    /// Directory the service may keep data in.
    pub data: String,
}

impl Facts {
    /// Returns `template` with every placeholder filled in.
    pub fn fill(&self, template: &str) -> Result<String, FillError> {
        let facts = placeholders::Facts {
            artifact: &self.artifact,
            address: &self.address,
            node: &self.node,
            region: &self.region,
            service: &self.service,
            version: &self.version,
            data: &self.data,
        };
        placeholders::fill(template, &facts)
    }
}
