//! Alerts as people see them: rules with how often they fired, incidents with who was told.

use trireme_proto::id::{IncidentId, NoticeId, SilenceId};
use trireme_proto::time::Span;
use trireme_proto::view::alert::{ChannelView, IncidentView, NoticeView, RuleView, SilenceView};
use trireme_proto::view::{Reason, WhyView};

use super::Lens;
use crate::state::alert::{Advice, Incident, Notice, Silence, Suppression, builtin, phrase};

/// Returns the rules by name, built-in ones included.
pub fn rules(lens: Lens<'_>) -> Vec<RuleView> {
    let alerts = &lens.fleet.alerts;
    let today = lens.fleet.wall.date();
    let own = alerts.rules.values().map(|record| (&record.manifest, record.revision));
    let left = builtin::rules().iter().filter(|rule| !alerts.rules.contains_key(&rule.name));
    let mut views: Vec<_> = own
        .chain(left.map(|rule| (rule, 0)))
        .map(|(rule, revision)| {
            let fired = alerts.fired.get(&rule.name).cloned().unwrap_or_default();
            let prefix = format!("{}/", rule.name);
            let holding = alerts.holding.keys().filter(|key| key.starts_with(&prefix)).count();
            let open = alerts
                .incidents
                .values()
                .filter(|one| one.is_open() && one.rule == rule.name)
                .count();
            RuleView {
                rule: rule.clone(),
                built_in: revision == 0,
                revision,
                overdue: rule.review < today,
                waiting: holding.saturating_sub(open),
                open,
                fired: fired.total,
                fired_lately: fired.days.values().map(|count| u64::from(*count)).sum(),
                last_fired: (fired.total > 0).then_some(fired.last),
            }
        })
        .collect();
    views.sort_by(|a, b| a.rule.name.cmp(&b.rule.name));
    views
}

/// Returns the channels by name.
pub fn channels(lens: Lens<'_>) -> Vec<ChannelView> {
    let records = lens.fleet.alerts.channels.values();
    records
        .map(|record| ChannelView {
            channel: record.manifest.clone(),
            revision: record.revision,
            delivered: record.delivered,
            failed: record.failed,
            unknown: record.unknown,
            failing: record.failing.as_ref().map(|(_, why)| why.clone()),
            failing_for: record.failing.as_ref().map(|(since, _)| lens.now.since(*since)),
        })
        .collect()
}

/// Returns the incidents: open ones first, the worst first; then those that are over, newest first.
pub fn incidents(lens: Lens<'_>) -> Vec<IncidentView> {
    let suppression = Suppression::of(lens.fleet, lens.now);
    let mut all: Vec<_> = lens.fleet.alerts.incidents.iter().collect();
    all.sort_by_key(|(id, one)| {
        let open = one.is_open();
        (!open, open.then_some(one.severity), std::cmp::Reverse(**id))
    });
    all.into_iter().map(|(id, one)| incident(lens, &suppression, *id, one)).collect()
}

fn incident(
    lens: Lens<'_>,
    suppression: &Suppression<'_>,
    id: IncidentId,
    incident: &Incident,
) -> IncidentView {
    let suppressed_by = incident.is_open().then(|| suppression.by(incident)).flatten();
    let state = match (&incident.resolved, &incident.acknowledged, &suppressed_by) {
        (Some(_), ..) => "resolved",
        (None, _, Some(_)) => "suppressed",
        (None, Some(_), None) => "acknowledged",
        (None, None, None) => "firing",
    };
    let mut labels = incident.all_labels();
    labels.insert("fleet".to_owned(), lens.fleet.name.clone());
    let ended = incident.resolved.as_ref();
    IncidentView {
        id,
        state: state.to_owned(),
        rule: incident.rule.clone(),
        severity: incident.severity,
        labels,
        summary: phrase::summary(trireme_proto::model::Language::En, incident),
        evidence: incident.evidence.clone(),
        runbook: incident.runbook.clone(),
        recommended: incident.recommended().map(str::to_owned),
        since: incident.opened_wall,
        lasted: ended.map_or(lens.now, |end| end.at).since(incident.opened),
        resolved_at: ended.map(|end| end.wall),
        resolution: ended.map(|end| end.why.clone()),
        acknowledged: incident.acknowledged.as_ref().map(|by| {
            let note = if by.note.is_empty() { String::new() } else { format!(": {}", by.note) };
            format!("{}{note}", by.actor)
        }),
        suppressed_by,
        told: incident.told.iter().map(|(name, told)| (name.clone(), told.firing)).collect(),
    }
}

