//! What holds now, by rule and subject.
//!
//! What was granted to be taken away is planned: it counts as there, as long as the grant is not
//! overdue; and so does what an operator has stopped, until it is started. That a service falls below its number is never planned; the ledger grants nothing
//! that would.

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::action::{Observed, ServiceState};
use trireme_proto::id::{NodeId, RegionId, ServiceId};
use trireme_proto::model::{Absent, AlertRule, CheckFails, Condition, Metric, Only, Ready, State};
use trireme_proto::time::Span;
use trireme_proto::view::UpgradePhase;

use super::Scene;
use crate::presence::WINDOW;
use crate::state::alert::Subject;
use crate::state::checklist::overdue;
use crate::state::fleet::{Node, Stage, Upgrade};

/// Name under which a process that does not run stands among the failing checks.
const PROCESS: &str = "process";
/// A controller that has not answered the leader for so long is silent: it is asked each second.
const CONTROLLER_SILENCE: Span = Span::secs(10);
/// Certificates are renewed after two thirds of their day; in the last sixth something is wrong.
const RENEWAL_OVERDUE: Span = Span::secs(4 * 3600);
/// How long people are told that an upgrade has gone back by itself.
const ROLLED_BACK_FOR: Span = Span::secs(3600);
/// Nodes whose numbers are compared for a change: one that changes is enough.
const COMPARED_MAX: usize = 32;

/// How a condition stands; what does not hold is not told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It holds, by what was seen.
    Holds(String),
    /// This leader has not seen yet.
    Unsure,
    /// Nobody can see: the node is out of sight for good.
    Gone,
}

/// What was found of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) standing: Standing,
    /// Numbers that would have to change, by node.
    pub(super) seen: BTreeMap<NodeId, String>,
}

type Finds = BTreeMap<Subject, Found>;

/// A service in one region.
#[derive(Debug, Default)]
struct Place {
    /// Whether it was ever started on any node there.
    started: bool,
    /// Nodes that serve.
    serving: usize,
    /// Nodes that serve or would, were they not granted away.
    planned: usize,
}

/// What conditions are looked up in.
pub(super) struct Standings<'a> {
    scene: Scene<'a>,
    granted: BTreeSet<(&'a NodeId, &'a ServiceId)>,
    places: BTreeMap<&'a ServiceId, BTreeMap<&'a RegionId, Place>>,
}

impl<'a> Standings<'a> {
    /// Looks at all services.
    pub(super) fn of(scene: &Scene<'a>) -> Self {
        let fleet = scene.fleet;
        let mut granted: BTreeSet<_> = fleet
            .grants
            .values()
            .filter(|grant| grant.is_held() && scene.now <= grant.due)
            .flat_map(|grant| grant.takes.iter().map(|(node, service)| (node, service)))
            .collect();
        for (id, node) in &fleet.nodes {
            granted.extend(node.stopped.iter().map(|service| (id, service)));
        }
        let mut places: BTreeMap<_, BTreeMap<_, Place>> = BTreeMap::new();
        for record in fleet.services.values() {
            let name = &record.manifest.name;
            let regions = places.entry(name).or_default();
            for (id, node) in fleet.placed(&record.manifest) {
                let place = regions.entry(&node.region).or_default();
                let serves = node.serves(name);
                place.started |= was_started(node, name);
                place.serving += usize::from(serves);
                place.planned += usize::from(serves || granted.contains(&(id, name)));
            }
        }
        Self { scene: *scene, granted, places }
    }

    /// Returns the subjects of a rule for which it holds, or may.
    pub(super) fn find(&mut self, rule: &AlertRule) -> Finds {
        let mut found = match &rule.when {
            Condition::State(state) => self.state(*state),
            Condition::Check(fails) => self.check(fails),
            Condition::Metric(metric) => self.metric(metric),
            Condition::Absent(absent) => self.absent(absent),
            Condition::Ready(ready) => self.ready(ready),
        };
        found.retain(|subject, _| is_meant(&rule.only, subject));
        found
    }

