//! A fleet, its leader's eyes and a virtual clock, for tests: what is decided is applied at once, as
//! the log would.

use std::collections::BTreeMap;

use trireme_proto::action::{Samples, ServiceState};
use trireme_proto::id::NodeId;
use trireme_proto::model::Object;
use trireme_proto::time::{FleetTime, Span, WallTime};

use super::{Scene, plan};
use crate::presence::{Presence, Seen};
use crate::state::alert::{AlertStep, NoticeState};
use crate::state::apply::Position;
use crate::state::{Actor, Body, Command, Fleet, Outcome, testing};

/// Wall time at fleet time 0.
pub(super) const EPOCH: u64 = 1_800_000_000_000;

/// A fleet, its leader's eyes, and a clock.
pub(super) struct Bench {
    pub(super) fleet: Fleet,
    pub(super) presence: Presence,
    pub(super) now: u64,
    pub(super) term: u64,
    pub(super) samples: BTreeMap<NodeId, Samples>,
    /// Messages in the order in which they were claimed: channel, rule, incidents that begin or go
    /// on, incidents that are over.
    pub(super) sent: Vec<(String, String, usize, usize)>,
    pub(super) seen: u64,
    /// Whether what was claimed is delivered and recorded at once.
    pub(super) settles: bool,
    /// Claims that were committed, while nothing settles.
    pub(super) notifies: Vec<AlertStep>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::of(testing::serving_fleet().0)
    }

    pub(super) fn of(fleet: Fleet) -> Self {
        let mut bench = Self {
            fleet,
            presence: Presence::default(),
            now: 100_000,
            term: 1,
            samples: BTreeMap::new(),
            sent: Vec::new(),
            seen: 0,
            settles: true,
            notifies: Vec::new(),
        };
        bench.apply(
            "{kind: AlertRule, name: watchdog, owner: a, review: 2030-01-01, severity: P3, \
                     when: {state: watchdog}, enabled: false}",
        );
        bench
    }

    pub(super) fn put(&mut self, objects: Vec<Object>) {
        let body =
            Body::Apply { base_revision: 0, objects, evidence: testing::evidence(&self.fleet) };
        assert!(matches!(self.command(body), Outcome::Applied(_)));
    }

    pub(super) fn apply(&mut self, yaml: &str) {
        let objects = trireme_proto::manifest::parse("m", yaml).unwrap();
        self.put(objects.into_iter().map(|one| one.value).collect());
    }

    pub(super) fn command(&mut self, body: Body) -> Outcome {
        let actor = Actor {
            subject: "controller/c1".to_owned(),
            role: "system".to_owned(),
            source: String::new(),
            request_id: String::new(),
        };
        let (at, wall) = (FleetTime(self.now), WallTime(EPOCH + self.now));
        let command = Command { at, wall, skew: Span(0), actor, origin: None, body };
        let place = Position { index: self.fleet.index + 1, term: self.term };
        crate::state::apply(&mut self.fleet, place, &command).0.outcome
    }

    /// Has another leader look, which has seen nothing yet.
    pub(super) fn elect(&mut self) {
        self.term += 1;
        self.presence = Presence { since: FleetTime(self.now), ..Presence::default() };
    }

    /// Lets every node that is not lost speak.
    pub(super) fn hear(&mut self) {
        let nodes = self.fleet.nodes.iter().filter(|(_, node)| !node.lost && !node.removed);
        let nodes: BTreeMap<_, _> = nodes
            .map(|(id, node)| {
                let samples = self.samples.get(id).cloned().unwrap_or_default();
                let (generation, observed) = (node.generation, node.observed.clone());
                (id.clone(), Seen { generation, observed, samples, ..Seen::default() })
            })
            .collect();
        self.presence.hear(FleetTime(self.now), &"c1".parse().unwrap(), 1, nodes);
    }

    /// Looks and decides until there is nothing to do.
    pub(super) fn look(&mut self) {
        self.hear();
        for _ in 0..50 {
            let scene = Scene {
                fleet: &self.fleet,
                presence: &self.presence,
                now: FleetTime(self.now),
                wall: WallTime(EPOCH + self.now),
                term: self.term,
            };
            let decision = plan(&scene);
            if decision.steps.is_empty() {
                return;
            }
            for what in decision.steps {
                if matches!(what, AlertStep::Notify { .. }) && !self.settles {
                    self.notifies.push(what.clone());
                }
                let outcome = self.command(Body::Alert { what });
                assert_eq!(outcome, Outcome::Done);
            }
            if self.settles {
                self.collect();
            }
        }
        panic!("it never comes to rest");
    }

    pub(super) fn collect(&mut self) {
        let mut outcomes = BTreeMap::new();
        for (id, notice) in self.fleet.alerts.notices.iter().filter(|(id, _)| id.0 > self.seen) {
            let over = notice.incidents.values().filter(|nth| **nth == 0).count();
            let rule = notice.rule.as_ref().map(ToString::to_string).unwrap_or_default();
            let on = notice.incidents.len() - over;
            self.sent.push((notice.channel.to_string(), rule, on, over));
            outcomes.insert(*id, NoticeState::Delivered);
        }
        if let Some((last, _)) = outcomes.last_key_value() {
            self.seen = last.0;
            self.command(Body::Alert { what: AlertStep::Settle { outcomes } });
        }
    }

    /// Lets time pass, looking each second.
    pub(super) fn pass(&mut self, span: Span) {
        let end = self.now + span.0;
        while self.now < end {
            self.now = (self.now + 1000).min(end);
            self.look();
        }
    }

    /// Looks once, `span` later.
    pub(super) fn skip(&mut self, span: Span) {
        self.now += span.0;
        self.look();
    }

    pub(super) fn take(&mut self) -> Vec<(String, String, usize, usize)> {
        std::mem::take(&mut self.sent)
    }

    pub(super) fn gives(&mut self, node: &str, label: &str, value: &str) {
        let labels = BTreeMap::from([(label.to_owned(), value.to_owned())]);
        let checks = BTreeMap::from([("health".to_owned(), labels)]);
        self.samples.insert(node.parse().unwrap(), [("web".parse().unwrap(), checks)].into());
    }

    pub(super) fn fails(&mut self, node: &str, checks: &[&str]) {
        let node = self.fleet.nodes.get_mut(&node.parse::<NodeId>().unwrap()).unwrap();
        for seen in node.observed.values_mut() {
            let failing = checks.iter().map(|name| ((*name).to_owned(), "timeout".to_owned()));
            seen.failing = failing.collect();
            seen.state =
                if checks.is_empty() { ServiceState::Serving } else { ServiceState::NotServing };
        }
    }

    pub(super) fn open(&self) -> Vec<String> {
        self.fleet.alerts.open().into_keys().collect()
    }
}

pub(super) fn channels(names: &[&str], group: &str) -> String {
    let one = |name: &&str| {
        format!(
            "kind: Channel\nname: {name}\nto: {{webhook: {{url: \"https://a.example/\"}}}}\n{group}\n"
        )
    };
    names.iter().map(one).collect::<Vec<_>>().join("---\n")
}

pub(super) const AT_ONCE: &str = "group: {wait: 0s, interval: 0s, repeat: 4h}";
