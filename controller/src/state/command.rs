//! Commands: the only values that change the replicated state, and what applying one answers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use trireme_proto::action::{Observed, Report};
use trireme_proto::id::{
    ActionId, ControllerId, GrantId, IncidentId, NodeId, NoticeId, OverrideId, Place, RegionId,
    ServiceId, SilenceId, UpgradeId,
};
use trireme_proto::identity::UserName;
use trireme_proto::model::Object;
use trireme_proto::plan::{Operation, PlanId, Scope};
use trireme_proto::problem::Problem;
use trireme_proto::time::{FleetTime, Span, WallTime};
use trireme_proto::token::SecretHash;
use trireme_proto::view::Applied;

use super::alert::AlertStep;
use super::checklist::{ChecklistStep, Tally};
use super::exec::ExecStep;

use super::approval::Reviewed;
use super::controllers;
pub use super::evidence::{Evidence, NodeEvidence};
use super::fleet::Controller;
use super::people;

/// One entry of the log: who asks, when, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Fleet time of the leader that proposed it.
    pub at: FleetTime,
    /// Wall time of that leader, for people.
    pub wall: WallTime,
    /// Distance of that wall time from the controllers' median; too far, and it is refused.
    pub skew: Span,
    /// Who asks.
    pub actor: Actor,
    /// Client and sequence, by which a repeated command is recognised.
    pub origin: Option<(String, u64)>,
    /// What is asked.
    pub body: Body,
}

/// Who asks, as authenticated by the controller that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// `user/ann`, `agent/aws-1` or `controller/c1`.
    pub subject: String,
    /// Role they act in.
    pub role: String,
    /// Address the request came from.
    pub source: String,
    /// Request it belongs to.
    pub request_id: String,
}

/// What a command asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case")]
pub enum Body {
    /// The first command of a fleet.
    Bootstrap { name: String, domain: String, controllers: BTreeMap<ControllerId, Controller> },
    /// Changes manifests; judged as a grant where it lowers safety (DESIGN rule 4).
    Apply { base_revision: u64, objects: Vec<Object>, evidence: Evidence },
    /// Takes a rule or a channel out of the manifests.
    Delete { base_revision: u64, kind: String, name: String },
    /// Records a one-time token.
    CreateToken {
        id: String,
        secret_hash: SecretHash,
        node: NodeId,
        region: RegionId,
        address: String,
        labels: BTreeMap<String, String>,
        expires_at: WallTime,
    },
    /// Uses a token: the node is known from now on.
    Join { token: String, secret_hash: SecretHash, incarnation: String },
    /// Denies a node's identity for ever and ends its grants as forced.
    RemoveNode { node: NodeId, reason: String },
    /// Starts an upgrade exactly as it was planned.
    StartUpgrade { plan: PlanId, evidence: Evidence },
    /// Restarts, stops or starts a service on some of its nodes.
    Operate {
        service: ServiceId,
        operation: Operation,
        scope: Scope,
        reason: String,
        evidence: Evidence,
    },
    /// Asks for nothing new until resumed; what has begun ends safely.
    PauseUpgrade { upgrade: UpgradeId, reason: String },
    /// Goes on after a pause.
    ResumeUpgrade { upgrade: UpgradeId },
    /// Stops where it is; what has begun ends safely.
    AbortUpgrade { upgrade: UpgradeId, reason: String },
    /// Puts back what ran before on every touched node.
    RollbackUpgrade { upgrade: UpgradeId, reason: String },
    /// Ends a grant without proof, on an operator's word.
    ReleaseGrant { grant: GrantId, reason: String },
    /// Changes who may do what.
    People { change: people::Change },
    /// Agrees to a plan before it starts.
    Approve { plan: PlanId },
    /// Lets its actor start a plan without the approvals it needs.
    BreakGlass {
        plan: PlanId,
        reason: String,
        /// What is to be done where, of a plan that changes no release.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<(Operation, Scope)>,
    },
    /// Records that somebody has looked at what was done.
    Review { of: Reviewed, note: String, incident: Option<String> },
    /// Leaves a remark on an object, or removes it with an empty one.
    Note { object: String, text: String },
    /// Keeps clients away from a place until it is returned.
    Drain { place: Place, reason: String, evidence: Evidence },
    /// Every controller has taken a drained place out of its answers, or was silent for 5 s.
    SettleDrain { place: Place, silent: Vec<ControllerId> },
    /// Ends a drain, and the cordons there.
    Return { place: Place, reason: String },
    /// Has new work pass a node by.
    Cordon { node: NodeId, reason: String },
    /// Lets nobody take anything new, until it is ended.
    Freeze { reason: String },
    /// Ends a freeze.
    Thaw { reason: String },
    /// Sets rules of the ledger aside, for a service or all, for a time.
    Override { rules: BTreeSet<String>, service: Option<ServiceId>, lasts: Span, reason: String },
    /// Ends an exception before its time.
    EndOverride { id: OverrideId, reason: String },
    /// A program is run beside a service for an admin, or has ended.
    Exec { step: ExecStep },
    /// A request that was refused before it could become a command; recorded for the audit.
    Refuse { action: String, target: String, problem: Problem },