    fn state(&self, state: State) -> Finds {
        let Scene { fleet, now, .. } = self.scene;
        match state {
            State::RegionNotServing => self.regions_not_serving(),
            State::ServiceBelow | State::ServiceAtRisk => self.services_short(state),
            State::ServiceNotServing => self.services_not_serving(),
            State::NodeSilent => {
                let silent = fleet.nodes.iter().filter(|(_, node)| node.lost && !node.removed);
                let told = |_: &Node| "no controller has heard from its agent".to_owned();
                silent.map(|(id, node)| (of_node(id, node), holds(told(node)))).collect()
            }
            State::UpgradeFailed | State::UpgradeRolledBack => self.upgrades(state),
            State::GrantOverdue => {
                let overdue = fleet.grants.iter().filter(|(_, g)| g.is_held() && now > g.due);
                let subject = |id: &dyn std::fmt::Display| object(format!("grant/{id}"));
                overdue
                    .map(|(id, grant)| {
                        (
                            subject(id),
                            holds(format!("held for {} by {}", now.since(grant.at), grant.holder)),
                        )
                    })
                    .collect()
            }
            State::ControllerSilent => self.controllers(),
            State::CertificateExpiring => self.certificates(),
            State::ChannelFailing => {
                let failing = fleet.alerts.channels.iter().filter_map(|(id, record)| {
                    let (_, why) = record.failing.as_ref()?;
                    Some((object(format!("channel/{id}")), holds(why.clone())))
                });
                failing.collect()
            }
            State::ChecklistOverdue => self.checklists(),
            State::Watchdog => {
                [(Subject::default(), holds("alerts are looked at and sent".to_owned()))].into()
            }
        }
    }

    fn checklists(&self) -> Finds {
        let late = overdue(&self.scene.fleet.checklists, self.scene.wall);
        late.into_iter()
            .map(|(list, item, period)| {
                let evidence = format!("the window of {period} is over");
                (object(format!("checklist/{list}/{item}")), holds(evidence))
            })
            .collect()
    }

    fn regions_not_serving(&self) -> Finds {
        let mut regions: BTreeMap<&RegionId, (usize, usize)> = BTreeMap::new();
        for (service, places) in &self.places {
            let needed = self.scene.fleet.services.get(*service);
            let needed = needed.map_or(1, |record| record.manifest.serving.nodes as usize);
            for (region, place) in places.iter().filter(|(_, place)| place.started) {
                let (all, serving) = regions.entry(region).or_default();
                *all += 1;
                *serving += usize::from(place.planned >= needed);
            }
        }
        let down = regions.into_iter().filter(|(_, (_, serving))| *serving == 0);
        down.map(|(region, (all, _))| {
            let subject = Subject { region: Some(region.clone()), ..Subject::default() };
            (subject, holds(format!("none of its services is served there ({all} of them)")))
        })
        .collect()
    }

    fn services_short(&self, state: State) -> Finds {
        let mut found = Finds::new();
        for record in self.scene.fleet.services.values() {
            let service = &record.manifest;
            let Some(places) = self.places.get(&service.name) else { continue };
            let started = places.values().filter(|place| place.started).count();
            let at_least = self.scene.fleet.at_least(service) as usize;
            let needed = service.serving.nodes as usize;
            let count = |look: fn(&Place) -> usize| {
                places.values().filter(|place| look(place) >= needed).count()
            };
            let (serving, planned) = (count(|place| place.serving), count(|place| place.planned));
            let holds_now = match state {
                // What was started in fewer regions than must serve was never there to be lost.
                State::ServiceBelow => serving < at_least && started >= at_least,
                _ => planned == at_least && planned < started && serving >= at_least,
            };
            if holds_now && started > 0 {
                let evidence = format!(
                    "{serving} of {} regions serve it, at least {at_least} must",
                    places.len()
                );
                found.insert(of_service(&service.name), holds(evidence));
            }
        }
        found
    }

    /// Visits what nodes in sight say of services that are not granted away.
    fn observed(&self, mut visit: impl FnMut(Subject, &Observed, Option<Standing>)) {
        for (id, node) in self.scene.fleet.nodes.iter().filter(|(_, node)| !node.removed) {
            for (service, seen) in &node.observed {
                let down = seen.state == ServiceState::NotServing;
                if !down || self.granted.contains(&(id, service)) || !self.is_placed(service, node)
                {
                    continue;
                }
                let subject = Subject { service: Some(service.clone()), ..of_node(id, node) };
                visit(subject, seen, node.lost.then_some(Standing::Gone));
            }
        }
    }

    fn is_placed(&self, service: &ServiceId, node: &Node) -> bool {
        let record = self.scene.fleet.services.get(service);
        record.is_some_and(|record| record.manifest.nodes.matches(&node.labels))
    }

