//! The simulated world: everything in it, the queue of what will happen, and the loop that lets
//! it happen. One configuration is one history, to the byte.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use trireme_agent::plan::{Key, Look, Memory, Outcome, State, Task};
use trireme_controller::state::{Body, Evidence};
use trireme_proto::action::{Action, Observed, ServiceState};
use trireme_proto::digest::Digest;
use trireme_proto::id::NodeId;
use trireme_proto::time::WallTime;
use trireme_proto::token::Token;

use super::agent::{Agent, Node};
use super::catalogue::{self, FIRST};
use super::clock::{Clock, DRIFT_MAX};
use super::config::{CONTROLLERS, Config};
use super::controller::{Controller, INCARNATION};
use super::coverage::{Counter, Coverage};
use super::drive::Drive;
use super::host::{Host, Process, Spec, fetched};
use super::message::Message;
use super::net::{Net, Peer};
use super::operator::Operator;
use super::raft::{CommitPoint, Log};
use super::rng::Rng;
use super::story::Story;
use crate::invariants::{self, Moment, Rule};

/// Committed actions that are kept to be replayed and forged.
const ACTIONS_KEPT: usize = 24;
/// Chance that what is committed is also offered on an old view, in a thousand.
const OLD_VIEWS: u64 = 20;
/// Events of one history; one that takes more goes in circles.
const EVENTS_MAX: u64 = 400_000;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    Deliver { from: Peer, to: Peer, message: Rc<Message> },
    AgentUp { node: usize, life: u64, rebooted: bool },
    AgentDies { node: usize, life: u64 },
    AgentTick { node: usize, life: u64 },
    Connect { node: usize, life: u64 },
    Synced { node: usize, life: u64 },
    Looked { node: usize, life: u64, look: Look },
    Probed { node: usize, life: u64, task: Rc<Task> },
    StepEffect { node: usize, life: u64, key: Key },
    StepEnd { node: usize, life: u64, key: Key, outcome: Outcome },
    ControllerUp { controller: usize, life: u64 },
    LeadTick { controller: usize, life: u64, term: u64 },
    Plan { controller: usize, term: u64 },
    Commit { controller: usize, term: u64 },
    RaftWatch,
    Operate { operator: usize },
    Retry { operator: usize, sequence: u64 },
    Fault,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub rule: String,
    /// How.
    pub what: String,
    /// True time.
    pub at: u64,
}

/// A simulated fleet.
#[derive(Debug)]
pub struct World {
    /// What kind of history this is.
    pub config: Config,
    /// True time, in milliseconds.
    pub now: u64,
    /// Whether faults have stopped.
    pub calm: bool,
    /// The controllers.
    pub controllers: Vec<Controller>,
    /// The machines.
    pub nodes: Vec<Node>,
    /// The committed log.
    pub log: Log,
    /// The operators.
    pub operators: Vec<Operator>,
    /// The network.
    pub net: Net,
    /// What happened, for people.
    pub story: Story,
    /// What this history has been through.
    pub coverage: Coverage,
    /// The first promise that was broken.
    pub violation: Option<Violation>,
    /// Names of the nodes, by place.
    pub(crate) names: Rc<Vec<NodeId>>,
    /// Point of the next commit at which the leader will die.
    pub commit_trap: Option<CommitPoint>,
    /// Actions committed lately.
    pub(crate) actions: VecDeque<Rc<Action>>,
    pub(crate) rng: Rng,
    places: BTreeMap<NodeId, usize>,
    queue: BTreeMap<(u64, u64), Event>,
    numbers: u64,
    events: u64,
    rules: Vec<Rule>,
}

