//! All replicated state, in ordered maps so that every controller holds the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use trireme_proto::action::{Action, ActionKind, Observed, Progress, RunSpec, ServiceState};
use trireme_proto::digest::Digest;
use trireme_proto::id::{
    ControllerId, GrantId, NodeId, OverrideId, Place, RegionId, ServiceId, UpgradeId, Version,
};
use trireme_proto::identity::UserName;
use trireme_proto::model::{Region, Release, Service};
use trireme_proto::plan::Operation;
use trireme_proto::source::Network;
use trireme_proto::time::{FleetTime, WallTime};
use trireme_proto::token::SecretHash;

use super::alert::Alerts;
use super::approval::{Approvals, Break, Review};
use super::aside::{Drain, Override, Remark};
use super::checklist::Checklists;
use super::command::Reply;
use super::controllers::{Regroup, Regrouped, Retired};
use super::people::User;
pub use super::upgrade::{Stage, Upgrade, WaveRecord};

/// Everything the controllers agree on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// Name of the fleet, as in every certificate.
    pub name: String,
    /// Domain that the built-in DNS answers for.
    pub domain: String,
    /// Rises only when the controllers are recovered by hand.
    pub epoch: u64,
    /// Last applied log index.
    pub index: u64,
    /// Term of the entry at that index.
    pub term: u64,
    /// Newest fleet time of any command.
    pub now: FleetTime,
    /// Newest wall time of any command; for people.
    pub wall: WallTime,
    /// Source of numbered ids.
    pub last_id: u64,
    /// Revision of the manifests; rises with each change of them.
    pub revision: u64,
    /// Controllers and where to reach them.
    pub controllers: BTreeMap<ControllerId, Controller>,
    /// Log index at which the controllers last became others.
    #[serde(default)]
    pub controllers_at: u64,
    /// What becomes of the controllers now, if anything.
    #[serde(default)]
    pub regroup: Option<Regroup>,
    /// How the last change of them ended.
    #[serde(default)]
    pub regrouped: Option<Regrouped>,
    /// Raft ids that are never used again.
    #[serde(default)]
    pub retired: BTreeMap<u64, Retired>,
    /// Regions.
    pub regions: BTreeMap<RegionId, Region>,
    /// Services.
    pub services: BTreeMap<ServiceId, ServiceRecord>,
    /// Releases of each service.
    pub releases: BTreeMap<ServiceId, BTreeMap<Version, ReleaseRecord>>,
    /// Nodes, removed ones included: their names never come back.
    pub nodes: BTreeMap<NodeId, Node>,
    /// The ledger.
    pub grants: BTreeMap<GrantId, Grant>,
    /// Upgrades, ended ones included.
    pub upgrades: BTreeMap<UpgradeId, Upgrade>,
    /// One-time tokens that were not used yet.
    pub tokens: BTreeMap<String, Token>,
    /// Identities that may do nothing any more, with the reason.
    pub denied: BTreeMap<String, String>,
    /// Last command of each client, so that a repeated one is answered and not applied.
    pub clients: BTreeMap<String, ClientRecord>,
    /// What operators left on objects, by `kind/name`.
    #[serde(default)]
    pub notes: BTreeMap<String, Note>,
    /// Places that operators keep clients away from.
    #[serde(default)]
    pub drains: BTreeMap<Place, Drain>,
    /// Nodes that new work passes by.
    #[serde(default)]
    pub cordons: BTreeMap<NodeId, Remark>,
    /// Since when nothing new may be taken away, if so.
    #[serde(default)]
    pub freeze: Option<Remark>,
    /// Exceptions to rules of the ledger, ended ones excluded.
    #[serde(default)]
    pub overrides: BTreeMap<OverrideId, Override>,
    /// People, removed ones included.
    #[serde(default)]
    pub users: BTreeMap<UserName, User>,
    /// Log index at which anybody last lost something that they might still be doing.
    #[serde(default)]
    pub users_lost: u64,
    /// Networks that people may ask from; anywhere if there are none.
    #[serde(default)]
    pub sources: BTreeSet<Network>,
    /// Rules, channels, and what was found and said by them.
    #[serde(default)]
    pub alerts: Alerts,
    /// What people say to plans that have not started, by the plan's name.
    #[serde(default)]
    pub approvals: BTreeMap<String, Approvals>,
    /// Plans that were started without the approvals they needed.
    #[serde(default)]
    pub breaks: BTreeMap<u64, Break>,
    /// That people looked at what was done.
    #[serde(default)]
    pub reviews: BTreeMap<u64, Review>,
    /// What is looked at again and again, and how that went.
    #[serde(default)]
    pub checklists: Checklists,
    /// End of the audit chain.
    pub audit: AuditHead,
}

