//! Documents that controllers answer operators with; the shapes behind `trictl --json`.
//!
//! Fields are added, never renamed: scripts read them. Lists are always `{"items": [...]}`.

pub mod alert;
pub mod approval;
mod aside;
pub mod checklist;
mod controllers;
pub mod look;
pub mod people;
pub mod status;

use std::collections::BTreeMap;

pub use aside::{DrainView, FreezeView, OverrideView, RemarkView};
pub use controllers::{ControllerView, ControllersView, RegroupView, RegroupedView};
use serde::{Deserialize, Serialize};

use crate::action::Observed;
use crate::id::{ActionId, ControllerId, GrantId, NodeId, RegionId, ServiceId, UpgradeId, Version};
use crate::model::{Object, Region, Release, Service};
use crate::plan::{Operation, Plan, PlanId};
use crate::time::{FleetTime, Span, WallTime};

/// A list of anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// Its items.
    pub items: Vec<T>,
}

/// What a dry run answers where there is nothing to show: it would have been done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Always true.
    pub dry_run: bool,
    /// What was asked for, such as `place.drain`.
    pub action: String,
    /// Object, such as `region/aws`.
    pub target: String,
}

/// What `apply` did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Revision of the manifests afterwards.
    pub revision: u64,
    /// Each object as `Kind/name`, with what happened to it.
    pub objects: BTreeMap<String, Change>,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Created,
    /// It replaces an older one.
    Changed,
    /// It was so already.
    Unchanged,
    /// It is gone.
    Deleted,
}

/// Everything a fleet is told to be, with its revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifests {
    /// Revision to carry back as the base of a change.
    pub revision: u64,
    /// All regions, services and releases.
    pub objects: Vec<Object>,
    /// What everybody should know of before anything else, in one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attention: Vec<String>,
}

/// One region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionView {
    /// Its manifest.
    #[serde(flatten)]
    pub region: Region,
    /// Nodes in it.
    pub nodes: Vec<NodeId>,
    /// Services with placed nodes here, and whether the region serves them.
    pub serving: BTreeMap<ServiceId, bool>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its manifest.
    #[serde(flatten)]
    pub service: Service,
    /// Revision of its manifest.
    pub revision: u64,
    /// Versions that may be upgraded to.
    pub versions: Vec<Version>,
    /// Regions that must serve.
    pub at_least: u32,
    /// Regions with placed nodes, and how each stands.
    pub regions: BTreeMap<RegionId, ServiceRegion>,
    /// Upgrade that is under way.
    pub upgrade: Option<UpgradeId>,
}

/// A service in one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRegion {
    /// Whether the region serves the service.
    pub serving: bool,
    /// Nodes, with the version each runs and its state.
    pub nodes: BTreeMap<NodeId, NodeService>,
}

/// A service on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeService {
    /// What the node itself says; the newest that was replicated.
    pub observed: Observed,
    /// Whether clients are sent there.
    pub in_traffic: bool,
    /// Whether an operator has stopped it there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

/// One release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseView {
    /// Its manifest.
    #[serde(flatten)]
    pub release: Release,
    /// Whether an upgrade to it has passed every bake.
    pub good: bool,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Name of the node.
    pub name: NodeId,
    /// Region it belongs to.
    pub region: RegionId,
    /// Address in DNS answers.
    pub address: String,
    /// Labels that placement looks at.
    pub labels: BTreeMap<String, String>,
    /// joined, ready, lost or removed.
    pub state: String,
    /// Counter of its newest action.
    pub generation: u64,
    /// Controller it is connected to, if the answering controller knows.
    pub connected_to: Option<ControllerId>,
    /// Time since its last heartbeat, if the answering controller knows.
    pub last_seen: Option<Span>,
    /// Version of its agent.
    pub agent_version: Option<String>,
    /// What it says of each placed service.
    pub services: BTreeMap<ServiceId, NodeService>,
    /// Action that has not ended.
    pub action: Option<ActionView>,
    /// How operators have put it aside, if they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<String>,
}

/// One action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionView {
    /// Its id.
    pub id: ActionId,
    /// stage, switch, halt, revert or confirm.
    pub kind: String,
    /// committed, accepted, running STEP, done, or how it failed.
    pub state: String,
    /// Upgrade it belongs to.
    pub upgrade: UpgradeId,
}

/// A plan with the proof that it keeps the promise, step by step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanView {
    /// Name to start it by.
    pub id: PlanId,
    /// The plan itself.
    pub plan: Plan,
    /// Version each node runs now.
    pub from: BTreeMap<NodeId, Option<String>>,
    /// Regions that must serve.
    pub at_least: u32,
    /// For each wave the regions that keep serving while it is down, by placement.
    pub keeps_serving: Vec<Vec<RegionId>>,
    /// Waits that the manifest demands.
    pub required_wait: Span,
    /// Nodes that already run the target.
    pub unchanged: Vec<NodeId>,
    /// What a reader should know before starting it.
    pub warnings: Vec<String>,
    /// Why it could not be started this moment; empty if it could.
    pub blocked: Vec<Reason>,
}

