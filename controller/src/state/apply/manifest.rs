//! Applies manifests: whole or not at all, and judged where they lower safety (DESIGN rule 4).

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::model::{AlertRule, Channel, Condition, Object, Release, Service};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::{Applied, Change};

use super::{Context, checklist};
use crate::state::alert::{ChannelRecord, RuleRecord};
use crate::state::command::{Evidence, Outcome};
use crate::state::fleet::{Fleet, ReleaseRecord, ServiceRecord};
use crate::state::ledger::{self, RULE_AT_LEAST};

/// Alert rules at once: the leader looks at each every second.
const RULES_MAX: usize = 500;

/// Channels at once: each is told of everything by itself.
const CHANNELS_MAX: usize = 50;

pub(super) fn apply(
    fleet: &mut Fleet,
    context: &mut Context<'_>,
    base_revision: u64,
    objects: &[Object],
    evidence: &Evidence,
) -> Result<Outcome, Problem> {
    if base_revision != 0 && base_revision != fleet.revision {
        return Err(Problem::new(
            Code::Conflict,
            format!("the manifests are at revision {}, not {base_revision}", fleet.revision),
        )
        .because("somebody changed them after you looked")
        .hint("look again: trictl diff -f FILE"));
    }
    let mut next = fleet.clone();
    next.revision += 1;
    let mut changes = BTreeMap::new();
    for object in objects {
        let change = put(&mut next, object)?;
        changes.insert(format!("{}/{}", object.kind(), object.name()), change);
    }
    check_references(&next, objects)?;
    if changes.values().all(|change| *change == Change::Unchanged) {
        let revision = fleet.revision;
        return Ok(Outcome::Applied(Applied { revision, objects: changes }));
    }
    for service in next.services.values() {
        if let Some(old) = fleet.services.get(&service.manifest.name) {
            judge_change(fleet, &next, &old.manifest, &service.manifest, evidence)?;
        }
    }
    context.wake.extend(next.nodes.keys().cloned());
    let revision = next.revision;
    *fleet = next;
    Ok(Outcome::Applied(Applied { revision, objects: changes }))
}

fn put(fleet: &mut Fleet, object: &Object) -> Result<Change, Problem> {
    match object {
        Object::Region(region) => {
            let old = fleet.regions.insert(region.name.clone(), region.clone());
            Ok(changed(old.as_ref(), region))
        }
        Object::Service(service) => {
            let revision = fleet.revision;
            let old = fleet.services.get(&service.name).map(|record| &record.manifest);
            let change = changed(old, service);
            if change == Change::Changed
                && let Some((id, upgrade)) = fleet.active_upgrade(&service.name)
            {
                let done = upgrade.plan.operation.participle();
                return Err(Problem::new(
                    Code::Conflict,
                    format!("service {} is being {done} by {id}", service.name),
                )
                .because("its manifest is part of the plan that was reviewed")
                .hint(format!("wait for it: trictl upgrade watch {id}")));
            }
            if change != Change::Unchanged {
                let record = ServiceRecord { manifest: service.clone(), revision };
                fleet.services.insert(service.name.clone(), record);
            }
            Ok(change)
        }
        Object::Release(release) => put_release(fleet, release),
        Object::AlertRule(rule) => put_rule(fleet, rule),
        Object::Channel(channel) => put_channel(fleet, channel),
        Object::Checklist(list) => checklist::put(fleet, list),
    }
}

fn put_rule(fleet: &mut Fleet, rule: &AlertRule) -> Result<Change, Problem> {
    let old = fleet.alerts.rules.get(&rule.name).map(|record| &record.manifest);
    let change = changed(old, rule);
    if change == Change::Created && fleet.alerts.rules.len() >= RULES_MAX {
        return Err(too_many(RULES_MAX, "alertrule"));
    }
    if change != Change::Unchanged {
        let record = RuleRecord { manifest: rule.clone(), revision: fleet.revision };
        fleet.alerts.rules.insert(rule.name.clone(), record);
    }
    Ok(change)
}

fn put_channel(fleet: &mut Fleet, channel: &Channel) -> Result<Change, Problem> {
    let (revision, count) = (fleet.revision, fleet.alerts.channels.len());
    let Some(record) = fleet.alerts.channels.get_mut(&channel.name) else {
        if count >= CHANNELS_MAX {
            return Err(too_many(CHANNELS_MAX, "channel"));
        }
        let record = ChannelRecord::new(channel.clone(), revision);
        fleet.alerts.channels.insert(channel.name.clone(), record);
        return Ok(Change::Created);
    };
    let change = changed(Some(&record.manifest), channel);
    if change != Change::Unchanged {
        // What became of its messages is still true; whether it fails now has yet to be seen.
        (record.manifest, record.revision, record.failing) = (channel.clone(), revision, None);
    }
    Ok(change)
}

fn too_many(most: usize, kind: &str) -> Problem {
    Problem::new(Code::Conflict, format!("there are {most} of kind {kind} already"))
        .hint(format!("delete one: trictl delete {kind} NAME"))
}

