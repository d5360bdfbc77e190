//! What programs read: alerts as Alertmanager's API takes them, and as its webhooks give them. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use trireme_proto::digest::Digest;
use trireme_proto::id::IncidentId;
use trireme_proto::model::Language;
use trireme_proto::time::{Span, WallTime};

use super::wording::Message;
use crate::state::alert::Incident;
use crate::state::alert::phrase::summary;

/// Alerts in one message to a webhook; the rest is counted, as Alertmanager does.
const ALERTS_MAX: usize = 100;

/// One alert, as `POST /api/v2/alerts` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
}

impl Alert {
    /// Returns an incident as an alert.
    pub(crate) fn of(fleet: &str, id: IncidentId, incident: &Incident) -> Self {
        Self {
            labels: labels(fleet, incident),
            annotations: annotations(id, incident),
            starts_at: incident.opened_wall.to_string(),
            ends_at: incident.resolved.as_ref().map(|end| end.wall.to_string()),
        }
    }

    /// Returns one that only shows that alerts arrive, and ends by itself a minute later.
    pub(crate) fn test(message: &Message, now: WallTime) -> Self {
        let labels = [("alertname", "test"), ("severity", "P3"), ("fleet", &message.fleet)];
        let summary = format!("a test of channel {}, asked for by {}", message.channel, message.by);
        Self {
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            annotations: [("summary", summary)].into(),
            starts_at: now.to_string(),
            ends_at: Some(WallTime(now.0 + 60_000).to_string()),
        }
    }

    /// Returns it as it is told at `now`: what goes on ends by itself unless it is told again.
    pub(crate) fn told(&self, now: WallTime, forget: Span) -> Self {
        let until = || WallTime(now.0.saturating_add(forget.0)).to_string();
        Self { ends_at: Some(self.ends_at.clone().unwrap_or_else(until)), ..self.clone() }
    }
}

fn labels(fleet: &str, incident: &Incident) -> BTreeMap<String, String> {
    let mut labels = incident.all_labels();
    labels.insert("fleet".to_owned(), fleet.to_owned());
    labels
}

fn annotations(id: IncidentId, incident: &Incident) -> BTreeMap<&'static str, String> {
    let mut annotations = BTreeMap::from([
        ("summary", summary(Language::En, incident)),
        ("description", incident.evidence.clone()),
        ("incident_id", id.to_string()),
    ]);
    if let Some(command) = incident.recommended() {
        annotations.insert("recommended", command.to_owned());
    }
    if let Some(runbook) = &incident.runbook {
        annotations.insert("runbook_url", runbook.clone());
    }
    annotations
}

/// What a webhook gets, in Alertmanager's version 4.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hook {
    version: &'static str,
    group_key: String,
    truncated_alerts: usize,
    status: &'static str,
    receiver: String,
    group_labels: BTreeMap<&'static str, String>,
    common_labels: BTreeMap<String, String>,
    common_annotations: BTreeMap<&'static str, String>,
    #[serde(rename = "externalURL")]
    external_url: String,
    alerts: Vec<Hooked>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Hooked {
    status: &'static str,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: String,
}

/// When an alert ends that goes on, as Alertmanager writes it.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Hook {
    /// Returns a message as a webhook gets it.
    pub(crate) fn of(message: &Message, now: WallTime) -> Self {
        let rule = message.rule.clone().unwrap_or_else(|| "test".to_owned());
        let test = message.rule.is_none().then(|| Alert::test(message, now));
        let alert =
            |(id, incident): &(IncidentId, Incident)| Alert::of(&message.fleet, *id, incident);
        let told: Vec<_> =
            message.firing.iter().chain(&message.over).map(alert).chain(test).collect();
        let firing = !message.firing.is_empty() || message.rule.is_none();
        let alerts: Vec<_> = told.into_iter().map(hooked).collect();
        Self {
            version: "4",
            group_key: format!("{{}}:{{alertname=\"{rule}\"}}"),
            truncated_alerts: alerts.len().saturating_sub(ALERTS_MAX),
            status: if firing { "firing" } else { "resolved" },
            receiver: message.channel.clone(),
            group_labels: [("alertname", rule)].into(),
            common_labels: common(alerts.iter().map(|alert| &alert.labels)),
            common_annotations: common(alerts.iter().map(|alert| &alert.annotations)),
            external_url: String::new(),
            alerts: alerts.into_iter().take(ALERTS_MAX).collect(),
        }
    }
}

fn hooked(alert: Alert) -> Hooked {
    let fingerprint = Digest::of_value(&alert.labels).to_string()[..16].to_owned();
    let over =
        alert.ends_at.is_some() && alert.labels.get("alertname").is_some_and(|n| n != "test");
    Hooked {
        status: if over { "resolved" } else { "firing" },
        ends_at: alert.ends_at.unwrap_or_else(|| NEVER.to_owned()),
        labels: alert.labels,
        annotations: alert.annotations,
        starts_at: alert.starts_at,
        generator_url: String::new(),
        fingerprint,
    }
}

/// Returns what all maps have alike.
fn common<'m, K: Ord + Clone + 'm>(
    mut maps: impl Iterator<Item = &'m BTreeMap<K, String>>,
) -> BTreeMap<K, String> {
    let Some(mut common) = maps.next().cloned() else { return BTreeMap::new() };
    for map in maps {
        common.retain(|name, value| map.get(name) == Some(value));
    }
    common
}
