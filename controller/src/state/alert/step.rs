//! What commands say about alerts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use trireme_proto::id::{ChannelId, IncidentId, NoticeId, RuleId, SilenceId};
use trireme_proto::model::{Recommend, Severity};
use trireme_proto::time::Span;

use super::{Holding, NoticeState, Subject};

/// One change of what is known about alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum AlertStep {
    /// What the leader sees has changed.
    Assess {
        /// Conditions that have begun to hold, or whose numbers have changed.
        begun: BTreeMap<String, Holding>,
        /// Conditions that hold no more.
        over: BTreeSet<String>,
        /// Those that have held for long enough.
        opened: BTreeMap<String, Opened>,
        /// Incidents that are over, with what ended each.
        resolved: BTreeMap<IncidentId, String>,
    },
    /// Claims messages, which this leader then sends.
    Notify {
        /// The messages.
        drafts: Vec<Draft>,
    },
    /// Says what became of messages.
    Settle {
        /// Of each.
        outcomes: BTreeMap<NoticeId, NoticeState>,
    },
    /// An Alertmanager began or ceased to take alerts.
    Health {
        /// The channel.
        channel: ChannelId,
        /// Why it does not.
        error: Option<String>,
    },
    /// Somebody looks after an incident: it is not said again until it is over.
    Acknowledge {
        /// The incident.
        incident: IncidentId,
        /// What they say.
        note: String,
    },
    /// Keeps messages from being sent for a while.
    Silence {
        /// Labels that must all be equal.
        labels: BTreeMap<String, String>,
        /// How long.
        lasting: Span,
        /// Why.
        reason: String,
    },
    /// Ends a silence.
    Unsilence {
        /// The silence.
        silence: SilenceId,
    },
    /// Sends a message that only shows that a channel works.
    Test {
        /// The channel.
        channel: ChannelId,
    },
}

impl AlertStep {
    /// Returns the verb and the object for the audit.
    pub fn describe(&self) -> (&'static str, String) {
        match self {
            Self::Assess { opened, resolved, .. } => {
                let opened = opened.keys().map(String::clone);
                let resolved = resolved.keys().map(ToString::to_string);
                (
                    "alert.assess",
                    opened.chain(resolved).take(NAMED_MAX).collect::<Vec<_>>().join(" "),
                )
            }
            Self::Notify { drafts } => (
                "alert.notify",
                drafts
                    .iter()
                    .map(|draft| format!("{}/{}", draft.channel, draft.rule))
                    .collect::<Vec<_>>()
                    .join(","),
            ),
            Self::Settle { outcomes } => (
                "alert.settle",
                outcomes
                    .iter()
                    .map(|(id, state)| format!("{id}={}", state.word()))
                    .collect::<Vec<_>>()
                    .join(","),
            ),
            Self::Health { channel, .. } => ("alert.health", format!("channel/{channel}")),
            Self::Acknowledge { incident, .. } => ("alert.acknowledge", incident.to_string()),
            Self::Silence { labels, .. } => (
                "alert.silence",
                labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(","),
            ),
            Self::Unsilence { silence } => ("alert.unsilence", silence.to_string()),
            Self::Test { channel } => ("alert.test", format!("channel/{channel}")),
        }
    }

    /// Returns why, in the words of whoever asks.
    pub fn reason(&self) -> &str {
        match self {
            Self::Acknowledge { note, .. } => note,
            Self::Silence { reason, .. } => reason,
            _ => "",
        }
    }
}

/// Incidents that one entry of the audit names: a region that goes down opens thousands.
const NAMED_MAX: usize = 20;

/// What has held for long enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The rule.
    pub rule: RuleId,
    /// What is wrong, in the word of the rule's condition.
    pub what: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// Labels of the rule.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What the rule says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// URL of what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// Channels of the rule; all if empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub channels: BTreeSet<ChannelId>,
    /// What was seen.
    pub evidence: String,
    /// What the rule recommends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommend: Option<Recommend>,
}

/// A message that is about to be claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// The channel.
    pub channel: ChannelId,
    /// The rule whose incidents it tells of.
    pub rule: RuleId,
    /// The incidents, each with how often the channel will have been told of it; 0 says that it is
    /// over.
    pub incidents: BTreeMap<IncidentId, u32>,
}