/// One upgrade, whole: what `upgrade status` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeView {
    /// Its id.
    pub id: UpgradeId,
    /// Plan it follows.
    pub plan: PlanId,
    /// Service.
    pub service: ServiceId,
    /// What it does to the service.
    #[serde(default)]
    pub operation: Operation,
    /// Version it goes to; none where no release changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Version>,
    /// Where it stands.
    pub phase: UpgradePhase,
    /// Whether it was paused by an operator.
    pub paused: bool,
    /// Why it is rolling back, was aborted or failed.
    pub reason: Option<String>,
    /// Who started it.
    pub started_by: String,
    /// When.
    pub started_at: WallTime,
    /// Fleet time at its start.
    pub started: FleetTime,
    /// Fleet time of its end.
    pub ended: Option<FleetTime>,
    /// Waves in order.
    pub waves: Vec<WaveView>,
    /// Waits that the manifest demands.
    pub required_wait: Span,
    /// What it waits for; never empty while it cannot go on.
    pub waiting: Vec<Reason>,
}

impl UpgradeView {
    /// Returns what it does, as in "restart" or "upgrade to 1.4.2".
    pub fn words(&self) -> String {
        match &self.to {
            Some(version) => format!("{} to {version}", self.operation),
            None => self.operation.to_string(),
        }
    }
}

/// Where an upgrade stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpgradePhase {
    /// It goes forward.
    Running,
    /// It was told to stop where it is, and lets what has begun end safely.
    Aborting,
    /// It goes back.
    RollingBack,
    /// Every node runs the target and every bake has passed.
    Succeeded,
    /// Every touched node runs what it ran before.
    RolledBack,
    /// It was stopped where it was.
    Aborted,
    /// It could not go back by itself; a person must look.
    RollbackFailed,
}

impl UpgradePhase {
    /// Returns whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::RolledBack | Self::Aborted | Self::RollbackFailed)
    }
}

/// One wave of an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveView {
    /// Region of its nodes.
    pub region: RegionId,
    /// waiting, staging, draining, switching, baking, confirming, passed, rolling back, rolled back.
    pub state: String,
    /// Grant it holds.
    pub grant: Option<GrantId>,
    /// Rest of the wait it is in, if that is a matter of time alone.
    pub remaining: Option<Span>,
    /// Nodes, each with its stage and what its action is doing.
    pub nodes: BTreeMap<NodeId, WaveNode>,
}

/// One node of a wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveNode {
    /// Stage in the upgrade, in one or two words.
    pub stage: String,
    /// Step that its action is at.
    pub step: Option<String>,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
}

/// Why something does not advance: predicate, evidence, and who or what can unblock it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Condition that does not hold, such as `serving.at_least`.
    pub predicate: String,
    /// What was seen.
    pub evidence: String,
    /// Who or what can change it.
    pub unblock: String,
}

/// Why an object is as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyView {
    /// Object that was asked about, as `kind/name`.
    pub object: String,
    /// Its state in a few words.
    pub state: String,
    /// What it waits for; empty only when it waits for nothing.
    pub reasons: Vec<Reason>,
    /// What an operator left on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<NoteView>,
}

/// What an operator left on an object for others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteView {
    /// Object, as `kind/name`.
    pub object: String,
    /// What it says; empty once it is removed.
    pub text: String,
    /// Who wrote it.
    pub actor: String,
    /// When.
    pub at: WallTime,
}

/// One grant of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    /// Its id.
    pub id: GrantId,
    /// Upgrade or drain that holds it.
    pub holder: String,
    /// What it takes, as node/service.
    pub takes: Vec<String>,
    /// held, overdue, released or forced.
    pub state: String,
    /// Fleet time since it was granted.
    pub age: Span,
    /// What will release it.
    pub released_by: String,
    /// Who is answerable for it.
    pub actor: String,
}

/// A one-time token; the only time its text is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// Public part.
    pub id: String,
    /// Whole token for the agent.
    pub token: String,
    /// Node it is bound to.
    pub node: NodeId,
    /// Region it is bound to.
    pub region: RegionId,
    /// When it ends.
    pub expires_at: WallTime,
    /// Command that joins the node.
    pub join: String,
}

impl std::fmt::Debug for TokenView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenView").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A one-time token as it is listed: never its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenListed {
    /// Public part.
    pub id: String,
    /// Node it is bound to.
    pub node: NodeId,
    /// Region it is bound to.
    pub region: RegionId,
    /// When it ends.
    pub expires_at: WallTime,
    /// waiting, used or expired.
    pub state: String,
}

/// One entry of the audit log; the chain is over the canonical JSON of all but `hash`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Number of the entry, from 1 without gaps.
    pub seq: u64,
    /// Log index that made it.
    pub index: u64,
    /// Wall time of the leader that proposed it.
    pub time: WallTime,
    /// Who: `user/ann`, `agent/aws-1` or `controller/c1`.
    pub actor: String,
    /// Role they acted in.
    pub role: String,
    /// Operation, such as `upgrade.start`.
    pub action: String,
    /// Object, such as `service/web`.
    pub target: String,
    /// `done`, or `refused: ` or `waiting: ` with the message.
    pub result: String,
    /// Why, as whoever asked has said it; empty where none is asked for. Older entries lack it, and
    /// an empty one is left out of what is hashed, so that theirs stay true.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Address the request came from.
    pub source: String,
    /// Request it belongs to.
    pub request_id: String,
    /// Hash of the entry before; zeros for the first.
    pub previous: String,
    /// Hash of this entry.
    pub hash: String,
}

impl AuditEntry {
    /// Returns the entry with its hash.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.hash.clear();
        self.hash = crate::digest::Digest::of_value(&self).to_string();
        self
    }

    /// Returns the hash that `hash` must equal.
    pub fn computed_hash(&self) -> String {
        self.clone().sealed().hash
    }
}