impl World {
    /// Makes the fleet of a configuration, with everything about to start.
    pub fn new(config: Config, story: Story) -> Self {
        let mut rng = Rng::new(config.seed ^ 0x5eed);
        let mut nodes = Vec::new();
        for (region, count) in config.nodes.iter().enumerate() {
            for number in 0..*count {
                nodes.push(machine(&config, &mut rng, region, number));
            }
        }
        let names = Rc::new(nodes.iter().map(|node| node.id.clone()).collect::<Vec<_>>());
        let places = names.iter().cloned().enumerate().map(|(n, name)| (name, n)).collect();
        let controllers = (0..CONTROLLERS)
            .map(|c| Controller::new(catalogue::controller(c), clock(&mut rng)))
            .collect();
        let mut net = Net::default();
        net.weather = config.rough.weather;
        net.wild = config.rough.wild;
        let operators = (0..config.hands.operators.max(1)).map(Operator::new).collect();
        let mut world = Self {
            config,
            now: 0,
            calm: false,
            controllers,
            nodes,
            log: Log::default(),
            operators,
            net,
            story,
            coverage: Coverage::default(),
            violation: None,
            names,
            commit_trap: None,
            actions: VecDeque::new(),
            rng,
            places,
            queue: BTreeMap::new(),
            numbers: 0,
            events: 0,
            rules: invariants::table(),
        };
        world.found();
        world
    }

    /// Bootstraps the fleet, joins its nodes, and lets everything start.
    fn found(&mut self) {
        let mut bodies = vec![Body::Bootstrap {
            name: "sim".to_owned(),
            domain: "sim.example".to_owned(),
            controllers: catalogue::controllers(&self.config),
        }];
        let objects = catalogue::objects(&self.config);
        bodies.push(Body::Apply { base_revision: 0, objects, evidence: Evidence::default() });
        for node in &self.nodes {
            bodies.extend(joining(node));
        }
        self.commit_first(bodies);
        if self.config.first_start {
            self.coverage.count(Counter::FirstStarts);
        } else {
            self.already_running();
        }
        for controller in &mut self.controllers {
            controller.begin_with(&self.log.fleet);
        }
        self.log.term = 1;
        self.elect();
        self.at(1, Event::RaftWatch);
        if let Some(n) = self.config.dead.filter(|n| *n < self.nodes.len()) {
            self.never_comes_up(n);
        }
        for n in 0..self.nodes.len() {
            let life = self.nodes[n].agent.life;
            let delay = self.rng.between(1, 400);
            self.after(delay, Event::AgentUp { node: n, life, rebooted: false });
        }
        if self.config.rough.every > 0 {
            self.fault_later();
        }
        if self.config.hands.operators > 0 {
            for operator in 0..self.operators.len() {
                self.operate_later(operator);
            }
        }
    }

    /// Makes it so that version [`FIRST`] has run everywhere for long.
    fn already_running(&mut self) {
        for service in self.config.services.clone() {
            let name = catalogue::name(&service);
            let first = catalogue::name(FIRST);
            let spec = self.log.fleet.run_spec(&name, &first).expect("it was applied");
            let shared = Spec::new(spec.clone());
            if let Some(release) =
                self.log.fleet.releases.get_mut(&name).and_then(|r| r.get_mut(&first))
            {
                release.good = true;
            }
            for node in &mut self.nodes {
                let unit = node.host.unit(&name);
                unit.pointed = Some(Rc::clone(&shared));
                unit.wanted = true;
                unit.process =
                    Some(Process { spec: Rc::clone(&shared), ready_at: 0, fails_at: u64::MAX });
                node.host.artifacts.insert(fetched(&spec));
                let started = Memory { started: true, ..Memory::default() };
                node.agent.disk.services.insert(name.clone(), started);
                node.drive.begin_with(&node.agent.disk);
                if let Some(record) = self.log.fleet.nodes.get_mut(&node.id) {
                    record.installed.insert(name.clone(), spec.clone());
                    let seen = Observed {
                        state: ServiceState::Serving,
                        running: Some(shared.digest),
                        version: Some(FIRST.to_owned()),
                        failing: BTreeMap::new(),
                    };
                    record.observed.insert(name.clone(), seen);
                }
            }
        }
    }

    /// A machine is gone before anything begins, and does not come back.
    fn never_comes_up(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        (node.dead, node.powered) = (true, false);
        node.host.lose_power(now);
        self.coverage.count(Counter::DeadBefore);
        self.story.say(now, &self.nodes[n].id, || "is gone for good".to_owned());
    }

    /// Returns the place of a node.
    pub fn place_of(&self, name: &NodeId) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// Returns a number that was never drawn before.
    pub(crate) fn take_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Has something happen at true time `at`.
    pub(crate) fn at(&mut self, at: u64, event: Event) {
        let number = self.take_number();
        self.queue.insert((at.max(self.now), number), event);
    }

