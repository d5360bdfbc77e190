//! What the controllers agree on about alerts: rules, channels, what holds, what was said of it.
//!
//! ```text
//!  a condition holds        for `for`          a message through a channel
//!  ───────────────▶ holding ─────────▶ incident ─────────▶ notice: claimed ──▶ delivered | failed
//!        ends ▶ gone                   resolved                       └─ its leader died ──▶ unknown
//! ```
//!
//! A notice is committed before it is sent, under the key (incident, time it is told, channel), and
//! sent only by the leader whose term committed it. So no change of leader sends it twice; where
//! that leader died before it had told what became of it, nobody knows whether it arrived: it is
//! recorded as unknown, shown, and not sent again. Alertmanager is told otherwise (`crate::notify`):
//! its interface knows the same alert again.

pub mod builtin;
mod inhibit;
pub mod phrase;
pub mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use trireme_proto::id::{
    ChannelId, IncidentId, NodeId, NoticeId, RegionId, RuleId, ServiceId, SilenceId,
};
use trireme_proto::model::{AlertRule, Channel, Severity, Target};
use trireme_proto::time::{FleetTime, WallTime};

pub use inhibit::Suppression;
pub use step::{AlertStep, Draft, Opened};

/// Everything about alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alerts {
    /// Rules that were applied; built-in ones are in [`builtin`].
    pub rules: BTreeMap<RuleId, RuleRecord>,
    /// Channels.
    pub channels: BTreeMap<ChannelId, ChannelRecord>,
    /// Conditions that hold, by rule and subject.
    pub holding: BTreeMap<String, Holding>,
    /// What has held for long enough, and what did lately.
    pub incidents: BTreeMap<IncidentId, Incident>,
    /// When a message of a rule went through a channel last, by `channel/rule`, while any of the
    /// rule's incidents is open.
    pub groups: BTreeMap<String, FleetTime>,
    /// Messages.
    pub notices: BTreeMap<NoticeId, Notice>,
    /// Silences.
    pub silences: BTreeMap<SilenceId, Silence>,
    /// How often each rule has fired.
    pub fired: BTreeMap<RuleId, Fired>,
    /// Until when nothing is recommended again, by rule and subject.
    pub advised: BTreeMap<String, FleetTime>,
}

/// A rule and the revision that last changed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// Its manifest.
    pub manifest: AlertRule,
    /// Manifest revision of its last change.
    pub revision: u64,
}

/// A channel and what became of what was sent through it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRecord {
    /// Its manifest.
    pub manifest: Channel,
    /// Manifest revision of its last change.
    pub revision: u64,
    /// Messages that arrived.
    #[serde(default)]
    pub delivered: u64,
    /// Messages that did not.
    #[serde(default)]
    pub failed: u64,
    /// Messages of which nobody knows.
    #[serde(default)]
    pub unknown: u64,
    /// Why the last message did not arrive, and since when none has.
    #[serde(default)]
    pub failing: Option<(FleetTime, String)>,
}

impl ChannelRecord {
    /// Returns the record of a channel that nothing went through yet.
    pub fn new(manifest: Channel, revision: u64) -> Self {
        Self { manifest, revision, delivered: 0, failed: 0, unknown: 0, failing: None }
    }
}

/// What an alert is about: the part of its labels that the fleet sets.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Subject {
    /// Region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionId>,
    /// Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceId>,
    /// Check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// Anything else, as `kind/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

impl Subject {
    /// Returns the labels, in the order in which people read them.
    pub fn labels(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("region", self.region.as_ref().map(RegionId::as_str)),
            ("node", self.node.as_ref().map(NodeId::as_str)),
            ("service", self.service.as_ref().map(ServiceId::as_str)),
            ("check", self.check.as_deref()),
            ("object", self.object.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    /// Returns the key of this subject under a rule.
    pub fn key(&self, rule: &RuleId) -> String {
        format!("{rule}/{self}")
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.labels().enumerate() {
            let gap = if index == 0 { "" } else { "," };
            write!(f, "{gap}{name}={value}")?;
        }
        Ok(())
    }
}

/// A condition that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Since when, in fleet time.
    pub since: FleetTime,
    /// For what must change: the numbers that were seen then, by node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seen: BTreeMap<NodeId, String>,
}

/// One occurrence of what a rule looks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// The rule.
    pub rule: RuleId,
    /// What is wrong, in the word of the rule's condition.
    pub what: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// Labels of the rule.
    pub labels: BTreeMap<String, String>,
    /// What the rule says of it.
    pub summary: Option<String>,
    /// URL of what to do.
    pub runbook: Option<String>,
    /// Channels of the rule; all if empty.
    pub channels: BTreeSet<ChannelId>,
    /// What was seen when it began.
    pub evidence: String,
    /// When it began, for people.
    pub opened_wall: WallTime,
    /// When it began.
    pub opened: FleetTime,
    /// When and why it ended.
    pub resolved: Option<Resolved>,
    /// Who looks after it.
    pub acknowledged: Option<Acknowledged>,
    /// What is recommended, or why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<Advice>,
    /// What each channel was told.
    #[serde(default)]
    pub told: BTreeMap<ChannelId, Told>,
}

