//! A simulated agent: the real core and its journal, held as the real runtime must hold them.
//!
//! Effects are performed in order, a record is durable only once it is synced, and a crash may
//! come between any two effects. What the agent says of itself (the generation in a heartbeat, its
//! reports) is read from the durable state alone: a word that a crash could take back is a lie.

mod journal;
mod node;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use trireme_agent::plan::{Core, Effect, Key, Outcome, Record, Refusal, Seen, State, Task, Work};
use trireme_proto::action::{Action, Report, Step};
use trireme_proto::id::{NodeId, ServiceId};

use super::catalogue::{Truth, truth};
use super::clock::Clock;
use super::coverage::Counter;
use super::drive::{Drive, Point};
use super::host::{Host, fetched};
use super::message::{Beat, Message};
use super::net::Peer;
use super::world::{Event, World};
use crate::invariants::Moment;

/// True time between two looks at the checks, the clock and the session.
const TICK_MS: u64 = 500;
/// Ticks between two heartbeats.
const TICKS_PER_BEAT: u64 = 2;
/// Nonces that are remembered: a dozen heartbeats.
const NONCES_MAX: usize = 12;
/// Silence after which an agent looks for another controller, by its own clock.
const SILENCE_MAX: u64 = 4000;
/// Time after which unacknowledged reports are sent again, by its own clock.
const RESEND_MS: u64 = 2000;

/// A machine with its agent.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub id: NodeId,
    /// Place of its region.
    pub region: usize,
    /// Whether it is the last of its region.
    pub last: bool,
    /// The machine.
    pub host: Host,
    /// The machine's clock.
    pub clock: Clock,
    /// Whether the machine has power.
    pub powered: bool,
    /// Whether it is gone for good, before anything begins.
    pub dead: bool,
    /// Until when the machine is suspended.
    pub asleep_until: u64,
    /// The disk under the agent's journal.
    pub drive: Drive,
    /// Points of the journal at which its agent will die.
    pub traps: BTreeSet<Point>,
    /// The agent.
    pub agent: Agent,
}

/// An agent process.
#[derive(Debug)]
pub struct Agent {
    /// Whether it runs.
    pub up: bool,
    /// Counts its lives; events of an earlier one are void.
    pub life: u64,
    /// The real core.
    pub core: Core,
    /// What is written; all of it that may not be lost is on disk.
    pub disk: State,
    /// Step under way on the host.
    pub step: Option<Running>,
    queue: VecDeque<Effect>,
    writing: Option<Record>,
    /// Kind of the record that was written just now, if nothing has happened since.
    written: Option<&'static str>,
    ticks: u64,
    /// Nonces of its heartbeats, and when each was sent by its own clock.
    pub(super) nonces: VecDeque<(u64, u64)>,
    link: Option<Link>,
    tries: usize,
    resend_at: u64,
    checks: BTreeMap<ServiceId, Check>,
}

/// A step under way.
#[derive(Debug, Clone)]
pub struct Running {
    /// What is to be done.
    pub task: Rc<Task>,
    performed: bool,
}

/// The agent's end of its session.
#[derive(Debug, Clone, Copy)]
struct Link {
    controller: usize,
    session: u64,
    heard: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Check {
    good: u32,
    bad: u32,
    serving: bool,
    known: bool,
}

impl Agent {
    /// Returns an agent that was never started, with what its disk holds.
    pub fn new(node: NodeId, disk: State) -> Self {
        Self {
            up: false,
            life: 0,
            core: Core::new(node, disk.clone()),
            disk,
            step: None,
            queue: VecDeque::new(),
            writing: None,
            written: None,
            ticks: 0,
            nonces: VecDeque::new(),
            link: None,
            tries: 0,
            resend_at: 0,
            checks: BTreeMap::new(),
        }
    }
}

impl World {
    /// Starts the agent of a node.
    pub(super) fn start_agent(&mut self, n: usize, rebooted: bool) {
        let node = &mut self.nodes[n];
        if node.agent.up || node.dead {
            return;
        }
        if !node.powered {
            node.powered = true;
            node.clock.booted = self.now;
        }
        let disk = node.agent.disk.clone();
        let life = node.agent.life + 1;
        node.agent = Agent { up: true, life, ..Agent::new(node.id.clone(), disk) };
        let local = node.local(self.now);
        let effects = node.agent.core.restarted(local, rebooted);
        self.say_node(n, || format!("starts{}", if rebooted { " after a boot" } else { "" }));
        self.note(&Moment::Restarted { node: n });
        self.after(1, Event::AgentTick { node: n, life });
        self.connect_soon(n);
        self.feed(n, effects);
    }

