//! Simulated operators: they start, stop and turn back upgrades at random moments, change
//! manifests, remove nodes, and repeat what they got no answer to.

use std::rc::Rc;

use trireme_controller::state::{Body, Evidence, Outcome, waves};
use trireme_proto::id::{Place, ServiceId, UpgradeId, Version};
use trireme_proto::model::Object;
use trireme_proto::plan::{Operation, Scope};
use trireme_proto::problem::Problem;
use trireme_proto::view::UpgradePhase;

use super::catalogue::{self, VERSIONS};
use super::message::{Asked, Message, Wish};
use super::net::Peer;
use super::raft::Committed;
use super::world::{Event, World};
use crate::invariants::Moment;

/// Time after which an unanswered request is sent again.
const ANSWER_MAX: u64 = 2500;
/// Times a request is sent before its operator gives up.
const TRIES_MAX: u32 = 8;

/// An operator.
#[derive(Debug)]
pub struct Operator {
    /// Who it is, to the audit.
    pub subject: String,
    sequence: u64,
    waiting: Option<Waiting>,
    /// The last answer it got.
    pub answer: Option<(u64, Rc<Outcome>)>,
}

#[derive(Debug, Clone)]
struct Waiting {
    sequence: u64,
    wish: Rc<Wish>,
    tries: u32,
}

impl Operator {
    /// Returns an operator who has asked for nothing yet.
    pub fn new(number: usize) -> Self {
        let subject = format!("user/op-{number}");
        Self { subject, sequence: 0, waiting: None, answer: None }
    }
}

impl World {
    /// Has an operator ask for something; returns the number of the request.
    pub fn ask(&mut self, operator: usize, wish: Wish) -> u64 {
        let person = &mut self.operators[operator];
        person.sequence += 1;
        let sequence = person.sequence;
        let wish = Rc::new(wish);
        person.waiting = Some(Waiting { sequence, wish: Rc::clone(&wish), tries: 0 });
        self.story.say(self.now, &self.operators[operator].subject, || format!("asks {wish:?}"));
        self.send_request(operator);
        sequence
    }

    /// Has an operator ask, and waits for the answer.
    pub fn ask_and_wait(&mut self, operator: usize, wish: Wish) -> Option<Rc<Outcome>> {
        let sequence = self.ask(operator, wish);
        let until = self.now + ANSWER_MAX * u64::from(TRIES_MAX);
        let answered = |world: &Self| world.operators[operator].waiting.is_none();
        while self.now < until && self.violation.is_none() {
            let next = self.now + ANSWER_MAX;
            if self.run(next.min(until), answered) {
                break;
            }
            self.send_request(operator);
        }
        let answer = self.operators[operator].answer.as_ref();
        answer.filter(|(number, _)| *number == sequence).map(|(_, outcome)| Rc::clone(outcome))
    }

    /// Computes the plan of an upgrade as the most advanced controller would.
    pub fn plan_of(&self, service: &str, version: &str) -> Result<Wish, Problem> {
        let plan =
            waves::plan(&self.log.fleet, &catalogue::name(service), &catalogue::name(version));
        plan.map(|plan| Wish::Start(plan.id()))
    }

    fn send_request(&mut self, operator: usize) {
        let controllers = self.controllers.len();
        let at = self.rng.below(controllers);
        let Some(waiting) = &mut self.operators[operator].waiting else { return };
        waiting.tries += 1;
        let Waiting { sequence, wish, .. } = waiting.clone();
        let message = Message::Request { operator, sequence, wish };
        self.send(Peer::Operator(operator), Peer::Controller(at), message);
    }

    /// A request arrives at a controller.
    pub(super) fn requested(&mut self, c: usize, operator: usize, sequence: u64, wish: &Rc<Wish>) {
        let controller = &self.controllers[c];
        if controller.lead.is_some() {
            let body = self.body_of(c, wish);
            let subject = self.operators[operator].subject.clone();
            let origin = Some((subject.clone(), sequence));
            self.propose(c, Asked { subject, origin, body });
        } else if let Some(leader) = controller.leader.filter(|leader| *leader != c) {
            let message = Message::Request { operator, sequence, wish: Rc::clone(wish) };
            self.send(Peer::Controller(c), Peer::Controller(leader), message);
        }
    }