/// What is recommended about an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// This command.
    Do(String),
    /// Nothing: the same was recommended lately, and not again before this time.
    Withheld(FleetTime),
}

impl Incident {
    /// Returns the command that is recommended, if one is.
    pub fn recommended(&self) -> Option<&str> {
        match self.advice.as_ref()? {
            Advice::Do(command) => Some(command),
            Advice::Withheld(_) => None,
        }
    }

    /// Returns whether it goes on.
    pub fn is_open(&self) -> bool {
        self.resolved.is_none()
    }

    /// Returns whether it is told to a channel: chats are spared the watchdog, which says nothing
    /// to people, and no channel is asked to tell of itself.
    pub fn goes_to(&self, channel: &Channel) -> bool {
        let named = self.channels.is_empty() || self.channels.contains(&channel.name);
        let program = matches!(channel.to, Target::Alertmanager(_) | Target::Webhook(_));
        let itself = self.subject.object.as_deref() == Some(&*format!("channel/{}", channel.name));
        named && self.severity <= channel.severity && (program || !self.is_watchdog()) && !itself
    }

    /// Returns whether it only shows that alerts arrive.
    pub fn is_watchdog(&self) -> bool {
        self.what == "watchdog"
    }

    /// Returns all labels but the fleet's name.
    pub fn all_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels
            .extend(self.subject.labels().map(|(name, value)| (name.to_owned(), value.to_owned())));
        labels.insert("alertname".to_owned(), self.rule.to_string());
        labels.insert("severity".to_owned(), self.severity.to_string());
        labels
    }
}

/// How an incident ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// When.
    pub at: FleetTime,
    /// When, for people.
    pub wall: WallTime,
    /// What ended it.
    pub why: String,
}

/// Who looks after an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Who.
    pub actor: String,
    /// When, for people.
    pub at: WallTime,
    /// What they said.
    pub note: String,
}

/// What a channel was told of an incident.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// How many messages said that it goes on.
    pub firing: u32,
    /// Whether one said that it is over.
    pub resolved: bool,
}

/// One message through one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The channel.
    pub channel: ChannelId,
    /// The rule whose incidents it tells of; none for a test.
    pub rule: Option<RuleId>,
    /// Incidents that it tells of, with how often this channel will have been told of each; 0 says
    /// that it is over.
    pub incidents: BTreeMap<IncidentId, u32>,
    /// Term of the leader that committed it: nobody else sends it.
    pub term: u64,
    /// Who that is, or who asked for a test.
    pub by: String,
    /// When it was committed.
    pub at: FleetTime,
    /// When, for people.
    pub wall: WallTime,
    /// What became of it.
    pub state: NoticeState,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeState {
    /// It is committed, and its leader sends it.
    Claimed,
    /// The receiver took it.
    Delivered,
    /// The receiver did not get it, or refused it.
    Failed(String),
    /// Nobody knows: its leader died, or the receiver did not answer.
    Unknown(String),
}

impl NoticeState {
    /// Returns the state in a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Delivered => "delivered",
            Self::Failed(_) => "failed",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Returns why it did not arrive, as far as anybody knows.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Claimed | Self::Delivered => None,
            Self::Failed(reason) | Self::Unknown(reason) => Some(reason),
        }
    }
}

/// Keeps messages about what matches from being sent, for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Labels that must all be equal.
    pub labels: BTreeMap<String, String>,
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// When, for people.
    pub at: WallTime,
    /// Until when.
    pub until: FleetTime,
}

impl Silence {
    /// Returns whether it covers alerts with these labels.
    pub fn covers(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
    }
}

/// How often a rule has fired.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// Incidents in all.
    pub total: u64,
    /// When the last one began, for people.
    pub last: WallTime,
    /// Incidents by day since 1970, of the last days.
    pub days: BTreeMap<u64, u32>,
}

impl Alerts {
    /// Returns the rules that are looked at: those applied, and built-in ones that they leave.
    pub fn rules(&self) -> impl Iterator<Item = &AlertRule> {
        let own = self.rules.values().map(|record| &record.manifest);
        let left = builtin::rules().iter().filter(|rule| !self.rules.contains_key(&rule.name));
        own.chain(left).filter(|rule| rule.enabled)
    }

    /// Returns the open incidents, by rule and subject.
    pub fn open(&self) -> BTreeMap<String, IncidentId> {
        let open = self.incidents.iter().filter(|(_, incident)| incident.is_open());
        open.map(|(id, incident)| (incident.subject.key(&incident.rule), *id)).collect()
    }
}

/// Returns the key of a rule's messages through a channel.
pub fn group(channel: &ChannelId, rule: &RuleId) -> String {
    format!("{channel}/{rule}")
}