    /// Hands effects to the agent and performs what can be performed now.
    fn feed(&mut self, n: usize, effects: Vec<Effect>) {
        self.nodes[n].agent.queue.extend(effects);
        self.pump(n);
    }

    fn pump(&mut self, n: usize) {
        let life = self.nodes[n].agent.life;
        loop {
            let agent = &mut self.nodes[n].agent;
            if !agent.up || agent.life != life || agent.writing.is_some() {
                return;
            }
            if self.falls_into_trap(n) {
                return;
            }
            let agent = &mut self.nodes[n].agent;
            let Some(effect) = agent.queue.pop_front() else { return };
            agent.written = None;
            match effect {
                Effect::Persist(record) => return self.begin_to_write(n, record),
                Effect::Report(report) => self.send_reports(n, Some(report)),
                Effect::Look(look) => {
                    let delay = self.rng.between(1, 8);
                    self.after(delay, Event::Looked { node: n, life, look });
                }
                Effect::Probe(task) => {
                    self.coverage.count(Counter::Probes);
                    let delay = self.rng.between(1, 8);
                    self.after(delay, Event::Probed { node: n, life, task: Rc::new(task) });
                }
                Effect::Run(task) => self.run_step(n, task),
                Effect::Interrupt(key) => {
                    let outcome = Outcome::Interrupted(None);
                    self.after(5, Event::StepEnd { node: n, life, key, outcome });
                }
                Effect::Ignored { action, refusal } => self.ignored(n, action, &refusal),
            }
            if self.may_die(n) {
                return;
            }
        }
    }

    fn ignored(&mut self, n: usize, action: trireme_proto::id::ActionId, refusal: &Refusal) {
        match refusal {
            Refusal::Stale { .. } => self.coverage.count(Counter::RefusedStale),
            Refusal::Conflict { .. } => self.coverage.count(Counter::RefusedConflict),
            Refusal::NonceUnknown | Refusal::NonceOld { .. } => {
                self.coverage.count(Counter::RefusedNonce);
            }
            Refusal::ForeignNode(_) | Refusal::EpochAhead { .. } | Refusal::Busy => {}
        }
        self.say_node(n, || format!("does not take {action}: {refusal}"));
    }

    pub(super) fn on_looked(&mut self, n: usize, life: u64, look: &trireme_agent::plan::Look) {
        let node = &mut self.nodes[n];
        if node.agent.life != life {
            return;
        }
        let unit = node.host.units.get(&look.service);
        let seen = Seen {
            spec: unit.and_then(|unit| unit.pointed.as_ref()).map(|spec| spec.spec.clone()),
            running: unit.is_some_and(|unit| unit.process.is_some()),
            serving: node.agent.checks.get(&look.service).is_some_and(|check| check.serving),
        };
        let local = node.local(self.now);
        let effects = node.agent.core.looked(local, look.action, Ok(seen));
        self.feed(n, effects);
    }

    pub(super) fn on_probed(&mut self, n: usize, life: u64, task: &Task) {
        if self.nodes[n].agent.life != life {
            return;
        }
        let blind = !self.calm && self.rng.chance(self.config.rough.blind_probe);
        let node = &mut self.nodes[n];
        let probed = if blind {
            trireme_agent::plan::Probed::Unknown
        } else {
            node.host.probe(&task.service, &task.work)
        };
        let local = node.local(self.now);
        let effects = node.agent.core.probed(local, task.key, probed);
        self.note(&Moment::Probed { node: n, key: task.key, found: probed });
        self.say_node(n, || format!("probes {}: {probed:?}", step_name(&task.key)));
        self.feed(n, effects);
    }

    /// Begins a step on the host.
    fn run_step(&mut self, n: usize, task: Task) {
        let task = Rc::new(task);
        self.say_node(n, || format!("begins {} of {}", step_name(&task.key), task.service));
        self.note(&Moment::Begins { node: n, task: Rc::clone(&task) });
        self.nodes[n].agent.step = Some(Running { task: Rc::clone(&task), performed: false });
        let (lasts, outcome) = match &task.work {
            Work::Fetch { spec } => {
                let there = self.nodes[n].host.artifacts.contains(&fetched(spec));
                if there {
                    (self.rng.between(1, 5), Outcome::Done)
                } else if truth(&spec.release.version) == Truth::Gone {
                    (self.rng.between(50, 1500), Outcome::Failed("404 not found".to_owned()))
                } else {
                    (self.rng.between(30, 900), Outcome::Done)
                }
            }
            Work::Quiesce { drain, .. } => (self.rng.between(0, drain.0), Outcome::Done),
            Work::Stop => (self.rng.between(10, 400), Outcome::Done),
            Work::Point { .. } => (self.rng.between(1, 6), Outcome::Done),
            Work::Start { .. } if !self.calm && self.rng.chance(self.start_fails()) => {
                (self.rng.between(5, 50), Outcome::Failed("cannot execute".to_owned()))
            }
            Work::Start { .. } => (self.rng.between(5, 120), Outcome::Done),
            // Waits until the checks have risen; see the tick.
            Work::Gate { .. } => return,
        };
        let life = self.nodes[n].agent.life;
        if outcome == Outcome::Done {
            let half = self.rng.between(0, lasts);
            self.after(half, Event::StepEffect { node: n, life, key: task.key });
        }
        self.after(lasts, Event::StepEnd { node: n, life, key: task.key, outcome });
    }

