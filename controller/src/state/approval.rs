//! What people say to a plan before it starts, and what was started without that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trireme_proto::digest::Digest;
use trireme_proto::plan::{Operation, PlanId, Scope};
use trireme_proto::time::{FleetTime, WallTime};

/// Approvals of one plan; a plan that differs in anything is another one and starts without any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvals {
    /// Whole hash of the plan.
    pub plan: Digest,
    /// Who asked for its start first; they approve nothing.
    pub proposer: Option<String>,
    /// Who has approved, by subject.
    pub given: BTreeMap<String, Approval>,
    /// Who may start it without, and the record of that.
    pub broken: Option<(String, u64)>,
    /// What is to be done where, if it changes no release: the plan is computed from that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<(Operation, Scope)>,
    /// When anything was last said; the oldest are forgotten first.
    pub touched: FleetTime,
}

/// One approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Role it was given in.
    pub role: String,
    /// When, for people.
    pub at: WallTime,
    /// Fleet time at which it ends.
    pub until: FleetTime,
}

/// A plan that was started without the approvals it needs; others are told until it is reviewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Break {
    /// Plan that was let through.
    pub plan: PlanId,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When, for people.
    pub at: WallTime,
    /// Fleet time by which another person must have reviewed it.
    pub due: FleetTime,
    /// Review that closed it.
    pub review: Option<u64>,
}

/// That somebody looked at what was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// What was looked at.
    pub of: Reviewed,
    /// What was found.
    pub note: String,
    /// Incident that came of it, if one did.
    pub incident: Option<String>,
    /// Who looked.
    pub reviewer: String,
    /// When, for people.
    pub at: WallTime,
}

/// What a review is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reviewed {
    /// A plan that was started without approvals.
    Break { id: u64 },
    /// Entries of the audit: which, by what query, and how many were found.
    Audit { from: u64, to: u64, query: String, count: u64 },
    /// People and what they may do: how many there were.
    Access { count: u64 },
}

impl Reviewed {
    /// Returns the object for the audit.
    pub fn describe(&self) -> String {
        match self {
            Self::Break { id } => format!("break/break-{id}"),
            Self::Audit { from, to, .. } => format!("audit/{from}-{to}"),
            Self::Access { .. } => "users".to_owned(),
        }
    }
}