/// A controller as others reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controller {
    /// Number in the Raft group.
    pub raft_id: u64,
    /// Region it runs in.
    pub region: RegionId,
    /// host:port for agents and operators.
    pub address: String,
    /// host:port for joining nodes.
    pub enrol: String,
    /// host:port of its DNS.
    pub dns: String,
    /// host:port for other controllers; empty if it was listed before this was kept.
    #[serde(default)]
    pub peer: String,
}

impl Controller {
    /// Returns every address it listens on.
    pub fn places(&self) -> [&str; 4] {
        [&self.peer, &self.address, &self.enrol, &self.dns]
    }
}

/// A service and the revision that last changed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its manifest.
    pub manifest: Service,
    /// Manifest revision of its last change.
    pub revision: u64,
}

/// A release and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRecord {
    /// Its manifest; never changes.
    pub manifest: Release,
    /// Whether an upgrade to it has passed every bake.
    pub good: bool,
}

/// A node as the controllers know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Region it belongs to.
    pub region: RegionId,
    /// Address in DNS answers and placeholders.
    pub address: String,
    /// Labels that placement looks at.
    pub labels: BTreeMap<String, String>,
    /// Random id of the agent's data directory; another one is another agent.
    pub incarnation: String,
    /// Version of its agent; empty until it has connected once.
    pub agent_version: String,
    /// Removed for ever by an operator.
    pub removed: bool,
    /// No controller has heard from it for a presence window.
    pub lost: bool,
    /// Counter of its newest action.
    pub generation: u64,
    /// Generation that its newest replicated observation acknowledged.
    pub acknowledged: u64,
    /// Last report that was applied.
    pub report_seq: u64,
    /// What it last said of each service, transitions only.
    pub observed: BTreeMap<ServiceId, Observed>,
    /// What the last finished action left running.
    pub installed: BTreeMap<ServiceId, RunSpec>,
    /// Services for which clients are kept away from it.
    pub drained: BTreeSet<ServiceId>,
    /// Services that operators have stopped there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub stopped: BTreeSet<ServiceId>,
    /// Its newest action.
    pub action: Option<ActionRecord>,
}

impl Node {
    /// Returns whether an action of `upgrade` may be committed for it: a node does one action at a
    /// time, and one upgrade must not push another's aside (I6).
    pub fn is_free_for(&self, upgrade: UpgradeId) -> bool {
        let under_way = self.action.as_ref().filter(|record| !record.is_final());
        under_way.is_none_or(|record| record.action.upgrade == upgrade)
    }

    /// Returns whether an agent that holds `generation` knows of its newest action.
    ///
    /// The number alone also rises when a person ends a grant: then there is nothing to know of,
    /// and waiting for a word about it would count the node as down for ever.
    pub fn acknowledges(&self, generation: u64) -> bool {
        self.action.as_ref().is_none_or(|record| record.action.fence.generation <= generation)
    }

    /// Returns whether `service` runs healthily there, by the last replicated observation.
    pub fn serves(&self, service: &ServiceId) -> bool {
        !self.removed
            && !self.lost
            && self.observed.get(service).is_some_and(|seen| seen.state == ServiceState::Serving)
    }
}

