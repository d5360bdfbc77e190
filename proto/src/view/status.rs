//! The fleet on one screen: every service in every region, and what stands in the way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::alert::IncidentView;
use super::{ControllersView, DrainView, FreezeView, OverrideView, UpgradeView};
use crate::id::{NodeId, RegionId, ServiceId, UpgradeId};
use crate::query::Totals;

/// How a fleet stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatusView {
    /// Each service in each region, the worst first.
    pub items: Vec<ServiceHere>,
    /// What everybody should know of before anything else, in one line each.
    pub attention: Vec<String>,
    /// Controllers, and who leads.
    pub controllers: ControllersView,
    /// Nodes by state: joined, ready, lost.
    pub nodes: BTreeMap<String, usize>,
    /// Upgrades, restarts and stops that are under way.
    pub upgrades: Vec<UpgradeView>,
    /// Whether the fleet is frozen.
    pub freeze: FreezeView,
    /// Places that clients are kept away from.
    pub drains: Vec<DrainView>,
    /// Nodes that new work passes by, with by whom and why.
    pub cordons: BTreeMap<NodeId, String>,
    /// Rules of the ledger that are set aside.
    pub overrides: Vec<OverrideView>,
    /// Alerts that fire or that somebody looks after, the worst first.
    pub alerts: Vec<IncidentView>,
    /// Who answered what its services use.
    pub totals: Totals,
}

/// A service in one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceHere {
    /// The service.
    pub service: ServiceId,
    /// The region.
    pub region: RegionId,
    /// How it stands here.
    pub health: HealthHere,
    /// Nodes that serve and that clients are sent to.
    pub ready: usize,
    /// Nodes that make the region serve.
    pub needed: usize,
    /// Nodes that have it.
    pub nodes: usize,
    /// Nodes on which operators have stopped it.
    pub stopped: usize,
    /// Versions that run, with the number of nodes of each.
    pub versions: BTreeMap<String, usize>,
    /// Upgrade of the service that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeId>,
    /// Processor of the nodes that answered, in thousandths of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millicores: Option<u64>,
    /// Memory of the nodes that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Nodes that answered what it uses.
    pub answered: usize,
}

/// How a service stands in a region, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthHere {
    /// The region does not serve it.
    Down,
    /// The region serves it, and some of its nodes do not.
    Degraded,
    /// Operators have stopped it on every node.
    Stopped,
    /// Every node serves.
    Serving,
}

impl std::fmt::Display for HealthHere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Down => "down",
            Self::Degraded => "degraded",
            Self::Stopped => "stopped",
            Self::Serving => "serving",
        })
    }
}