    fn services_not_serving(&self) -> Finds {
        let mut found = Finds::new();
        self.observed(|subject, seen, unseen| {
            // What fails besides is told by its checks.
            if seen.failing.keys().all(|check| check == PROCESS) {
                let why = seen.failing.get(PROCESS);
                let why =
                    why.map_or("it does not serve".to_owned(), |why| format!("its process {why}"));
                let standing = unseen.unwrap_or(Standing::Holds(why));
                found.insert(subject, Found { standing, seen: BTreeMap::new() });
            }
        });
        found
    }

    fn check(&self, fails: &CheckFails) -> Finds {
        let mut found = Finds::new();
        self.observed(|subject, seen, unseen| {
            if fails.service.as_ref().is_some_and(|only| Some(only) != subject.service.as_ref()) {
                return;
            }
            let meant =
                |name: &str| fails.check.as_deref().map_or(name != PROCESS, |one| one == name);
            for (name, message) in seen.failing.iter().filter(|(name, _)| meant(name)) {
                let subject = Subject { check: Some(name.clone()), ..subject.clone() };
                let standing = unseen.clone().unwrap_or_else(|| Standing::Holds(message.clone()));
                found.insert(subject, Found { standing, seen: BTreeMap::new() });
            }
        });
        found
    }

    fn ready(&self, ready: &Ready) -> Finds {
        let planned: usize = self
            .places
            .get(&ready.service)
            .map_or(0, |places| places.values().map(|place| place.planned).sum());
        if planned >= ready.below as usize {
            return Finds::new();
        }
        let evidence = format!("{planned} nodes serve it, fewer than {}", ready.below);
        [(of_service(&ready.service), holds(evidence))].into()
    }

    fn metric(&self, metric: &Metric) -> Finds {
        let mut found = Finds::new();
        let fleet = self.scene.fleet;
        let Some(record) = fleet.services.get(&metric.service) else { return found };
        for (id, node) in fleet.placed(&record.manifest) {
            let subject = Subject {
                service: Some(metric.service.clone()),
                check: Some(metric.check.clone()),
                ..of_node(id, node)
            };
            let text = self.sample(id, &metric.service, &metric.check, &metric.label);
            let standing = match text.and_then(|text| Some((text, text.parse::<f64>().ok()?))) {
                Some((text, value)) => {
                    let broken =
                        metric.bounds().find(|(bound, limit)| bound.holds(value, limit.value()));
                    let Some((bound, limit)) = broken else { continue };
                    let (label, word) = (&metric.label, bound.word());
                    Standing::Holds(format!("{label} is {text}, {word} {limit}"))
                }
                None if node.lost => Standing::Gone,
                None => Standing::Unsure,
            };
            found.insert(subject, Found { standing, seen: BTreeMap::new() });
        }
        found
    }

    fn absent(&self, absent: &Absent) -> Finds {
        let fleet = self.scene.fleet;
        let Some(record) = fleet.services.get(&absent.service) else { return Finds::new() };
        let seen: BTreeMap<_, _> = fleet
            .placed(&record.manifest)
            .filter_map(|(id, _)| {
                let text = self.sample(id, &absent.service, &absent.check, &absent.label)?;
                Some((id.clone(), text.to_owned()))
            })
            .take(COMPARED_MAX)
            .collect();
        let (check, label) = (&absent.check, &absent.label);
        let standing = if !seen.is_empty() && absent.change {
            Standing::Holds(format!("{label} of check {check} has not changed"))
        } else if !seen.is_empty() {
            return Finds::new();
        } else if self.scene.now <= self.scene.presence.since.after(WINDOW) {
            Standing::Unsure
        } else {
            Standing::Holds(format!("check {check} gives no {label}"))
        };
        let subject = Subject { check: Some(check.clone()), ..of_service(&absent.service) };
        [(subject, Found { standing, seen })].into()
    }

