//! Alert rules: what somebody is to be told of, how bad it is, and who answers for the rule.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decimal::Decimal;
use crate::id::{ChannelId, RegionId, RuleId, ServiceId};
use crate::time::{Date, Span};

/// Something that somebody is told of when it holds for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertRule {
    /// Name of the rule, and `alertname` in what is sent; that of a built-in rule replaces it.
    pub name: RuleId,
    /// Person or team that answers for the rule.
    pub owner: String,
    /// Day by which the owner looks at the rule again; after it the rule is listed as overdue.
    pub review: Date,
    /// How bad it is.
    pub severity: Severity,
    /// What must hold.
    pub when: Condition,
    /// What it is about; everything if empty.
    #[serde(default, skip_serializing_if = "Only::is_everything")]
    pub only: Only,
    /// How long it must hold before anybody is told, in fleet time: while no controller leads,
    /// nobody looks and the time stands still.
    #[serde(default, rename = "for")]
    pub lasting: Span,
    /// Channels that are told; every channel if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<ChannelId>,
    /// Labels that are sent with it, for receivers to route by; never values or times.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What is said of it, in a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// URL of what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// What is recommended when it fires; it is shown, and nothing but a person does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommend: Option<Recommend>,
    /// Whether it is looked at; `false` turns a built-in rule off.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// What is recommended when a rule fires, to the service and on the node that it fires about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recommend {
    /// What is to be done.
    pub operation: Remedy,
    /// Once it was recommended, it is not for so long, in fleet time: what comes back sooner wants
    /// its cause found, not another restart.
    pub every: Span,
}

/// What may be recommended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Remedy {
    /// `trictl service restart`.
    Restart,
    /// `trictl service recreate`.
    Recreate,
}

impl Remedy {
    /// Returns it as `trictl service` calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Recreate => "recreate",
        }
    }
}

/// How bad it is, the worst first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Severity {
    /// Users are hit: act at once.
    P0,
    /// One more fault and users are hit: act within the hour.
    P1,
    /// Something is broken and nobody is hit: act today.
    P2,
    /// Worth knowing.
    #[default]
    P3,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::P0 => "P0",
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
        })
    }
}

/// What must hold; exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Something the controllers know by themselves.
    State(State),
    /// A check fails on a node.
    Check(CheckFails),
    /// A number that a check gives is out of bounds on a node.
    Metric(Metric),
    /// No node of a service gives a number, or none gives another one.
    Absent(Absent),
    /// Too few nodes serve a service.
    Ready(Ready),
}

impl Condition {
    /// Returns the kind in a word, that of a state as it is written.
    pub fn word(&self) -> &'static str {
        match self {
            Self::State(state) => state.word(),
            Self::Check(_) => "check",
            Self::Metric(_) => "metric",
            Self::Absent(_) => "absent",
            Self::Ready(_) => "ready",
        }
    }

    /// Returns the service it is about, if it is about one.
    pub fn service(&self) -> Option<&ServiceId> {
        match self {
            Self::State(_) => None,
            Self::Check(check) => check.service.as_ref(),
            Self::Metric(metric) => Some(&metric.service),
            Self::Absent(absent) => Some(&absent.service),
            Self::Ready(ready) => Some(&ready.service),
        }
    }

    /// Returns the number that nodes have to report for it: service, check and label.
    pub fn wanted(&self) -> Option<(&ServiceId, &str, &str)> {
        match self {
            Self::Metric(Metric { service, check, label, .. })
            | Self::Absent(Absent { service, check, label, .. }) => Some((service, check, label)),
            Self::State(_) | Self::Check(_) | Self::Ready(_) => None,
        }
    }
}

