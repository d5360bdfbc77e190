//! Applies what the leader found out about alerts, what it is about to send, and what people ask.

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::id::{ChannelId, IncidentId, NoticeId, SilenceId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;

use super::Context;
use crate::state::alert::{
    Acknowledged, Advice, AlertStep, Draft, Fired, Holding, Incident, Notice, NoticeState, Opened,
    Resolved, Silence, Told, group,
};
use crate::state::command::Outcome;
use crate::state::fleet::Fleet;

/// Ended incidents that are kept for people; the oldest are forgotten.
const RESOLVED_KEPT: usize = 500;
/// Messages that are kept for people once their end is known.
const NOTICES_KEPT: usize = 500;
/// Silences at once: each is compared with every incident.
const SILENCES_MAX: usize = 200;
/// Longest silence: what is broken for longer wants another rule.
const SILENCE_MAX: Span = Span::secs(30 * 24 * 3600);
/// Days for which it is kept how often a rule fired.
const DAYS_KEPT: u64 = 30;
/// Recommendations that are remembered at once; beyond it nothing is recommended, as a leak on so many
/// nodes is none that restarts mend.
const ADVISED_MAX: usize = 10_000;
/// Milliseconds of a day.
const DAY: u64 = 24 * 3600 * 1000;
/// Longest reason that is kept of why a message did not arrive, in characters.
const REASON_MAX: usize = 300;

pub(super) fn step(
    fleet: &mut Fleet,
    context: &Context<'_>,
    step: &AlertStep,
) -> Result<Outcome, Problem> {
    match step {
        AlertStep::Assess { begun, over, opened, resolved } => {
            assess(fleet, begun, over);
            open(fleet, context, opened);
            resolve(fleet, context, resolved);
            forget(fleet);
            Ok(Outcome::Done)
        }
        AlertStep::Notify { drafts } => {
            notify(fleet, context, drafts)?;
            forget(fleet);
            Ok(Outcome::Done)
        }
        AlertStep::Settle { outcomes } => {
            settle(fleet, outcomes);
            Ok(Outcome::Done)
        }
        AlertStep::Health { channel, error } => {
            health(fleet, channel, error.as_deref());
            Ok(Outcome::Done)
        }
        AlertStep::Acknowledge { incident, note } => acknowledge(fleet, context, *incident, note),
        AlertStep::Silence { labels, lasting, reason } => {
            silence(fleet, context, labels, *lasting, reason)
        }
        AlertStep::Unsilence { silence } => match fleet.alerts.silences.remove(silence) {
            Some(_) => Ok(Outcome::Silence(*silence)),
            None => Err(Problem::new(Code::NotFound, format!("there is no {silence}"))
                .hint("list them: trictl get silence")),
        },
        AlertStep::Test { channel } => test(fleet, context, channel),
    }
}

fn assess(fleet: &mut Fleet, begun: &BTreeMap<String, Holding>, over: &BTreeSet<String>) {
    let holding = &mut fleet.alerts.holding;
    holding.retain(|key, _| !over.contains(key));
    holding.extend(begun.iter().map(|(key, held)| (key.clone(), held.clone())));
}

fn open(fleet: &mut Fleet, context: &Context<'_>, opened: &BTreeMap<String, Opened>) {
    let known = fleet.alerts.open();
    for (key, found) in opened {
        // Two leaders in a row may have seen it; it is one occurrence.
        if known.contains_key(key) {
            continue;
        }
        let id = IncidentId(fleet.take_id());
        let advice = advise(fleet, key, id, found);
        let incident = Incident {
            rule: found.rule.clone(),
            what: found.what.clone(),
            severity: found.severity,
            subject: found.subject.clone(),
            labels: found.labels.clone(),
            summary: found.summary.clone(),
            runbook: found.runbook.clone(),
            channels: found.channels.clone(),
            evidence: found.evidence.clone(),
            opened_wall: context.command.wall,
            opened: fleet.now,
            resolved: None,
            acknowledged: None,
            advice,
            told: BTreeMap::new(),
        };
        count(fleet.alerts.fired.entry(found.rule.clone()).or_default(), context);
        fleet.alerts.incidents.insert(id, incident);
    }
}

/// Returns what is recommended, at most once in the rule's time for the same subject: a restart that
/// does not last is not recommended over and over.
fn advise(fleet: &mut Fleet, key: &str, id: IncidentId, found: &Opened) -> Option<Advice> {
    let recommend = found.recommend.as_ref()?;
    let service = found.subject.service.as_ref()?;
    let now = fleet.now;
    fleet.alerts.advised.retain(|_, until| now < *until);
    if let Some(until) = fleet.alerts.advised.get(key) {
        return Some(Advice::Withheld(*until));
    }
    if fleet.alerts.advised.len() >= ADVISED_MAX {
        return Some(Advice::Withheld(now));
    }
    fleet.alerts.advised.insert(key.to_owned(), now.after(recommend.every));
    let operation = recommend.operation.word();
    let node = found.subject.node.as_ref();
    let node = node.map(|node| format!(" --node {node}")).unwrap_or_default();
    let by_hand = fleet.services.get(service).and_then(|one| one.manifest.by_hand.as_ref());
    let confirmed = by_hand.filter(|policy| policy.confirm);
    let confirmed = confirmed.map(|_| format!(" --confirm {service}")).unwrap_or_default();
    let command = format!("trictl service {operation} {service}{node}{confirmed} --reason {id}");
    Some(Advice::Do(command))
}

fn count(fired: &mut Fired, context: &Context<'_>) {
    let day = context.command.wall.0 / DAY;
    fired.total += 1;
    fired.last = context.command.wall;
    *fired.days.entry(day).or_default() += 1;
    fired.days.retain(|past, _| *past + DAYS_KEPT > day);
}

fn resolve(fleet: &mut Fleet, context: &Context<'_>, resolved: &BTreeMap<IncidentId, String>) {
    let (at, wall) = (fleet.now, context.command.wall);
    for (id, why) in resolved {
        if let Some(incident) = fleet.alerts.incidents.get_mut(id).filter(|one| one.is_open()) {
            incident.resolved = Some(Resolved { at, wall, why: why.clone() });
        }
    }
}

/// Forgets the oldest of what is over, and when rules of which nothing is open were told last: their
/// messages begin anew.
fn forget(fleet: &mut Fleet) {
    let ended: Vec<_> = fleet.alerts.incidents.iter().filter(|(_, one)| !one.is_open()).collect();
    let excess = ended.len().saturating_sub(RESOLVED_KEPT);
    let forgotten: Vec<_> = ended.into_iter().take(excess).map(|(id, _)| *id).collect();
    for id in forgotten {
        fleet.alerts.incidents.remove(&id);
    }
    let open: BTreeSet<_> = fleet
        .alerts
        .incidents
        .values()
        .filter(|one| {
            one.is_open() || one.told.values().any(|told| told.firing > 0 && !told.resolved)
        })
        .map(|one| one.rule.clone())
        .collect();
    fleet.alerts.groups.retain(|key, _| {
        key.split_once('/').is_some_and(|(_, rule)| open.iter().any(|name| name.as_str() == rule))
    });
}

/// Claims messages: each (incident, time it is told, channel) once.
fn notify(fleet: &mut Fleet, context: &Context<'_>, drafts: &[Draft]) -> Result<(), Problem> {
    for draft in drafts {
        if !fleet.alerts.channels.contains_key(&draft.channel) {
            return Err(no_channel(&draft.channel));
        }
        for (id, nth) in &draft.incidents {
            let told = fleet
                .alerts
                .incidents
                .get(id)
                .map(|incident| incident.told.get(&draft.channel).copied().unwrap_or_default());
            let expected = match (told, nth) {
                (Some(told), 0) => told.firing > 0 && !told.resolved,
                (Some(told), nth) => told.firing + 1 == *nth && !told.resolved,
                (None, _) => false,
            };
            if !expected {
                let message = format!("{} was told of {id} already", draft.channel);
                return Err(Problem::new(Code::Conflict, message));
            }
        }
    }
    for draft in drafts {
        for (id, nth) in &draft.incidents {
            let incident = fleet.alerts.incidents.get_mut(id);
            let Some(incident) = incident else { continue };
            let told = incident.told.entry(draft.channel.clone()).or_default();
            *told = match nth {
                0 => Told { resolved: true, ..*told },
                nth => Told { firing: *nth, ..*told },
            };
        }
        fleet.alerts.groups.insert(group(&draft.channel, &draft.rule), fleet.now);
        claim(fleet, context, draft.channel.clone(), Some(draft));
    }
    Ok(())
}

fn claim(
    fleet: &mut Fleet,
    context: &Context<'_>,
    channel: ChannelId,
    draft: Option<&Draft>,
) -> NoticeId {
    let id = NoticeId(fleet.take_id());
    let notice = Notice {
        channel,
        rule: draft.map(|draft| draft.rule.clone()),
        incidents: draft.map(|draft| draft.incidents.clone()).unwrap_or_default(),
        term: context.at.term,
        by: context.command.actor.subject.clone(),
        at: fleet.now,
        wall: context.command.wall,
        state: NoticeState::Claimed,
    };
    fleet.alerts.notices.insert(id, notice);
    let notices = &mut fleet.alerts.notices;
    let ended = |notice: &Notice| notice.state != NoticeState::Claimed;
    let excess = notices.values().filter(|one| ended(one)).count().saturating_sub(NOTICES_KEPT);
    let old: Vec<_> = notices.iter().filter(|(_, one)| ended(one)).map(|(id, _)| *id).collect();
    for id in old.into_iter().take(excess) {
        notices.remove(&id);
    }
    id
}

/// Records what became of messages; what is known better than unknown replaces it.
fn settle(fleet: &mut Fleet, outcomes: &BTreeMap<NoticeId, NoticeState>) {
    for (id, state) in outcomes {
        let Some(notice) = fleet.alerts.notices.get_mut(id) else { continue };
        let was_unknown = matches!(notice.state, NoticeState::Unknown(_));
        let better = was_unknown && !matches!(state, NoticeState::Unknown(_));
        if notice.state != NoticeState::Claimed && !better {
            continue;
        }
        notice.state = shortened(state);
        let (at, channel) = (fleet.now, notice.channel.clone());
        let Some(record) = fleet.alerts.channels.get_mut(&channel) else { continue };
        if better {
            record.unknown = record.unknown.saturating_sub(1);
        }
        match state {
            NoticeState::Claimed => {}
            NoticeState::Delivered => {
                record.delivered += 1;
                record.failing = None;
            }
            NoticeState::Failed(reason) => {
                record.failed += 1;
                let since = record.failing.as_ref().map_or(at, |(since, _)| *since);
                record.failing = Some((since, cut(reason)));
            }
            NoticeState::Unknown(_) => record.unknown += 1,
        }
    }
}

fn shortened(state: &NoticeState) -> NoticeState {
    match state {
        NoticeState::Failed(reason) => NoticeState::Failed(cut(reason)),
        NoticeState::Unknown(reason) => NoticeState::Unknown(cut(reason)),
        NoticeState::Claimed | NoticeState::Delivered => state.clone(),
    }
}

fn cut(reason: &str) -> String {
    reason.chars().filter(|c| !c.is_control()).take(REASON_MAX).collect()
}

fn health(fleet: &mut Fleet, channel: &ChannelId, error: Option<&str>) {
    let now = fleet.now;
    if let Some(record) = fleet.alerts.channels.get_mut(channel) {
        let since = record.failing.as_ref().map_or(now, |(since, _)| *since);
        record.failing = error.map(|error| (since, cut(error)));
    }
}

fn acknowledge(
    fleet: &mut Fleet,
    context: &Context<'_>,
    id: IncidentId,
    note: &str,
) -> Result<Outcome, Problem> {
    let incident = fleet.alerts.incidents.get_mut(&id).ok_or_else(|| {
        Problem::new(Code::NotFound, format!("there is no {id}"))
            .hint("list them: trictl alert list")
    })?;
    if !incident.is_open() {
        return Err(Problem::new(Code::Conflict, format!("{id} is over already")));
    }
    incident.acknowledged = Some(Acknowledged {
        actor: context.command.actor.subject.clone(),
        at: context.command.wall,
        note: note.to_owned(),
    });
    Ok(Outcome::Incident(id))
}

fn silence(
    fleet: &mut Fleet,
    context: &Context<'_>,
    labels: &BTreeMap<String, String>,
    lasting: Span,
    reason: &str,
) -> Result<Outcome, Problem> {
    let now = fleet.now;
    fleet.alerts.silences.retain(|_, silence| now < silence.until);
    if labels.is_empty() || reason.trim().is_empty() {
        let message = "a silence names at least one label, and why";
        return Err(Problem::new(Code::Usage, message));
    }
    if lasting.0 == 0 || lasting > SILENCE_MAX {
        let message = format!("a silence lasts from 1ms to {SILENCE_MAX}, not {lasting}");
        return Err(Problem::new(Code::Usage, message));
    }
    if fleet.alerts.silences.len() >= SILENCES_MAX {
        let message = format!("there are {SILENCES_MAX} silences already");
        return Err(
            Problem::new(Code::Conflict, message).hint("end one: trictl alert unsilence ID")
        );
    }
    let id = SilenceId(fleet.take_id());
    let silence = Silence {
        labels: labels.clone(),
        reason: reason.to_owned(),
        actor: context.command.actor.subject.clone(),
        at: context.command.wall,
        until: now.after(lasting),
    };
    fleet.alerts.silences.insert(id, silence);
    Ok(Outcome::Silence(id))
}

fn test(fleet: &mut Fleet, context: &Context<'_>, channel: &ChannelId) -> Result<Outcome, Problem> {
    if !fleet.alerts.channels.contains_key(channel) {
        return Err(no_channel(channel));
    }
    Ok(Outcome::Notice(claim(fleet, context, channel.clone(), None)))
}

fn no_channel(channel: &ChannelId) -> Problem {
    Problem::new(Code::NotFound, format!("there is no channel {channel}"))
        .hint("list them: trictl get channel")
}