    /// Returns how often a start fails for reasons of its own, in a thousand.
    fn start_fails(&self) -> u64 {
        if self.config.rough.every > 0 { 15 } else { 0 }
    }

    pub(super) fn on_step_effect(&mut self, n: usize, life: u64, key: Key) {
        let agent = &mut self.nodes[n].agent;
        let Some(step) = &mut agent.step else { return };
        if agent.life != life || step.task.key != key || step.performed {
            return;
        }
        step.performed = true;
        let task = Rc::clone(&step.task);
        self.perform(n, &task);
    }

    /// The effect of a step happens on the host.
    fn perform(&mut self, n: usize, task: &Rc<Task>) {
        let node = &mut self.nodes[n];
        let last = node.last;
        let rng = &mut self.rng;
        let started = node.host.perform(self.now, task.key, &task.service, &task.work, last, rng);
        if started || matches!(task.work, Work::Stop | Work::Start { .. }) {
            let known = Check { known: true, ..Check::default() };
            node.agent.checks.insert(task.service.clone(), known);
        }
        self.note(&Moment::Performed { node: n, task: Rc::clone(task) });
    }

    pub(super) fn on_step_end(&mut self, n: usize, life: u64, key: Key, outcome: Outcome) {
        let agent = &mut self.nodes[n].agent;
        let Some(step) = agent.step.clone().filter(|step| step.task.key == key) else { return };
        if agent.life != life {
            return;
        }
        if outcome == Outcome::Done {
            self.on_step_effect(n, life, key);
        }
        let node = &mut self.nodes[n];
        node.agent.step = None;
        let local = node.local(self.now);
        if outcome != Outcome::Done {
            self.say_node(n, || format!("{} ends: {outcome:?}", step_name(&step.task.key)));
        }
        let effects = self.nodes[n].agent.core.step_done(local, key, outcome);
        self.feed(n, effects);
    }

    pub(super) fn on_agent_tick(&mut self, n: usize, life: u64) {
        let node = &mut self.nodes[n];
        if node.agent.life != life || !node.agent.up {
            return;
        }
        node.agent.ticks += 1;
        let ticks = node.agent.ticks;
        self.after(TICK_MS, Event::AgentTick { node: n, life });
        self.supervise(n);
        let node = &mut self.nodes[n];
        node.check(self.now);
        let local = node.local(self.now);
        let effects = node.agent.core.tick(local);
        let risen = node.agent.step.as_ref().filter(|step| step.task.key.step == Step::Gate);
        let risen = risen.filter(|step| {
            node.agent.checks.get(&step.task.service).is_some_and(|check| check.serving)
        });
        let risen = risen.map(|step| step.task.key);
        self.feed(n, effects);
        if let Some(key) = risen {
            self.on_step_end(n, life, key, Outcome::Done);
        }
        if self.nodes[n].agent.life == life {
            self.keep_session(n, ticks);
        }
    }

    /// Restarts what died by itself.
    fn supervise(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let busy = node.agent.step.as_ref().map(|step| step.task.service.clone());
        for (service, unit) in &mut node.host.units {
            let idle = busy.as_ref() != Some(service);
            if unit.wanted && unit.process.is_none() && idle && now >= unit.ill_until {
                unit.start(now, node.last, &mut self.rng);
            }
        }
    }

    /// Sends the heartbeat, sends again what was not acknowledged, and changes controllers.
    fn keep_session(&mut self, n: usize, ticks: u64) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let local = node.local(now);
        let Some(link) = node.agent.link else { return };
        if local.saturating_sub(link.heard) > SILENCE_MAX {
            node.agent.link = None;
            self.say_node(n, || format!("gives up c{}", link.controller + 1));
            self.connect_soon(n);
            return;
        }
        if ticks.is_multiple_of(TICKS_PER_BEAT) {
            let beat = self.beat(n);
            let message = Message::Beat { session: link.session, beat };
            self.send(Peer::Node(n), Peer::Controller(link.controller), message);
        }
        let agent = &self.nodes[n].agent;
        if !agent.disk.queue.is_empty() && local >= agent.resend_at {
            self.send_reports(n, None);
        }
    }