    /// Adds to a wish what only the leader knows.
    fn body_of(&self, c: usize, wish: &Wish) -> Body {
        let controller = &self.controllers[c];
        let evidence = controller.lead.as_ref().map_or_else(Evidence::default, |lead| {
            lead.presence.evidence(lead.fleet_time(controller.local(self.now)))
        });
        let reason = "because".to_owned();
        match wish.clone() {
            Wish::Apply(objects) => Body::Apply { base_revision: 0, objects, evidence },
            Wish::Start(plan) => Body::StartUpgrade { plan, evidence },
            Wish::Pause(upgrade) => Body::PauseUpgrade { upgrade, reason },
            Wish::Resume(upgrade) => Body::ResumeUpgrade { upgrade },
            Wish::Abort(upgrade) => Body::AbortUpgrade { upgrade, reason },
            Wish::Rollback(upgrade) => Body::RollbackUpgrade { upgrade, reason },
            Wish::Remove(node) => Body::RemoveNode { node, reason },
            Wish::Release(grant) => Body::ReleaseGrant { grant, reason },
            Wish::Operate(service, operation, scope) => {
                Body::Operate { service, operation, scope, reason, evidence }
            }
            Wish::Drain(place) => Body::Drain { place, reason, evidence },
            Wish::Return(place) => Body::Return { place, reason },
            Wish::Cordon(node) => Body::Cordon { node, reason },
            Wish::Freeze => Body::Freeze { reason },
            Wish::Thaw => Body::Thaw { reason },
        }
    }

    /// Has controller `c` answer whoever asked for an entry; an heir knows nobody who waits.
    pub(super) fn answer(&mut self, c: usize, committed: &Committed) {
        let Some((client, sequence)) = &committed.command.origin else { return };
        let asker = self.operators.iter().position(|operator| operator.subject == *client);
        if let Some(operator) = asker {
            let outcome = Rc::new(committed.reply.outcome.clone());
            let message = Message::Answer { sequence: *sequence, outcome };
            self.send(Peer::Controller(c), Peer::Operator(operator), message);
        }
    }

    pub(super) fn operator_hears(&mut self, operator: usize, message: &Message) {
        let Message::Answer { sequence, outcome } = message else { return };
        let (sequence, outcome) = (*sequence, Rc::clone(outcome));
        self.note(&Moment::Answered { operator, sequence, outcome: Rc::clone(&outcome) });
        let person = &mut self.operators[operator];
        if person.waiting.as_ref().is_some_and(|waiting| waiting.sequence == sequence) {
            person.waiting = None;
            person.answer = Some((sequence, outcome));
        }
    }

    pub(super) fn operate_later(&mut self, operator: usize) {
        let every = self.config.hands.every;
        let delay = self.rng.between(every / 3, every * 5 / 3);
        self.after(delay, Event::Operate { operator });
    }

    pub(super) fn on_operate(&mut self, operator: usize) {
        if self.calm {
            return;
        }
        self.operate_later(operator);
        if self.operators[operator].waiting.is_some() {
            return;
        }
        if let Some(wish) = self.wish() {
            let sequence = self.ask(operator, wish);
            self.after(ANSWER_MAX, Event::Retry { operator, sequence });
        }
    }

    /// Asks again what got no answer.
    pub(super) fn on_retry(&mut self, operator: usize, sequence: u64) {
        let waiting = self.operators[operator].waiting.as_ref();
        let Some(tries) = waiting.filter(|w| w.sequence == sequence).map(|w| w.tries) else {
            return;
        };
        if tries < TRIES_MAX {
            self.send_request(operator);
            self.after(ANSWER_MAX, Event::Retry { operator, sequence });
        } else {
            self.operators[operator].waiting = None;
        }
    }

    /// Draws what an operator wants next, from what the log says now.
    fn wish(&mut self) -> Option<Wish> {
        let services = self.config.services.clone();
        let service: ServiceId = catalogue::name(self.rng.pick(&services)?);
        let active = self.log.fleet.active_upgrade(&service);
        let active = active.map(|(id, upgrade)| (id, upgrade.paused.is_some()));
        if self.config.hands.overrides && self.rng.chance(150) {
            let held = self.log.fleet.grants.iter().find(|(_, grant)| grant.is_held());
            if let Some((grant, _)) = held {
                return Some(Wish::Release(*grant));
            }
        }
        if self.config.hands.removes && self.rng.chance(60) {
            let names = std::rc::Rc::clone(&self.names);
            return self.rng.pick(&names).cloned().map(Wish::Remove);
        }
        if self.config.hands.manual && self.rng.chance(300) {
            return self.wish_by_hand(service);
        }
        match active {
            Some((id, paused)) => self.wish_during(id, paused, &service),
            None => self.wish_at_rest(&service),
        }
    }