    /// Has something happen in `delay` milliseconds.
    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    /// Sends a message; the network decides what becomes of it.
    pub(crate) fn send(&mut self, from: Peer, to: Peer, message: Message) {
        let message = Rc::new(message);
        let [first, second] = self.net.fate(&mut self.rng, self.now, from, to);
        if second.is_some() {
            self.coverage.count(Counter::Doubled);
        }
        for at in [first, second].into_iter().flatten() {
            let message = Rc::clone(&message);
            self.at(at, Event::Deliver { from, to, message });
        }
    }

    /// Lets every rule look at what has just happened.
    pub(crate) fn note(&mut self, moment: &Moment) {
        if self.violation.is_some() {
            return;
        }
        let mut rules = std::mem::take(&mut self.rules);
        for rule in &mut rules {
            if let Err(what) = rule.check.look(self, moment) {
                self.fail(rule.name, what);
                break;
            }
        }
        self.rules = rules;
    }

    /// Returns whether a leader leads, every machine that ever was runs, and nothing stands between.
    pub fn all_is_well(&self) -> bool {
        let (log, now) = (&self.log, self.now);
        let lead = log.leader.and_then(|leader| self.controllers[leader].lead.as_ref());
        lead.is_some_and(|lead| lead.term == log.term)
            && self.net.is_calm(now)
            && self.controllers.iter().all(|c| c.up && c.asleep_until <= now)
            && self.nodes.iter().filter(|node| !node.dead).all(|node| {
                let mut units = node.host.units.values();
                node.agent.up && node.asleep_until <= now && units.all(|unit| unit.ill_until <= now)
            })
    }

    /// Records a broken promise; the first one counts.
    pub(crate) fn fail(&mut self, rule: &str, what: String) {
        if self.violation.is_none() {
            self.story.say(self.now, "VIOLATION", || format!("{rule}: {what}"));
            self.violation = Some(Violation { rule: rule.to_owned(), what, at: self.now });
        }
    }

    /// Keeps what was committed, to be replayed and forged later.
    pub(crate) fn remember_actions(&mut self, committed: &super::raft::Committed) {
        let makes = matches!(
            committed.command.body,
            Body::Stage { .. }
                | Body::Switch { .. }
                | Body::Confirm { .. }
                | Body::Revert { .. }
                | Body::StandDown { .. }
        );
        if !makes {
            return;
        }
        let mut new = Vec::new();
        for node in self.log.fleet.nodes.values() {
            let Some(record) = &node.action else { continue };
            if self.actions.iter().all(|known| known.id != record.action.id) {
                self.actions.push_back(Rc::new(record.action.clone()));
                new.push(Rc::new(record.action.clone()));
            }
        }
        while self.actions.len() > ACTIONS_KEPT {
            self.actions.pop_front();
        }
        let forges = !self.calm && self.config.rough.mix.has("forge");
        for action in new {
            if forges && self.rng.chance(OLD_VIEWS) {
                self.offer_on_an_old_view(action);
            }
        }
    }

    /// Lets things happen until `until`, or until `done` says so; returns whether it did.
    pub fn run(&mut self, until: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        while self.violation.is_none() {
            if done(self) {
                return true;
            }
            let Some(next) = self.queue.first_entry() else { return false };
            if next.key().0 > until {
                self.now = self.now.max(until);
                return false;
            }
            let ((at, _), event) = next.remove_entry();
            self.now = at;
            self.events += 1;
            if self.events > EVENTS_MAX {
                self.fail("progress", format!("more than {EVENTS_MAX} events: it goes in circles"));
            }
            self.happen(event);
        }
        false
    }

    /// Lets `millis` pass.
    pub fn pass(&mut self, millis: u64) {
        self.run(self.now + millis, |_| false);
    }