/// An action and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionRecord {
    /// What was asked.
    pub action: Action,
    /// What the node last said of it; nothing yet if `None`.
    pub progress: Option<Progress>,
    /// Term in which it may be offered: that of the leader who last vouched for it.
    pub offer_term: u64,
    /// When it was committed.
    pub at: FleetTime,
}

impl ActionRecord {
    /// Returns whether the node has said the last word on it.
    pub fn is_final(&self) -> bool {
        self.progress.as_ref().is_some_and(Progress::is_final)
    }

    /// Returns its kind in one word.
    pub fn kind(&self) -> &'static str {
        match self.action.kind {
            ActionKind::Stage { .. } => "stage",
            ActionKind::Switch(_) => "switch",
            ActionKind::Halt(_) => "halt",
            ActionKind::Revert { .. } => "revert",
            ActionKind::Confirm { .. } => "confirm",
        }
    }

    /// Returns its state in a word or two.
    pub fn state(&self) -> String {
        match &self.progress {
            None => "committed".to_owned(),
            Some(Progress::Accepted) => "accepted".to_owned(),
            Some(Progress::Running { step }) => format!("running {step}"),
            Some(Progress::Done) => "done".to_owned(),
            Some(Progress::FailedUndone { step, .. }) => format!("failed at {step}, undone"),
            Some(Progress::FailedDirty { step, .. }) => format!("failed at {step}, not undone"),
            Some(Progress::RevertedAlone { .. }) => "reverted alone".to_owned(),
        }
    }
}

/// What an operator left on an object for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What it says.
    pub text: String,
    /// Who wrote it.
    pub actor: String,
    /// When, for people.
    pub at: WallTime,
}

/// Capacity that counts as down until proven back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What it was given to.
    pub holder: Holder,
    /// Wave of that upgrade; 0 of all else.
    pub wave: usize,
    /// Precedence of the work it was given for.
    pub class: Class,
    /// What it takes.
    pub takes: BTreeSet<(NodeId, ServiceId)>,
    /// Whether it still counts.
    pub state: GrantState,
    /// When it was given.
    pub at: FleetTime,
    /// After this it is overdue: it alerts, and still counts.
    pub due: FleetTime,
    /// Who is answerable.
    pub actor: String,
    /// Exceptions without which it would have been refused.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub overrides: BTreeSet<OverrideId>,
}

impl Grant {
    /// Returns whether it still counts.
    pub fn is_held(&self) -> bool {
        self.state == GrantState::Held
    }
}

/// What a grant was given to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Holder {
    /// A wave of an upgrade.
    Upgrade(UpgradeId),
    /// An operator who keeps clients away from a place.
    Drain(Place),
}

impl Holder {
    /// Returns the upgrade, if it is one.
    pub fn upgrade(&self) -> Option<UpgradeId> {
        match self {
            Self::Upgrade(id) => Some(*id),
            Self::Drain(_) => None,
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Upgrade(id) => id.fmt(f),
            Self::Drain(place) => write!(f, "drain of {place}"),
        }
    }
}

/// Precedence of work that takes capacity, lowest first (DESIGN rule 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A rehearsal.
    Drill,
    /// An upgrade.
    Upgrade,
    /// An operator's own work.
    Manual,
    /// A real failover.
    Failover,
    /// Whatever it takes.
    BreakGlass,
}

/// Whether a grant still counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// It counts as down.
    Held,
    /// Its end was proven.
    Released {
        /// By what.
        proof: String,
    },
    /// An operator ended it.
    Forced {
        /// Who, and why.
        reason: String,
    },
}

/// A one-time token, as stored: never its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Hash of the secret.
    pub secret_hash: SecretHash,
    /// Node it is bound to.
    pub node: NodeId,
    /// Region it is bound to.
    pub region: RegionId,
    /// Address the node will have.
    pub address: String,
    /// Labels the node will have.
    pub labels: BTreeMap<String, String>,
    /// When it ends.
    pub expires_at: WallTime,
    /// Whether it was used; kept so that a second use is told from an unknown token.
    pub used: bool,
}

