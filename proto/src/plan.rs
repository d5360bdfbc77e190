//! The plan of an upgrade: immutable, complete, known by its hash.
//!
//! A restart, a stop and a start of a service go the same way as a change of its release: in waves,
//! under the ledger. They are upgrades whose plan has another [`Operation`] and no new version.
//!
//! It holds no health and no log index: those are judged at each grant. What it does hold is
//! everything that would make a reviewed plan a different one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{NodeId, RegionId, ServiceId, Version};
use crate::time::Span;

/// What an upgrade will do, in which order, behind which gates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Service that is upgraded.
    pub service: ServiceId,
    /// What is done to it.
    #[serde(default, skip_serializing_if = "Operation::is_upgrade")]
    pub operation: Operation,
    /// Version it goes to; none where every node keeps the release that is recorded of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Version>,
    /// Revision of the service's manifest.
    pub service_revision: u64,
    /// Digest of what will run; none where that differs by node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Digest>,
    /// Nodes with the digest of what they run now, to which a rollback returns.
    pub previous: BTreeMap<NodeId, Option<Digest>>,
    /// Nodes that operators have put aside, which are left alone, and how they were put aside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aside: BTreeMap<NodeId, String>,
    /// Groups of nodes that are touched together, in order.
    pub waves: Vec<Wave>,
    /// Waits and limits.
    pub gates: Gates,
}

/// What an upgrade does to a service.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Another release takes the place of the one that runs.
    #[default]
    Upgrade,
    /// What runs is stopped and started again.
    Restart,
    /// The same, and what the driver made for it is made anew, data excepted.
    Recreate,
    /// What runs is stopped, and stays down until it is started.
    Stop,
    /// What does not serve is started.
    Start,
}

impl Operation {
    /// Returns the operation as commands and documents write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Upgrade => "upgrade",
            Self::Restart => "restart",
            Self::Recreate => "recreate",
            Self::Stop => "stop",
            Self::Start => "start",
        }
    }

    /// Returns what is being done to a service, as in "it is being restarted".
    pub fn participle(self) -> &'static str {
        match self {
            Self::Upgrade => "upgraded",
            Self::Restart => "restarted",
            Self::Recreate => "recreated",
            Self::Stop => "stopped",
            Self::Start => "started",
        }
    }

    /// Returns whether the release changes.
    pub fn is_upgrade(&self) -> bool {
        *self == Self::Upgrade
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Operation {
    type Err = OperationError;
    fn from_str(text: &str) -> Result<Self, OperationError> {
        let all = [Self::Upgrade, Self::Restart, Self::Recreate, Self::Stop, Self::Start];
        all.into_iter()
            .find(|operation| operation.word() == text)
            .ok_or_else(|| OperationError(text.to_owned()))
    }
}

/// Tells that a string is no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of upgrade, restart, recreate, stop, start")]
pub struct OperationError(String);

/// The nodes of a service that are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Regions whose nodes are meant; all if neither regions nor nodes are named.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub regions: BTreeSet<RegionId>,
    /// Single nodes that are meant.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub nodes: BTreeSet<NodeId>,
}

impl Scope {
    /// Returns whether it means a node of a region.
    pub fn means(&self, node: &NodeId, region: &RegionId) -> bool {
        let all = self.regions.is_empty() && self.nodes.is_empty();
        all || self.regions.contains(region) || self.nodes.contains(node)
    }
}

/// Nodes of one region that are touched together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// Region of all of them.
    pub region: RegionId,
    /// Nodes in order of their names.
    pub nodes: Vec<NodeId>,
}

/// Waits and limits of an upgrade, as the manifest demands them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gates {
    /// How long clients may still use an answer that names a drained node.
    pub ttl: Span,
    /// Longest wait for work in flight.
    pub drain: Span,
    /// Longest a healthy start takes to be believed: the slowest check's rise times its interval.
    pub rise: Span,
    /// Watching after each wave.
    pub bake: Span,
    /// Limit of one step on one node.
    pub step_deadline: Span,
    /// Limit of the whole upgrade.
    pub fleet_deadline: Span,
}

impl Plan {
    /// Returns the hash that a start must repeat.
    pub fn hash(&self) -> Digest {
        Digest::of_value(self)
    }

    /// Returns the name under which the plan is started.
    pub fn id(&self) -> PlanId {
        let version =
            self.to.clone().unwrap_or_else(|| Version::of_operation(self.operation.word()));
        PlanId { service: self.service.clone(), version, hash: self.hash().short() }
    }

    /// Returns the time the manifest itself demands for `waves` waves.
    pub fn required_wait(&self) -> Span {
        let wave = self.gates.ttl.0 + self.gates.drain.0 + self.gates.rise.0 + self.gates.bake.0;
        Span(wave * self.waves.len() as u64)
    }
}

/// Name of a plan: `service@version:hash`, enough to compute it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlanId {
    /// Service that is upgraded.
    pub service: ServiceId,
    /// Version it goes to; of a plan that changes no release, its operation.
    pub version: Version,
    /// First twelve digits of the hash.
    pub hash: String,
}

/// Tells that a string does not name a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` does not name a plan: `trictl upgrade plan SERVICE --to VERSION` prints one, such as web@1.4.2:0123456789ab"
)]
pub struct PlanIdError(String);

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.service, self.version, self.hash)
    }
}

impl FromStr for PlanId {
    type Err = PlanIdError;
    fn from_str(text: &str) -> Result<Self, PlanIdError> {
        let refused = || PlanIdError(text.to_owned());
        let (service, rest) = text.split_once('@').ok_or_else(refused)?;
        let (version, hash) = rest.rsplit_once(':').ok_or_else(refused)?;
        if hash.len() != 12 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refused());
        }
        Ok(Self {
            service: service.parse().map_err(|_| refused())?,
            version: version.parse().map_err(|_| refused())?,
            hash: hash.to_owned(),
        })
    }
}

impl TryFrom<String> for PlanId {
    type Error = PlanIdError;
    fn try_from(text: String) -> Result<Self, PlanIdError> {
        text.parse()
    }
}

impl From<PlanId> for String {
    fn from(id: PlanId) -> Self {
        id.to_string()
    }
}