    /// Returns how many events have happened.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Returns until when the machine sleeps on which something would happen.
    fn asleep_until(&self, event: &Event) -> u64 {
        match event {
            Event::Deliver { to: Peer::Node(node), .. }
            | Event::AgentUp { node, .. }
            | Event::AgentDies { node, .. }
            | Event::AgentTick { node, .. }
            | Event::Connect { node, .. }
            | Event::Synced { node, .. }
            | Event::Looked { node, .. }
            | Event::Probed { node, .. }
            | Event::StepEffect { node, .. }
            | Event::StepEnd { node, .. } => self.nodes[*node].asleep_until,
            Event::Deliver { to: Peer::Controller(controller), .. }
            | Event::ControllerUp { controller, .. }
            | Event::LeadTick { controller, .. }
            | Event::Plan { controller, .. }
            | Event::Commit { controller, .. } => self.controllers[*controller].asleep_until,
            Event::Deliver { to: Peer::Operator(_), .. }
            | Event::RaftWatch
            | Event::Operate { .. }
            | Event::Retry { .. }
            | Event::Fault => 0,
        }
    }

    fn happen(&mut self, event: Event) {
        let until = self.asleep_until(&event);
        if until > self.now {
            // Whoever sent it gives the connection up long before the other end wakes.
            if !matches!(event, Event::Deliver { .. }) {
                self.at(until, event);
            }
            return;
        }
        match event {
            Event::Deliver { from, to, message } => match (from, to) {
                (Peer::Controller(c), Peer::Node(n)) => self.node_hears(n, c, &message),
                (_, Peer::Controller(c)) => self.controller_hears(c, from, &message),
                (_, Peer::Operator(o)) => self.operator_hears(o, &message),
                (_, Peer::Node(_)) => {}
            },
            Event::AgentUp { node, life, rebooted } => {
                if self.nodes[node].agent.life == life {
                    self.start_agent(node, rebooted);
                }
            }
            Event::AgentDies { node, life } => self.on_agent_dies(node, life),
            Event::AgentTick { node, life } => self.on_agent_tick(node, life),
            Event::Connect { node, life } => self.on_connect(node, life),
            Event::Synced { node, life } => self.on_synced(node, life),
            Event::Looked { node, life, look } => self.on_looked(node, life, &look),
            Event::Probed { node, life, task } => self.on_probed(node, life, &task),
            Event::StepEffect { node, life, key } => self.on_step_effect(node, life, key),
            Event::StepEnd { node, life, key, outcome } => {
                self.on_step_end(node, life, key, outcome);
            }
            Event::ControllerUp { controller, life } => self.on_controller_up(controller, life),
            Event::LeadTick { controller, life, term } => {
                self.on_lead_tick(controller, life, term);
            }
            Event::Plan { controller, term } => self.on_plan(controller, term),
            Event::Commit { controller, term } => self.on_commit(controller, term),
            Event::RaftWatch => self.on_raft_watch(),
            Event::Operate { operator } => self.on_operate(operator),
            Event::Retry { operator, sequence } => self.on_retry(operator, sequence),
            Event::Fault => self.on_fault(),
        }
    }
}

fn clock(rng: &mut Rng) -> Clock {
    Clock { booted: 0, rate: rng.between(1_000_000 - DRIFT_MAX, 1_000_000 + DRIFT_MAX) }
}

fn machine(config: &Config, rng: &mut Rng, region: usize, number: usize) -> Node {
    let id = catalogue::node(region, number);
    let mut host = Host::default();
    for service in &config.services {
        host.unit(&catalogue::name(service));
    }
    Node {
        agent: Agent::new(id.clone(), State::default()),
        id,
        region,
        last: number + 1 == config.nodes[region],
        host,
        clock: clock(rng),
        powered: true,
        dead: false,
        asleep_until: 0,
        drive: if config.real_journal { Drive::with_journal() } else { Drive::default() },
        traps: BTreeSet::new(),
    }
}

/// Returns the commands that let a node join.
fn joining(node: &Node) -> [Body; 2] {
    let token = format!("t-{}", node.id);
    let secret = Token::generate([1; 8], [2; 16], Digest::of(b"pin")).secret_hash();
    let create = Body::CreateToken {
        id: token.clone(),
        secret_hash: secret.clone(),
        node: node.id.clone(),
        region: catalogue::region(node.region),
        address: "127.0.0.1".to_owned(),
        labels: catalogue::labels(),
        expires_at: WallTime(u64::MAX),
    };
    let join = Body::Join { token, secret_hash: secret, incarnation: INCARNATION.to_owned() };
    [create, join]
}