    /// Returns the number that a node in sight reports.
    fn sample(
        &self,
        node: &NodeId,
        service: &ServiceId,
        check: &str,
        label: &str,
    ) -> Option<&'a str> {
        let presence = self.scene.presence;
        let sighting =
            presence.nodes.get(node).filter(|_| presence.in_sight(node, self.scene.now))?;
        let text = sighting.seen.samples.get(service)?.get(check)?.get(label)?;
        Some(text)
    }

    fn upgrades(&self, state: State) -> Finds {
        let fleet = self.scene.fleet;
        let newest = fleet.services.keys().filter_map(|service| {
            let id = fleet.newest_upgrade(service, |_| true)?;
            Some((service, id, fleet.upgrades.get(&id)?))
        });
        newest
            .filter_map(|(service, id, upgrade)| {
                let said = match state {
                    State::UpgradeFailed => needs_person(upgrade)?,
                    _ => self.goes_back(upgrade)?,
                };
                let why = upgrade.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                let to = upgrade.plan.to.as_ref();
                let to = to.map(|version| format!(" to {version}")).unwrap_or_default();
                Some((of_service(service), holds(format!("{id}{to} {said}{why}"))))
            })
            .collect()
    }

    fn goes_back(&self, upgrade: &Upgrade) -> Option<String> {
        let lately = |at| self.scene.now.since(at) <= ROLLED_BACK_FOR;
        match upgrade.phase {
            UpgradePhase::RollingBack => Some("goes back".to_owned()),
            UpgradePhase::RolledBack if upgrade.ended.is_some_and(lately) => {
                Some("has gone back".to_owned())
            }
            _ => None,
        }
    }

    fn controllers(&self) -> Finds {
        let Scene { fleet, presence, now, .. } = self.scene;
        let looked_at = presence.since.after(CONTROLLER_SILENCE);
        fleet
            .controllers
            .iter()
            .filter_map(|(name, record)| {
                let heard = presence.controllers.get(name);
                if heard.is_some_and(|heard| now.since(heard.at) <= CONTROLLER_SILENCE) {
                    return None;
                }
                let standing = if now <= looked_at {
                    Standing::Unsure
                } else {
                    Standing::Holds("it does not answer the leader".to_owned())
                };
                let region = Some(record.region.clone());
                let subject = Subject { region, ..object(format!("controller/{name}")) };
                Some((subject, Found { standing, seen: BTreeMap::new() }))
            })
            .collect()
    }

    fn certificates(&self) -> Finds {
        let Scene { fleet, presence, wall, .. } = self.scene;
        let mut found = Finds::new();
        for (id, node) in fleet.nodes.iter().filter(|(_, node)| !node.removed) {
            let until = presence.nodes.get(id).and_then(|sighting| sighting.seen.certificate_until);
            let standing = match until {
                Some(until) if until.0 > wall.0.saturating_add(RENEWAL_OVERDUE.0) => continue,
                Some(until) => Standing::Holds(format!("it is valid until {until}")),
                None if node.lost => Standing::Gone,
                None => Standing::Unsure,
            };
            found.insert(of_node(id, node), Found { standing, seen: BTreeMap::new() });
        }
        found
    }
}

/// Returns what of an upgrade waits for a person.
fn needs_person(upgrade: &Upgrade) -> Option<String> {
    let dirty: Vec<_> = upgrade
        .waves
        .iter()
        .flat_map(|wave| &wave.nodes)
        .filter(|(_, stage)| matches!(stage, Stage::Dirty { .. }))
        .map(|(node, _)| node.to_string())
        .collect();
    if !dirty.is_empty() {
        return Some(format!("needs a person on {}", dirty.join(", ")));
    }
    (upgrade.phase == UpgradePhase::RollbackFailed).then(|| "could not go back".to_owned())
}

fn was_started(node: &Node, service: &ServiceId) -> bool {
    node.observed.get(service).is_some_and(|seen| seen.state != ServiceState::NeverStarted)
}

/// Returns whether a rule that is about only some things is about this one.
fn is_meant(only: &Only, subject: &Subject) -> bool {
    let region = subject.region.as_ref().is_some_and(|one| only.regions.contains(one));
    let service = subject.service.as_ref().is_some_and(|one| only.services.contains(one));
    (only.regions.is_empty() || region) && (only.services.is_empty() || service)
}

fn holds(evidence: String) -> Found {
    Found { standing: Standing::Holds(evidence), seen: BTreeMap::new() }
}

fn of_node(id: &NodeId, node: &Node) -> Subject {
    Subject { region: Some(node.region.clone()), node: Some(id.clone()), ..Subject::default() }
}

fn of_service(service: &ServiceId) -> Subject {
    Subject { service: Some(service.clone()), ..Subject::default() }
}

fn object(name: String) -> Subject {
    Subject { object: Some(name), ..Subject::default() }
}
