//! Decides who is told of what now.
//!
//! ```text
//!  first of a rule         after `wait`: whatever else the rule has found meanwhile comes along
//!  something new or over   no sooner than `interval` after the last message of the rule
//!  nothing new             after `repeat`, unless somebody acknowledged it
//! ```

use std::collections::BTreeMap;

use trireme_proto::id::{IncidentId, RuleId};
use trireme_proto::model::{Channel, Target};
use trireme_proto::time::{FleetTime, Span};

use super::{Decision, Scene};
use crate::state::Fleet;
use crate::state::alert::{AlertStep, Draft, Incident, Suppression, group};

/// How long an Alertmanager is told that something is over, as its documents advise: a peer that was
/// away must hear of it too.
const RESOLVED_TOLD: Span = Span::secs(5 * 60);

/// Shortest time between two messages that only show that alerts arrive.
const WATCHDOG_MIN: Span = Span::secs(60);

/// The incidents of one rule, as one channel should be told.
#[derive(Default)]
struct Member<'a> {
    /// When the first of those it was not told of began.
    first: Option<FleetTime>,
    new: Vec<IncidentId>,
    over: Vec<IncidentId>,
    lasting: Vec<(IncidentId, u32)>,
    one: Option<&'a Incident>,
}

pub(super) fn plan(scene: &Scene<'_>, decision: &mut Decision) {
    let suppression = Suppression::of(scene.fleet, scene.now);
    let mut drafts = Vec::new();
    for record in scene.fleet.alerts.channels.values() {
        let channel = &record.manifest;
        if matches!(channel.to, Target::Alertmanager(_)) {
            continue;
        }
        for (rule, member) in members(scene.fleet, channel, &suppression) {
            let Some(due) = due(scene.fleet, channel, rule, &member) else { continue };
            if scene.now < due {
                decision.wake(due);
            } else {
                drafts.push(draft(channel, rule, member));
            }
        }
    }
    if !drafts.is_empty() {
        decision.steps.push(AlertStep::Notify { drafts });
    }
}

fn members<'a>(
    fleet: &'a Fleet,
    channel: &Channel,
    suppression: &Suppression<'_>,
) -> BTreeMap<&'a RuleId, Member<'a>> {
    let mut members: BTreeMap<_, Member<'_>> = BTreeMap::new();
    for (id, incident) in &fleet.alerts.incidents {
        if !incident.goes_to(channel) {
            continue;
        }
        let told = incident.told.get(&channel.name).copied().unwrap_or_default();
        let member = members.entry(&incident.rule).or_default();
        if !incident.is_open() {
            // Who heard that it began hears that it is over, whatever is silenced by now.
            if told.firing > 0 && !told.resolved {
                member.over.push(*id);
            }
        } else if suppression.by(incident).is_some() {
            continue;
        } else if told.firing == 0 {
            member.new.push(*id);
            let first = member.first.unwrap_or(incident.opened);
            member.first = Some(first.min(incident.opened));
        } else if incident.acknowledged.is_none() {
            member.lasting.push((*id, told.firing));
        }
        member.one = Some(incident);
    }
    members
}

/// Returns when the channel is to be told, if at all.
fn due(fleet: &Fleet, channel: &Channel, rule: &RuleId, member: &Member<'_>) -> Option<FleetTime> {
    let news = !member.new.is_empty() || !member.over.is_empty();
    match fleet.alerts.groups.get(&group(&channel.name, rule)) {
        None => member
            .first
            .map(|first| first.after(channel.group.wait))
            .or_else(|| news.then_some(FleetTime(0))),
        Some(last) if news => Some(last.after(channel.group.interval)),
        Some(last) if !member.lasting.is_empty() => {
            // What shows that alerts arrive must show it more often than twice a working day.
            let watchdog = member.one.is_some_and(Incident::is_watchdog);
            let often = channel.group.interval.max(WATCHDOG_MIN);
            let pause = if watchdog { often } else { channel.group.repeat };
            Some(last.after(pause))
        }
        Some(_) => None,
    }
}

fn draft(channel: &Channel, rule: &RuleId, member: Member<'_>) -> Draft {
    let new = member.new.into_iter().map(|id| (id, 1));
    let over = member.over.into_iter().map(|id| (id, 0));
    let lasting = member.lasting.into_iter().map(|(id, told)| (id, told + 1));
    let incidents = new.chain(over).chain(lasting).collect();
    Draft { channel: channel.name.clone(), rule: rule.clone(), incidents }
}

/// Returns what an Alertmanager is told now, over and over: what is open, and what was lately.
pub fn told_to<'a>(
    fleet: &'a Fleet,
    channel: &Channel,
    now: FleetTime,
) -> Vec<(IncidentId, &'a Incident)> {
    let suppression = Suppression::of(fleet, now);
    let current = |incident: &Incident| match &incident.resolved {
        None => suppression.by(incident).is_none(),
        Some(resolved) => now.since(resolved.at) <= RESOLVED_TOLD,
    };
    let told =
        fleet.alerts.incidents.iter().filter(|(_, one)| one.goes_to(channel) && current(one));
    let told: Vec<_> = told.map(|(id, incident)| (*id, incident)).collect();
    // The same labels are the same alert to it: what is open again hides that it was over before.
    let open: std::collections::BTreeSet<_> = told
        .iter()
        .filter(|(_, one)| one.is_open())
        .map(|(_, one)| (&one.rule, &one.subject))
        .collect();
    told.into_iter()
        .filter(|(_, one)| one.is_open() || !open.contains(&(&one.rule, &one.subject)))
        .collect()
}
