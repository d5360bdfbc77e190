//! Services: what runs where, what serving means, and how it may be touched.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Check;
use crate::access::Verb;
use crate::id::{RegionId, ServiceId};
use crate::identity::Role;
use crate::time::Span;

/// Something the fleet runs on every node its selector matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Name of the service, and its label in DNS.
    pub name: ServiceId,
    /// Placement: every node with these labels, in every region.
    pub nodes: Selector,
    /// What starts and stops it on a node.
    pub driver: Driver,
    /// What counts as serving.
    #[serde(default)]
    pub serving: Serving,
    /// Health on each node; the service is ready where all of them pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// Files it writes besides its output, by the name that operators read them by; a path is
    /// absolute or begins with {data}.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub logs: BTreeMap<String, String>,
    /// How clients find it and how a node is taken out of their way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// How an upgrade proceeds.
    #[serde(default)]
    pub upgrade: UpgradePolicy,
    /// What it takes to restart, recreate or stop it by hand, besides the ledger's word; for what
    /// clients miss at once, such as a database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<ByHand>,
}

/// What it takes to restart, recreate or stop a service by hand. A start asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ByHand {
    /// Whether whoever asks repeats the service's name: `--confirm SERVICE`.
    pub confirm: bool,
    /// People who must agree before it begins; nobody if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<ApprovalPolicy>,
}

impl Default for ByHand {
    fn default() -> Self {
        Self { confirm: true, approvals: None }
    }
}

/// Selects nodes by labels; all must match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// Labels a node must carry.
    pub labels: BTreeMap<String, String>,
}

impl Selector {
    /// Returns whether a node with `labels` is selected; an empty selector selects nothing.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.labels.is_empty()
            && self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// What starts and stops a service on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A process that the agent supervises.
    Process(ProcessDriver),
    /// Services of a docker-compose project, their images pinned by digest.
    Compose(ComposeDriver),
    /// A unit of systemd, its program pinned by digest.
    Systemd(SystemdDriver),
}

impl Driver {
    /// Returns the name as it is written in manifests.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Process(_) => "process",
            Self::Compose(_) => "compose",
            Self::Systemd(_) => "systemd",
        }
    }

    /// Returns the time that a stop may take before it becomes a kill.
    pub fn stop_timeout(&self) -> Span {
        match self {
            Self::Process(process) => process.stop_timeout,
            Self::Compose(compose) => compose.stop_timeout,
            Self::Systemd(systemd) => systemd.stop_timeout,
        }
    }
}

/// A docker-compose project; the node's own configuration must allow it by name and by file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComposeDriver {
    /// Name of the project; `{node}`, `{region}` and `{service}` are filled in.
    pub project: String,
    /// Absolute path of the compose file, which is read and never written; `{node}`, `{region}`,
    /// `{service}` and `{data}` are filled in.
    pub file: String,
    /// Time its containers have to stop before they are killed.
    #[serde(default = "stop_timeout_default")]
    pub stop_timeout: Span,
}

/// A unit of systemd; the node's own configuration must allow it by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SystemdDriver {
    /// Full name of the unit, such as `web.service`, whose file is read and never written; `{node}`,
    /// `{region}` and `{service}` are filled in.
    pub unit: String,
    /// Time it has to stop before it is killed, in place of what the unit says.
    #[serde(default = "unit_stop_timeout_default")]
    pub stop_timeout: Span,
}

/// A supervised process: argv, graceful stop, restart policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessDriver {
    /// Signal that asks it to stop.
    pub stop_signal: StopSignal,
    /// Time it has to stop before it is killed.
    pub stop_timeout: Span,
    /// What happens when it exits by itself.
    pub restart: Restart,
}

impl Default for ProcessDriver {
    fn default() -> Self {
        Self {
            stop_signal: StopSignal::default(),
            stop_timeout: stop_timeout_default(),
            restart: Restart::default(),
        }
    }
}

/// Signal that asks a process to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    /// The usual one.
    #[default]
    Term,
    /// As from a terminal.
    Int,
    /// Graceful for nginx and others.
    Quit,
}

/// What happens when a supervised process exits by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// It is started again, with growing pauses.
    #[default]
    Always,
    /// It is started again unless it exited with 0.
    OnFailure,
    /// It stays down.
    Never,
}

/// What counts as serving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Serving {
    /// Regions that must serve; by default all with placed nodes but one, at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u32>,
    /// Ready nodes that make a region serve.
    pub nodes: u32,
}

impl Default for Serving {
    fn default() -> Self {
        Self { at_least: None, nodes: 1 }
    }
}

/// How clients find the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Records in the built-in DNS.
    pub dns: DnsTraffic,
    /// Longest wait for work in flight once no client is sent there any more.
    #[serde(default)]
    pub drain: Span,
    /// URL that answers with the number of requests in flight; the drain ends early at 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<String>,
}

/// Records of a service in the built-in DNS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsTraffic {
    /// Port in SRV records.
    pub port: u16,
    /// How long a client may use an answer; whole seconds.
    #[serde(default = "ttl_default")]
    pub ttl: Span,
}

/// How an upgrade proceeds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpgradePolicy {
    /// Regions in the order they are upgraded; those left out follow by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<RegionId>,
    /// Watching after a change.
    pub bake: Bake,
    /// Limits after which an upgrade is rolled back.
    pub deadline: Deadline,
    /// People who must agree to a plan before it starts; nobody if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<ApprovalPolicy>,
}

/// People who must agree to a plan before it starts; never the one who proposed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApprovalPolicy {
    /// How many of them.
    pub count: u32,
    /// Roles of which one is enough; by default everybody who may start upgrades.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub roles: Vec<Role>,
    /// How long an approval counts.
    pub within: Span,
}

impl Default for ApprovalPolicy {
    fn default() -> Self {
        Self { count: 1, roles: Vec::new(), within: Span::secs(24 * 3600) }
    }
}

impl ApprovalPolicy {
    /// Returns whether somebody in this role counts.
    pub fn allows(&self, role: Role) -> bool {
        if self.roles.is_empty() { role.may(Verb::PlanApprove) } else { self.roles.contains(&role) }
    }
}

/// How long a change is watched before the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bake {
    /// After each region.
    pub region: Span,
}

impl Default for Bake {
    fn default() -> Self {
        Self { region: Span::secs(60) }
    }
}

/// Limits after which an upgrade is rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Deadline {
    /// For one step on one node.
    pub step: Span,
    /// For the whole upgrade.
    pub fleet: Span,
}

impl Default for Deadline {
    fn default() -> Self {
        Self { step: Span::secs(5 * 60), fleet: Span::secs(4 * 3600) }
    }
}

fn stop_timeout_default() -> Span {
    Span::secs(10)
}

/// As systemd has it where nobody says otherwise.
fn unit_stop_timeout_default() -> Span {
    Span::secs(90)
}

fn ttl_default() -> Span {
    Span::secs(2)
}
