//! The controllers as a group, and what becomes of them.

use serde::{Deserialize, Serialize};

use crate::id::{ControllerId, RegionId};

/// The controllers as a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllersView {
    /// Name of the fleet.
    pub fleet: String,
    /// Raft term.
    pub term: u64,
    /// Who leads.
    pub leader: Option<ControllerId>,
    /// Each of them.
    pub items: Vec<ControllerView>,
    /// What becomes of them now, if anything.
    #[serde(default)]
    pub change: Option<RegroupView>,
    /// How the last change ended.
    #[serde(default)]
    pub changed: Option<RegroupedView>,
}

/// A change of controllers under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegroupView {
    /// Number of the change.
    pub number: u64,
    /// What comes of it.
    pub what: String,
    /// Who wanted it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What it waits for, as the answering controller sees it; only a leader can tell.
    pub waits_for: Option<String>,
    /// What to know of the group that comes of it.
    pub warnings: Vec<String>,
}

/// A change of controllers that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegroupedView {
    /// Number of the change.
    pub number: u64,
    /// What came of it, or would have.
    pub what: String,
    /// Why it was given up, if so.
    pub given_up: Option<String>,
}

/// One controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerView {
    /// Its name.
    pub name: ControllerId,
    /// Number in the Raft group.
    pub raft_id: u64,
    /// Region it runs in.
    pub region: RegionId,
    /// leader, follower, learner (it copies the log and does not vote) or unreachable.
    pub role: String,
    /// Address for agents and operators.
    pub address: String,
    /// Last applied index it told of.
    pub applied: Option<u64>,
    /// Agents connected to it.
    pub agents: Option<u32>,
    /// Address for other controllers.
    #[serde(default)]
    pub peer: String,
    /// Whether it votes.
    #[serde(default)]
    pub votes: bool,
    /// Entries of the leader's log that it lacks.
    #[serde(default)]
    pub lag: Option<u64>,
    /// Version of its program.
    #[serde(default)]
    pub version: Option<String>,
}