    /// Hands leadership to another controller; the leader acts on it once it is recorded.
    TransferLeader { to: ControllerId },

    /// Changes the controllers as a group.
    Regroup { step: controllers::Step },
    /// A controller has become leader.
    Lead { controller: ControllerId },
    /// Has artifacts fetched on nodes of a wave.
    Stage { upgrade: UpgradeId, wave: usize, nodes: Vec<NodeId> },
    /// Leaves nodes that are lost out of an upgrade.
    Skip { upgrade: UpgradeId, wave: usize, nodes: BTreeMap<NodeId, String> },
    /// Asks the ledger for a wave, and takes its nodes out of traffic.
    Grant { upgrade: UpgradeId, wave: usize, evidence: Evidence },
    /// Every controller has taken the nodes out of its answers, or was silent for 5 s.
    Settle { upgrade: UpgradeId, wave: usize, silent: Vec<ControllerId> },
    /// Has the nodes of a wave switched.
    Switch { upgrade: UpgradeId, wave: usize },
    /// Confirms the switches of a wave whose bake has passed.
    Confirm { upgrade: UpgradeId, wave: usize },
    /// Gives a granted wave back that has not begun, because the service dropped below its number.
    StandDown { upgrade: UpgradeId, wave: usize, reason: String },
    /// Turns an upgrade back.
    Fail { upgrade: UpgradeId, reason: String },
    /// Takes touched nodes of a wave out of traffic to put the old release back.
    TakeBack { upgrade: UpgradeId, wave: usize, nodes: Vec<NodeId>, evidence: Evidence },
    /// Has the old release put back.
    Revert { upgrade: UpgradeId, wave: usize, nodes: Vec<NodeId> },
    /// Vouches anew, after a change of leader, for actions that no agent has accepted.
    Reoffer { actions: Vec<ActionId>, evidence: Evidence },

    /// Health of nodes has changed.
    Observe { nodes: BTreeMap<NodeId, Sighted> },
    /// A node says what became of its actions.
    Reports { node: NodeId, incarnation: String, reports: Vec<Report> },
    /// Nodes have come into or gone out of sight.
    Presence { lost: Vec<NodeId>, seen: Vec<NodeId> },
    /// About alerts: what the leader sees and sends, and what people ask.
    Alert { what: AlertStep },
    /// About checklists: what is due and found, and what people answer.
    Checklist { what: ChecklistStep },
}

/// What a controller saw of a node, when it differs from what is replicated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighted {
    /// Generation the node acknowledges.
    pub generation: u64,
    /// Version of its agent.
    pub agent_version: String,
    /// What it says of each service.
    pub observed: BTreeMap<ServiceId, Observed>,
}

/// What applying a command answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Log index of the command.
    pub index: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// Manifests were changed.
    Applied(Applied),
    /// It is about this upgrade.
    Upgrade(UpgradeId),
    /// An exception was made.
    Overridden(OverrideId),
    /// A grant was given.
    Granted(GrantId),
    /// A node has joined.
    Joined { node: NodeId, region: RegionId, address: String },
    /// It is about this incident.
    Incident(IncidentId),
    /// It is about this silence.
    Silence(SilenceId),
    /// How a run of a checklist stands.
    Checked(Tally),
    /// A message is on its way.
    Notice(NoticeId),
    /// It is about this change of the controllers.
    Regroup(u64),
    /// Somebody has logged in, or goes on with a login.
    LoggedIn { name: UserName, login: String, until: WallTime },
    /// A run was named; whoever asked under another name was not the first.
    Begun { id: String },
    /// Others must approve it first; who proposed it is on record.
    Waiting(Problem),
    /// It was refused; nothing has changed.
    Refused(Problem),
}