    fn wish_during(&mut self, id: UpgradeId, paused: bool, service: &ServiceId) -> Option<Wish> {
        match self.rng.below(20) {
            0 | 1 => Some(Wish::Pause(id)),
            2..=5 if paused => Some(Wish::Resume(id)),
            6 => Some(Wish::Abort(id)),
            7 | 8 => Some(Wish::Rollback(id)),
            9 | 10 => self.start(service),
            11 => Some(self.change(service)),
            _ => None,
        }
    }

    fn wish_at_rest(&mut self, service: &ServiceId) -> Option<Wish> {
        match self.rng.below(12) {
            0 | 1 => {
                let newest = self.log.fleet.newest_upgrade(service, |_| true)?;
                Some(Wish::Rollback(newest))
            }
            2 => Some(self.change(service)),
            _ => self.start(service),
        }
    }

    /// Wants something of a service as it is, or a place put aside, or given back.
    fn wish_by_hand(&mut self, service: ServiceId) -> Option<Wish> {
        let fleet = &self.log.fleet;
        let aside: Vec<Place> = fleet
            .drains
            .keys()
            .cloned()
            .chain(fleet.cordons.keys().cloned().map(Place::Node))
            .collect();
        let stopped = fleet.nodes.values().any(|node| node.stopped.contains(&service));
        let frozen = fleet.freeze.is_some();
        let region = catalogue::region(self.rng.below(self.config.nodes.len()));
        let names = Rc::clone(&self.names);
        let node = self.rng.pick(&names)?.clone();
        let scope = if self.rng.chance(500) {
            Scope { regions: [region.clone()].into(), ..Scope::default() }
        } else {
            Scope { nodes: [node.clone()].into(), ..Scope::default() }
        };
        match self.rng.below(12) {
            0..=2 if stopped => Some(Wish::Operate(service, Operation::Start, Scope::default())),
            0..=2 => Some(Wish::Operate(service, Operation::Stop, scope)),
            3 | 4 => Some(Wish::Operate(service, Operation::Restart, Scope::default())),
            5 => Some(Wish::Operate(service, Operation::Recreate, scope)),
            6..=8 if !aside.is_empty() => self.rng.pick(&aside).cloned().map(Wish::Return),
            6 => Some(Wish::Drain(Place::Region(region))),
            7 | 8 => Some(Wish::Drain(Place::Node(node))),
            9 => Some(Wish::Cordon(node)),
            _ if frozen => Some(Wish::Thaw),
            10 => Some(Wish::Freeze),
            _ => None,
        }
    }

    /// Wants another version, more often a good one.
    fn start(&mut self, service: &ServiceId) -> Option<Wish> {
        let good = self.rng.chance(550);
        let among = if good { &VERSIONS[..3] } else { &VERSIONS[3..] };
        let version: Version = catalogue::name(self.rng.pick(among)?);
        waves::plan(&self.log.fleet, service, &version).ok().map(|plan| Wish::Start(plan.id()))
    }

    /// Wants other numbers in the manifest: a longer drain, fewer regions, slower checks.
    fn change(&mut self, service: &ServiceId) -> Wish {
        let mut manifest = catalogue::service(&self.config, service.as_str());
        match self.rng.below(3) {
            0 => {
                if let Some(traffic) = &mut manifest.traffic {
                    traffic.drain.0 = self.rng.between(0, 900);
                }
            }
            1 => {
                for check in &mut manifest.checks {
                    check.fall = 3;
                }
            }
            _ => {}
        }
        Wish::Apply(vec![Object::Service(manifest)])
    }
}

/// Returns whether an upgrade needs nothing more: it has ended, or somebody paused it.
pub fn is_settled(phase: UpgradePhase, paused: bool) -> bool {
    phase.is_final() || paused
}
