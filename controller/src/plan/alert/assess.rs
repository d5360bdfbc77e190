//! Compares what holds now with what is recorded.

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::id::{IncidentId, NodeId};
use trireme_proto::model::{AlertRule, Condition};
use trireme_proto::time::{FleetTime, Span};

use super::condition::{Found, Standing, Standings};
use super::{Decision, Scene};
use crate::state::alert::{AlertStep, Holding, Opened, Subject};

/// Conditions of one rule that are followed at once: one more tells nobody anything.
const HOLDING_MAX: usize = 1000;
/// Incidents that one command opens: the rest follows with the next.
const OPENED_MAX: usize = 200;
/// A number that changes all the time is recorded this many times in the span of its rule, and not
/// each time: what never enters the log keeps it small, and an alert comes later by a fiftieth.
const BASELINES: u64 = 50;

/// What one command is to say.
#[derive(Default)]
struct Changes {
    begun: BTreeMap<String, Holding>,
    over: BTreeSet<String>,
    opened: BTreeMap<String, Opened>,
    resolved: BTreeMap<IncidentId, String>,
    /// What stays as it is.
    kept: BTreeSet<String>,
}

pub(super) fn plan(scene: &Scene<'_>, decision: &mut Decision) {
    let open = scene.fleet.alerts.open();
    let mut changes = Changes::default();
    let mut standings = Standings::of(scene);
    for rule in scene.fleet.alerts.rules() {
        let mut followed = 0;
        for (subject, found) in standings.find(rule) {
            let key = subject.key(&rule.name);
            let known = scene.fleet.alerts.holding.contains_key(&key);
            followed += 1;
            // What is followed already is followed to its end.
            if known || followed <= HOLDING_MAX {
                judge(scene, rule, &subject, found, &open, &mut changes, decision);
            }
        }
    }
    let holding = &scene.fleet.alerts.holding;
    changes.over.extend(holding.keys().filter(|key| !changes.kept.contains(*key)).cloned());
    for (key, id) in open.iter().filter(|(key, _)| !changes.kept.contains(*key)) {
        let rule = key.split('/').next().unwrap_or_default();
        let looked_at = scene.fleet.alerts.rules().any(|known| known.name.as_str() == rule);
        let why = if looked_at { "it holds no more" } else { "its rule is gone" };
        changes.resolved.insert(*id, why.to_owned());
    }
    let Changes { begun, over, opened, resolved, .. } = changes;
    if !(begun.is_empty() && over.is_empty() && opened.is_empty() && resolved.is_empty()) {
        decision.steps.push(AlertStep::Assess { begun, over, opened, resolved });
    }
}

fn judge(
    scene: &Scene<'_>,
    rule: &AlertRule,
    subject: &Subject,
    found: Found,
    open: &BTreeMap<String, IncidentId>,
    changes: &mut Changes,
    decision: &mut Decision,
) {
    let key = subject.key(&rule.name);
    let (held, incident) = (scene.fleet.alerts.holding.get(&key), open.get(&key));
    let evidence = match found.standing {
        Standing::Holds(evidence) => evidence,
        // Nobody can tell for long: what was about to become an alert begins anew, what is one stays.
        Standing::Gone if incident.is_none() => return,
        Standing::Gone | Standing::Unsure => {
            changes.kept.insert(key);
            return;
        }
    };
    changes.kept.insert(key.clone());
    let since = match held {
        Some(held) if changed(rule, held, &found.seen) => {
            let fresh = Span(rule.lasting.0 / BASELINES);
            if let Some(id) = incident {
                changes.resolved.insert(*id, "the number has changed".to_owned());
            }
            if incident.is_some() || scene.now.since(held.since) >= fresh {
                changes.begun.insert(key, Holding { since: scene.now, seen: found.seen });
            }
            return;
        }
        Some(held) => held.since,
        None => {
            let holding = Holding { since: scene.now, seen: found.seen };
            changes.begun.insert(key.clone(), holding);
            scene.now
        }
    };
    let ripe = since.after(rule.lasting);
    if scene.now < ripe {
        decision.wake(ripe);
    } else if incident.is_none() {
        if changes.opened.len() < OPENED_MAX {
            changes.opened.insert(key, opened(rule, subject, evidence));
        } else {
            decision.wake(FleetTime(scene.now.0 + 1));
        }
    }
}

/// Returns whether some node gives another number than it gave, or the first one any gives.
fn changed(rule: &AlertRule, held: &Holding, seen: &BTreeMap<NodeId, String>) -> bool {
    let Condition::Absent(absent) = &rule.when else { return false };
    absent.change
        && !seen.is_empty()
        && (held.seen.is_empty()
            || seen.iter().any(|(node, now)| held.seen.get(node).is_some_and(|then| then != now)))
}

fn opened(rule: &AlertRule, subject: &Subject, evidence: String) -> Opened {
    Opened {
        rule: rule.name.clone(),
        what: rule.when.word().to_owned(),
        severity: rule.severity,
        subject: subject.clone(),
        labels: rule.labels.clone(),
        summary: rule.summary.clone(),
        runbook: rule.runbook.clone(),
        channels: rule.channels.iter().cloned().collect(),
        evidence,
        recommend: rule.recommend.clone(),
    }
}
