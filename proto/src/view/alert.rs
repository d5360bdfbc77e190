//! Documents about alerts: rules, channels, incidents, silences, messages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{ChannelId, IncidentId, NoticeId, RuleId, SilenceId};
use crate::model::{AlertRule, Channel, Severity};
use crate::time::{Span, WallTime};

/// One alert rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Its manifest.
    #[serde(flatten)]
    pub rule: AlertRule,
    /// Whether every fleet has it, until one of that name is applied.
    pub built_in: bool,
    /// Revision of its manifest; 0 of a built-in one.
    pub revision: u64,
    /// Whether its owner should have looked at it by now.
    pub overdue: bool,
    /// Conditions of it that hold and are not incidents yet.
    pub waiting: usize,
    /// Incidents that go on.
    pub open: usize,
    /// Incidents since the fleet began.
    pub fired: u64,
    /// Incidents of the last thirty days.
    pub fired_lately: u64,
    /// When the last one began.
    pub last_fired: Option<WallTime>,
}

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelView {
    /// Its manifest.
    #[serde(flatten)]
    pub channel: Channel,
    /// Revision of its manifest.
    pub revision: u64,
    /// Messages that arrived.
    pub delivered: u64,
    /// Messages that did not.
    pub failed: u64,
    /// Messages of which nobody knows.
    pub unknown: u64,
    /// Why the last message did not arrive.
    pub failing: Option<String>,
    /// For how long none has, in fleet time.
    pub failing_for: Option<Span>,
}

/// One occurrence of what a rule looks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentView {
    /// Its id.
    pub id: IncidentId,
    /// firing, acknowledged, suppressed or resolved.
    pub state: String,
    /// Rule that found it.
    pub rule: RuleId,
    /// How bad it is.
    pub severity: Severity,
    /// Labels that are sent with it.
    pub labels: BTreeMap<String, String>,
    /// What is wrong, in a line.
    pub summary: String,
    /// What was seen when it began.
    pub evidence: String,
    /// URL of what to do.
    pub runbook: Option<String>,
    /// Command that is recommended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommended: Option<String>,
    /// When it began.
    pub since: WallTime,
    /// How long it has gone on, or did, in fleet time.
    pub lasted: Span,
    /// When it ended.
    pub resolved_at: Option<WallTime>,
    /// What ended it.
    pub resolution: Option<String>,
    /// Who looks after it, and what they said.
    pub acknowledged: Option<String>,
    /// Incident or silence that keeps it from being told.
    pub suppressed_by: Option<String>,
    /// Channels that were told, and how often; an Alertmanager is told all the time.
    pub told: BTreeMap<ChannelId, u32>,
}

/// One silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceView {
    /// Its id.
    pub id: SilenceId,
    /// Labels that must all be equal.
    pub labels: BTreeMap<String, String>,
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// When.
    pub at: WallTime,
    /// Rest of it, in fleet time; 0 once it has ended.
    pub left: Span,
}

/// One message through one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeView {
    /// Its id.
    pub id: NoticeId,
    /// Channel.
    pub channel: ChannelId,
    /// Rule that it is about; none for a test.
    pub rule: Option<RuleId>,
    /// Incidents that it tells of.
    pub incidents: Vec<IncidentId>,
    /// claimed, delivered, failed or unknown.
    pub state: String,
    /// Why it did not arrive, or why nobody knows.
    pub reason: Option<String>,
    /// When it was committed.
    pub at: WallTime,
    /// Controller that sends it, or who asked for a test.
    pub by: String,
}