    /// Makes the next heartbeat, from what is durable.
    fn beat(&mut self, n: usize) -> Rc<Beat> {
        let nonce = self.take_number();
        let node = &mut self.nodes[n];
        let local = node.local(self.now);
        node.agent.nonces.push_back((nonce, local));
        if node.agent.nonces.len() > NONCES_MAX {
            node.agent.nonces.pop_front();
        }
        let fence = node.agent.disk.fence().unwrap_or_default();
        let beat = Beat { nonce, fence, observed: node.observed() };
        self.note(&Moment::Announced { node: n, fence });
        Rc::new(beat)
    }

    fn connect_soon(&mut self, n: usize) {
        let life = self.nodes[n].agent.life;
        let delay = self.rng.between(20, 800);
        self.after(delay, Event::Connect { node: n, life });
    }

    pub(super) fn on_connect(&mut self, n: usize, life: u64) {
        let node = &self.nodes[n];
        if node.agent.life != life || !node.agent.up || node.agent.link.is_some() {
            return;
        }
        // Its own region's controller first, then the others in turn.
        let controllers = self.controllers.len();
        let controller = (node.region + node.agent.tries) % controllers;
        let session = self.take_number();
        let beat = self.beat(n);
        let node = &mut self.nodes[n];
        node.agent.tries += 1;
        let heard = node.local(self.now);
        node.agent.link = Some(Link { controller, session, heard });
        let message = Message::Hello { session, beat };
        self.send(Peer::Node(n), Peer::Controller(controller), message);
    }

    /// Sends everything that is not acknowledged, oldest first, and `also`.
    fn send_reports(&mut self, n: usize, also: Option<Report>) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let Some(link) = node.agent.link else { return };
        node.agent.resend_at = node.local(now) + RESEND_MS;
        let mut reports: Vec<Report> = node.agent.disk.queue.iter().cloned().collect();
        if let Some(report) = also
            && reports.iter().all(|other| other.seq != report.seq)
        {
            reports.push(report);
            reports.sort_by_key(|report| report.seq);
        }
        let message = Message::Reports { session: link.session, reports: Rc::new(reports) };
        self.send(Peer::Node(n), Peer::Controller(link.controller), message);
    }

    /// A message of a controller arrives.
    pub(super) fn node_hears(&mut self, n: usize, from: usize, message: &Message) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let local = node.local(now);
        let agent = &mut node.agent;
        let current = agent
            .link
            .as_mut()
            .filter(|link| link.controller == from && Some(link.session) == message.session());
        let Some(link) = current.filter(|_| agent.up) else { return };
        link.heard = local;
        match message {
            Message::Welcome { .. } => {
                agent.tries = 0;
                if !agent.disk.queue.is_empty() {
                    self.send_reports(n, None);
                }
            }
            Message::Offer { action, nonce, .. } => {
                let sent = agent.nonces.iter().find(|(known, _)| known == nonce);
                let age = sent.map(|(_, sent)| local - sent);
                if agent.disk.last.as_ref().is_some_and(|last| last.action == action.id) {
                    self.coverage.count(Counter::RepeatedOffers);
                }
                let effects = agent.core.offer(local, Action::clone(action), age);
                self.note(&Moment::Heard { node: n, action: Rc::clone(action), age });
                self.feed(n, effects);
            }
            Message::Ack { seq, .. } => {
                let effects = agent.core.acked(*seq);
                self.feed(n, effects);
            }
            Message::Leave { .. } => {
                agent.link = None;
                self.connect_soon(n);
            }
            _ => {}
        }
    }

    fn say_node(&mut self, n: usize, what: impl FnOnce() -> String) {
        self.story.say(self.now, &self.nodes[n].id, what);
    }
}

/// Returns the kind of an action in a word.
pub fn kind(action: &Action) -> &'static str {
    use trireme_proto::action::ActionKind;
    match action.kind {
        ActionKind::Stage { .. } => "stage",
        ActionKind::Switch(_) => "switch",
        ActionKind::Halt(_) => "halt",
        ActionKind::Revert { .. } => "revert",
        ActionKind::Confirm { .. } => "confirm",
    }
}

fn step_name(key: &Key) -> String {
    format!("{} of {} ({:?})", key.step, key.action, key.direction)
}