/// The last command of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRecord {
    /// Its number.
    pub sequence: u64,
    /// What was answered.
    pub reply: Reply,
    /// Log index, by which the oldest clients are forgotten.
    pub index: u64,
}

/// End of the audit chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// Number of the last entry.
    pub seq: u64,
    /// Its hash; zeros before the first.
    pub hash: String,
}

impl Default for AuditHead {
    fn default() -> Self {
        Self { seq: 0, hash: "0".repeat(64) }
    }
}

impl Fleet {
    /// Returns the next numbered id.
    pub(super) fn take_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Returns the live nodes that `service` is placed on, by region.
    pub fn placement(&self, service: &Service) -> BTreeMap<RegionId, Vec<NodeId>> {
        let mut placed: BTreeMap<RegionId, Vec<NodeId>> = BTreeMap::new();
        for (id, node) in self.placed(service) {
            placed.entry(node.region.clone()).or_default().push(id.clone());
        }
        placed
    }

    /// Returns the live nodes that `service` is placed on, in the order of their names.
    pub fn placed(&self, service: &Service) -> impl Iterator<Item = (&NodeId, &Node)> {
        self.nodes.iter().filter(|(_, node)| !node.removed && service.nodes.matches(&node.labels))
    }

    /// Returns the regions of `service` that must serve (DESIGN rule 1).
    pub fn at_least(&self, service: &Service) -> u32 {
        service.serving.at_least.unwrap_or_else(|| {
            let regions: BTreeSet<_> = self.placed(service).map(|(_, node)| &node.region).collect();
            u32::try_from(regions.len()).unwrap_or(u32::MAX).saturating_sub(1).max(1)
        })
    }

    /// Returns the services placed on `node`.
    pub fn services_on(&self, node: &NodeId) -> Vec<&ServiceRecord> {
        let Some(node) = self.nodes.get(node).filter(|node| !node.removed) else {
            return Vec::new();
        };
        self.services
            .values()
            .filter(|service| service.manifest.nodes.matches(&node.labels))
            .collect()
    }

    /// Returns the run specification of a release under the service's present driver.
    pub fn run_spec(&self, service: &ServiceId, version: &Version) -> Option<RunSpec> {
        let driver = self.services.get(service)?.manifest.driver.clone();
        let release = self.releases.get(service)?.get(version)?.manifest.clone();
        Some(RunSpec { release, driver })
    }

    /// Returns the upgrade of `service` that has not ended.
    pub fn active_upgrade(&self, service: &ServiceId) -> Option<(UpgradeId, &Upgrade)> {
        self.upgrades
            .iter()
            .rev()
            .find(|(_, upgrade)| upgrade.plan.service == *service && !upgrade.phase.is_final())
            .map(|(id, upgrade)| (*id, upgrade))
    }

    /// Returns the newest upgrade of `service` among those whose operation is `wanted`.
    pub fn newest_upgrade(
        &self,
        service: &ServiceId,
        wanted: impl Fn(Operation) -> bool,
    ) -> Option<UpgradeId> {
        self.upgrades
            .iter()
            .rev()
            .find(|(_, upgrade)| upgrade.plan.service == *service && wanted(upgrade.plan.operation))
            .map(|(id, _)| *id)
    }

    /// Returns the precedence of the work that a grant was given to; an upgrade's if there is none.
    pub fn class_of(&self, grant: Option<GrantId>) -> Class {
        grant.and_then(|id| self.grants.get(&id)).map_or(Class::Upgrade, |grant| grant.class)
    }

    /// Returns what runs on `node` by the controllers' own record.
    pub fn recorded(&self, node: &NodeId, service: &ServiceId) -> Option<Digest> {
        self.nodes.get(node)?.installed.get(service).map(RunSpec::digest)
    }
}