/// Something the controllers know by themselves.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// None of the services of a region is served there.
    RegionNotServing,
    /// Fewer regions than must serve a service.
    ServiceBelow,
    /// One region more lost, and fewer than must serve a service.
    ServiceAtRisk,
    /// A service that was started does not run on a node.
    ServiceNotServing,
    /// No controller has heard from a node.
    NodeSilent,
    /// An upgrade can go neither on nor back without a person.
    UpgradeFailed,
    /// An upgrade goes back, or has gone back within the last hour.
    UpgradeRolledBack,
    /// A grant is held for longer than the work it was given for may take.
    GrantOverdue,
    /// The leader does not hear from a controller.
    ControllerSilent,
    /// The certificate of a node was not renewed and ends within four hours.
    CertificateExpiring,
    /// The last message through a channel did not arrive.
    ChannelFailing,
    /// An item of a checklist was not done by the end of its window.
    ChecklistOverdue,
    /// Always: a receiver that misses it knows that alerts do not reach it.
    Watchdog,
}

impl State {
    /// Returns the state as it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::RegionNotServing => "region-not-serving",
            Self::ServiceBelow => "service-below",
            Self::ServiceAtRisk => "service-at-risk",
            Self::ServiceNotServing => "service-not-serving",
            Self::NodeSilent => "node-silent",
            Self::UpgradeFailed => "upgrade-failed",
            Self::UpgradeRolledBack => "upgrade-rolled-back",
            Self::GrantOverdue => "grant-overdue",
            Self::ControllerSilent => "controller-silent",
            Self::CertificateExpiring => "certificate-expiring",
            Self::ChannelFailing => "channel-failing",
            Self::ChecklistOverdue => "checklist-overdue",
            Self::Watchdog => "watchdog",
        }
    }
}

/// A check fails on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckFails {
    /// Service it is a check of; any if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceId>,
    /// Name of the check; any if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

/// A number that a check gives is out of bounds; exactly one bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Service it is a check of.
    pub service: ServiceId,
    /// Name of the check, a command that gives performance data.
    pub check: String,
    /// Label of the number in the performance data.
    pub label: String,
    /// It holds below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<Decimal>,
    /// It holds above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<Decimal>,
    /// It holds at this and below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Decimal>,
    /// It holds at this and above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Decimal>,
}

impl Metric {
    /// Returns the bounds that were written, each with its word.
    pub fn bounds(&self) -> impl Iterator<Item = (Bound, &Decimal)> {
        let all = [
            (Bound::Below, &self.below),
            (Bound::Above, &self.above),
            (Bound::AtMost, &self.at_most),
            (Bound::AtLeast, &self.at_least),
        ];
        all.into_iter().filter_map(|(bound, written)| Some((bound, written.as_ref()?)))
    }
}

/// On which side of a number it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Below it.
    Below,
    /// Above it.
    Above,
    /// At it and below.
    AtMost,
    /// At it and above.
    AtLeast,
}

impl Bound {
    /// Returns whether `value` lies on that side of `limit`.
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Below => value < limit,
            Self::Above => value > limit,
            Self::AtMost => value <= limit,
            Self::AtLeast => value >= limit,
        }
    }

    /// Returns it in words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Below => "below",
            Self::Above => "above",
            Self::AtMost => "at most",
            Self::AtLeast => "at least",
        }
    }
}

/// No node of a service gives a number, or none gives another one than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// Service it is a check of.
    pub service: ServiceId,
    /// Name of the check, a command that gives performance data.
    pub check: String,
    /// Label of the number in the performance data.
    pub label: String,
    /// Whether the same number over and over is as bad as none.
    #[serde(default)]
    pub change: bool,
}

/// Too few nodes serve a service, in all regions together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// The service.
    pub service: ServiceId,
    /// It holds while fewer nodes than this serve it.
    pub below: u32,
}

/// What a rule is about; each list that is empty leaves everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Only {
    /// Regions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<RegionId>,
    /// Services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceId>,
}

impl Only {
    /// Returns whether nothing is left out.
    pub fn is_everything(&self) -> bool {
        self.regions.is_empty() && self.services.is_empty()
    }
}

fn yes() -> bool {
    true
}