impl Body {
    /// Returns the verb and the object for the audit.
    pub fn describe(&self) -> (&'static str, String) {
        let upgrade = |id: &UpgradeId, wave: &usize| format!("{id}/wave-{wave}");
        match self {
            Self::Bootstrap { name, .. } => ("fleet.bootstrap", format!("fleet/{name}")),
            Self::Apply { objects, .. } => (
                "manifest.apply",
                objects
                    .iter()
                    .map(|object| format!("{}/{}", object.kind(), object.name()))
                    .collect::<Vec<_>>()
                    .join(","),
            ),
            Self::Delete { kind, name, .. } => ("manifest.delete", format!("{kind}/{name}")),
            Self::CreateToken { node, .. } => ("token.create", format!("node/{node}")),
            Self::Join { token, .. } => ("node.join", format!("token/{token}")),
            Self::RemoveNode { node, .. } => ("node.remove", format!("node/{node}")),
            Self::StartUpgrade { plan, .. } => ("upgrade.start", plan.to_string()),
            Self::Operate { service, operation, .. } => {
                (operated(*operation), format!("service/{service}"))
            }
            Self::Drain { place, .. } => ("place.drain", place.to_string()),
            Self::SettleDrain { place, .. } => ("routing.settle", place.to_string()),
            Self::Return { place, .. } => ("place.return", place.to_string()),
            Self::Cordon { node, .. } => ("node.cordon", format!("node/{node}")),
            Self::Freeze { .. } => ("fleet.freeze", "fleet".to_owned()),
            Self::Thaw { .. } => ("fleet.thaw", "fleet".to_owned()),
            Self::Override { rules, .. } => {
                let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
                ("override.add", rules.join(","))
            }
            Self::EndOverride { id, .. } => ("override.end", id.to_string()),
            Self::PauseUpgrade { upgrade, .. } => ("upgrade.pause", upgrade.to_string()),
            Self::ResumeUpgrade { upgrade } => ("upgrade.resume", upgrade.to_string()),
            Self::AbortUpgrade { upgrade, .. } => ("upgrade.abort", upgrade.to_string()),
            Self::RollbackUpgrade { upgrade, .. } => ("upgrade.rollback", upgrade.to_string()),
            Self::ReleaseGrant { grant, .. } => ("grant.release", grant.to_string()),
            Self::People { change } => change.describe(),
            Self::Approve { plan } => ("plan.approve", plan.to_string()),
            Self::BreakGlass { plan, .. } => ("break.glass", plan.to_string()),
            Self::Review { of, .. } => ("review.record", of.describe()),
            Self::Note { object, .. } => ("note.set", object.clone()),
            Self::Exec { step } => step.describe(),
            Self::Refuse { target, .. } => ("request.refuse", target.clone()),
            Self::TransferLeader { to } => ("controller.transfer", format!("controller/{to}")),
            Self::Regroup { step } => step.describe(),
            Self::Lead { controller } => ("controller.lead", format!("controller/{controller}")),
            Self::Stage { upgrade: id, wave, .. } => ("upgrade.stage", upgrade(id, wave)),
            Self::Skip { upgrade: id, wave, .. } => ("upgrade.skip", upgrade(id, wave)),
            Self::Grant { upgrade: id, wave, .. } => ("grant.ask", upgrade(id, wave)),
            Self::Settle { upgrade: id, wave, .. } => ("routing.settle", upgrade(id, wave)),
            Self::Switch { upgrade: id, wave } => ("upgrade.switch", upgrade(id, wave)),
            Self::Confirm { upgrade: id, wave } => ("upgrade.confirm", upgrade(id, wave)),
            Self::StandDown { upgrade: id, wave, .. } => ("upgrade.stand_down", upgrade(id, wave)),
            Self::Fail { upgrade, .. } => ("upgrade.fail", upgrade.to_string()),
            Self::TakeBack { upgrade: id, wave, .. } => ("upgrade.take_back", upgrade(id, wave)),
            Self::Revert { upgrade: id, wave, .. } => ("upgrade.revert", upgrade(id, wave)),
            Self::Reoffer { actions, .. } => (
                "action.reoffer",
                actions.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            ),
            Self::Observe { nodes } => ("node.observe", names(nodes.keys())),
            Self::Reports { node, .. } => ("node.report", format!("node/{node}")),
            Self::Presence { lost, seen } => ("node.presence", names(lost.iter().chain(seen))),
            Self::Alert { what } => what.describe(),
            Self::Checklist { what } => what.describe(),
        }
    }

    /// Returns why it is asked for, in the words of whoever asks; empty where nobody says.
    pub fn reason(&self) -> &str {
        match self {
            Self::RemoveNode { reason, .. }
            | Self::Operate { reason, .. }
            | Self::PauseUpgrade { reason, .. }
            | Self::AbortUpgrade { reason, .. }
            | Self::RollbackUpgrade { reason, .. }
            | Self::ReleaseGrant { reason, .. }
            | Self::BreakGlass { reason, .. }
            | Self::Drain { reason, .. }
            | Self::Return { reason, .. }
            | Self::Cordon { reason, .. }
            | Self::Freeze { reason }
            | Self::Thaw { reason }
            | Self::Override { reason, .. }
            | Self::EndOverride { reason, .. }
            | Self::StandDown { reason, .. }
            | Self::Fail { reason, .. } => reason,
            Self::Review { note, .. } => note,
            Self::People { change } => change.reason(),
            Self::Alert { what } => what.reason(),
            _ => "",
        }
    }
}

/// Returns the verb of an operation for the audit.
fn operated(operation: Operation) -> &'static str {
    match operation {
        Operation::Upgrade => "service.upgrade",
        Operation::Restart => "service.restart",
        Operation::Recreate => "service.recreate",
        Operation::Stop => "service.stop",
        Operation::Start => "service.start",
    }
}

fn names<'a>(nodes: impl Iterator<Item = &'a NodeId>) -> String {
    nodes.map(|node| format!("node/{node}")).collect::<Vec<_>>().join(",")
}