/// Returns the silences that have not ended.
pub fn silences(lens: Lens<'_>) -> Vec<SilenceView> {
    let all = lens.fleet.alerts.silences.iter();
    all.filter(|(_, one)| lens.now < one.until).map(|(id, one)| silence(lens, *id, one)).collect()
}

/// Returns one silence.
pub fn silence(lens: Lens<'_>, id: SilenceId, silence: &Silence) -> SilenceView {
    SilenceView {
        id,
        labels: silence.labels.clone(),
        reason: silence.reason.clone(),
        actor: silence.actor.clone(),
        at: silence.at,
        left: silence.until.since(lens.now),
    }
}

/// Returns the messages, newest first.
pub fn notices(lens: Lens<'_>) -> Vec<NoticeView> {
    lens.fleet.alerts.notices.iter().rev().map(|(id, one)| notice(*id, one)).collect()
}

/// Returns one message.
pub fn notice(id: NoticeId, notice: &Notice) -> NoticeView {
    NoticeView {
        id,
        channel: notice.channel.clone(),
        rule: notice.rule.clone(),
        incidents: notice.incidents.keys().copied().collect(),
        state: notice.state.word().to_owned(),
        reason: notice.state.reason().map(str::to_owned),
        at: notice.wall,
        by: notice.by.clone(),
    }
}

/// Explains an incident: what was seen, who was told, and what keeps others from it.
pub(super) fn why(lens: Lens<'_>, name: &str) -> Option<WhyView> {
    let id: IncidentId = name.parse().ok()?;
    let view = incidents(lens).into_iter().find(|view| view.id == id)?;
    let mut reasons = Vec::new();
    let mut because = |predicate: &str, evidence: String, unblock: String| {
        reasons.push(Reason { predicate: predicate.to_owned(), evidence, unblock });
    };
    if view.state == "resolved" {
        return Some(WhyView {
            object: format!("incident/{id}"),
            state: state(&view),
            reasons,
            note: None,
        });
    }
    let rule = lens.fleet.alerts.rules().find(|rule| rule.name == view.rule);
    let lasting = rule.map_or(Span(0), |rule| rule.lasting);
    let what_to_do = view.runbook.clone().unwrap_or_else(|| "what it is about".to_owned());
    because(
        &format!("alert.{}", view.rule),
        format!("{} (for {lasting})", view.evidence),
        what_to_do,
    );
    let advice = lens.fleet.alerts.incidents.get(&id).and_then(|one| one.advice.as_ref());
    match advice {
        Some(Advice::Do(command)) => {
            let evidence = format!("it has held for {lasting}");
            because("alert.recommendation", evidence, command.clone());
        }
        Some(Advice::Withheld(until)) => {
            let left = until.since(lens.now);
            let evidence = format!("the same was recommended lately, and is not for {left}");
            because("alert.recommendation", evidence, "who finds out why it comes back".to_owned());
        }
        None => {}
    }
    if let Some(by) = &view.suppressed_by {
        because("alert.told", format!("{by} keeps it from being told"), format!("the end of {by}"));
    }
    for (channel, record) in &lens.fleet.alerts.channels {
        if let Some((since, error)) = &record.failing {
            let lasted = lens.now.since(*since);
            let evidence = format!("channel {channel} fails since {lasted}: {error}");
            because("channel.delivers", evidence, format!("trictl alert test {channel}"));
        }
    }
    Some(WhyView { object: format!("incident/{id}"), state: state(&view), reasons, note: None })
}

fn state(view: &IncidentView) -> String {
    let told: Vec<_> = view.told.iter().map(|(name, times)| format!("{name} ×{times}")).collect();
    let told =
        if told.is_empty() { String::new() } else { format!(", told to {}", told.join(", ")) };
    let by = view.acknowledged.as_ref().map(|by| format!(", {by}")).unwrap_or_default();
    format!("{} {} {}: {}{by}{told}", view.severity, view.rule, view.state, view.summary)
}
