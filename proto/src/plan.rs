//! The plan of an upgrade: immutable, complete, known by its hash.
//!
//! It holds no health and no log index: those are judged at each grant. What it does hold is
//! everything that would make a reviewed plan a different one.

use std::collections::BTreeMap;
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
    /// Version it goes to.
    pub to: Version,
    /// Revision of the service's manifest.
    pub service_revision: u64,
    /// Digest of what will run.
    pub target: Digest,
    /// Nodes with the digest of what they run now, to which a rollback returns.
    pub previous: BTreeMap<NodeId, Option<Digest>>,
    /// Groups of nodes that are touched together, in order.
    pub waves: Vec<Wave>,
    /// Waits and limits.
    pub gates: Gates,
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
        PlanId {
            service: self.service.clone(),
            version: self.to.clone(),
            hash: self.hash().short(),
        }
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
    /// Version it goes to.
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
