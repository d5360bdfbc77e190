//! How services run on their nodes and what they use: who is asked, and what a node answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::action::Observed;
use crate::id::{ActionId, RegionId, ServiceId};
use crate::time::{Span, WallTime};

/// Processes, containers and checks of a service that one node tells of.
pub const PARTS_MAX: usize = 256;

/// What an operator asks of a service's nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookRequest {
    /// The service.
    pub service: ServiceId,
    /// Only nodes of this region.
    #[serde(default)]
    pub region: Option<RegionId>,
    /// Only these nodes; empty for every node of the service.
    #[serde(default)]
    pub nodes: Vec<String>,
}

/// Asks how a service stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusQuestion {
    /// The service.
    pub service: ServiceId,
}

/// How a service stands, as its node sees it at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Which driver runs it.
    pub driver: String,
    /// What it does, in the driver's own words: running, stopped, and so on.
    pub state: String,
    /// Why it does not run, or not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What the node says of it to the fleet.
    pub observed: Observed,
    /// Action that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionId>,
    /// Starts by itself since that action's own.
    pub restarts: u64,
    /// Its processes or containers.
    pub instances: Vec<Instance>,
    /// Its checks.
    pub checks: Vec<CheckStatus>,
}

/// One process or container of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Name of the container, or of the service whose process it is.
    pub name: String,
    /// Number of the process, or the engine's id of the container.
    pub id: String,
    /// What it does: running, restarting, exited.
    pub state: String,
    /// What it says of its own health, if it says anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// Image of the container, with its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<WallTime>,
    /// Times it was started again by itself.
    pub restarts: u64,
}

/// One check of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// Name of the check.
    pub name: String,
    /// pending, passing or failing, after rise and fall.
    pub health: String,
    /// ok, warning, critical or unknown: how its newest run ended.
    pub status: String,
    /// What that run said.
    pub message: String,
    /// Since when the health is what it is.
    pub since: WallTime,
    /// How long that run took.
    pub took: Span,
}

/// Asks what services use of their host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseQuestion {
    /// The services.
    pub services: Vec<ServiceId>,
}

/// What services of one node use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUse {
    /// Processes and containers of each service that runs.
    pub services: BTreeMap<ServiceId, Vec<InstanceUse>>,
    /// Services of which the host does not tell, with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<ServiceId, String>,
}

/// What one process with its children, or one container, uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceUse {
    /// Name of the container, or of the service whose process it is.
    pub name: String,
    /// Number of the process, or the engine's id of the container.
    pub id: String,
    /// Processor between two samples, in thousandths of one core.
    pub cpu_millicores: u64,
    /// Memory that is held; of files only what several processes share is counted once.
    pub memory_bytes: u64,
    /// Memory that it may hold: its own limit, or that of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// Received since its start; nothing where its network is the host's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_bytes: Option<u64>,
    /// Sent since its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    /// Processes.
    pub processes: u64,
}