fn put_release(fleet: &mut Fleet, release: &Release) -> Result<Change, Problem> {
    let versions = fleet.releases.entry(release.service.clone()).or_default();
    match versions.get(&release.version) {
        Some(old) if old.manifest == *release => Ok(Change::Unchanged),
        Some(_) => Err(Problem::new(
            Code::Conflict,
            format!("release {}@{} exists with other content", release.service, release.version),
        )
        .because("a version never changes: rollbacks return to it")
        .hint("give the new content a new version")),
        None => {
            let record = ReleaseRecord { manifest: release.clone(), good: false };
            versions.insert(release.version.clone(), record);
            Ok(Change::Created)
        }
    }
}

fn changed<T: PartialEq>(old: Option<&T>, new: &T) -> Change {
    match old {
        None => Change::Created,
        Some(old) if old == new => Change::Unchanged,
        Some(_) => Change::Changed,
    }
}

/// Refuses objects that name what does not exist.
fn check_references(fleet: &Fleet, objects: &[Object]) -> Result<(), Problem> {
    for object in objects {
        match object {
            Object::Region(_) | Object::Channel(_) => {}
            Object::AlertRule(rule) => check_rule(fleet, rule)?,
            Object::Checklist(list) => checklist::check(fleet, list)?,
            Object::Service(service) => {
                for region in &service.upgrade.order {
                    if !fleet.regions.contains_key(region) {
                        return Err(missing(
                            &format!("service {}", service.name),
                            "region",
                            region.as_str(),
                        ));
                    }
                }
            }
            Object::Release(release) => {
                if !fleet.services.contains_key(&release.service) {
                    let what = format!("release {}", release.version);
                    return Err(missing(&what, "service", release.service.as_str()));
                }
            }
        }
    }
    Ok(())
}

/// Refuses a rule about a channel, a service or a check that does not exist.
fn check_rule(fleet: &Fleet, rule: &AlertRule) -> Result<(), Problem> {
    let what = format!("alert rule {}", rule.name);
    if let Some(channel) = rule.channels.iter().find(|id| !fleet.alerts.channels.contains_key(*id))
    {
        return Err(missing(&what, "channel", channel.as_str()));
    }
    let Some(service) = rule.when.service() else { return Ok(()) };
    let Some(record) = fleet.services.get(service) else {
        return Err(missing(&what, "service", service.as_str()));
    };
    let named = match &rule.when {
        Condition::Check(fails) => fails.check.as_deref(),
        when => when.wanted().map(|(_, check, _)| check),
    };
    match named.filter(|name| !record.manifest.checks.iter().any(|check| check.name == **name)) {
        Some(check) => Err(missing(&what, "check", &format!("{service}/{check}"))),
        None => Ok(()),
    }
}

fn missing(what: &str, kind: &str, name: &str) -> Problem {
    Problem::new(Code::NotFound, format!("{what} names {kind} {name}, which does not exist"))
        .hint(format!("apply the {kind} with it, or before it"))
}

/// Judges a change of a service that lowers its safety, under the old and the new numbers.
fn judge_change(
    old_fleet: &Fleet,
    new_fleet: &Fleet,
    old: &Service,
    new: &Service,
    evidence: &Evidence,
) -> Result<(), Problem> {
    let placed = |fleet: &Fleet, service: &Service| -> BTreeSet<_> {
        fleet.placement(service).into_values().flatten().collect()
    };
    let before = placed(old_fleet, old);
    let after = placed(new_fleet, new);
    let removed: BTreeSet<_> =
        before.difference(&after).map(|node| (node.clone(), new.name.clone())).collect();
    let (at_least_old, at_least_new) = (old_fleet.at_least(old), new_fleet.at_least(new));
    let lowers = at_least_new < at_least_old
        || new.serving.nodes < old.serving.nodes
        || !removed.is_empty()
        || weakens_checks(old, new);
    // What serves nothing yet has nothing to lose.
    let serving_now = ledger::count(old_fleet, evidence, old, &BTreeSet::new());
    if !lowers || serving_now.values().all(|region| region.ready.is_empty()) {
        return Ok(());
    }
    for (service, at_least) in [(old, at_least_old), (new, at_least_new)] {
        let count = ledger::count(old_fleet, evidence, service, &removed);
        let serving = count.values().filter(|region| region.serving).count();
        if serving < at_least as usize {
            return Err(Problem::refused(
                RULE_AT_LEAST,
                format!(
                    "this change of service {} lowers its safety while {serving} of {} regions serve it and {at_least} must",
                    new.name,
                    count.len()
                ),
            )
            .hint(format!("bring the service back first: trictl describe service {}", new.name)));
        }
    }
    Ok(())
}

/// Returns whether some check of `old` is gone or asks for less in `new`.
fn weakens_checks(old: &Service, new: &Service) -> bool {
    old.checks.iter().any(|check| {
        new.checks.iter().find(|other| other.name == check.name).is_none_or(|other| {
            other.probe != check.probe
                || other.rise < check.rise
                || other.fall > check.fall
                || other.timeout > check.timeout
                || other.every > check.every
        })
    })
}
