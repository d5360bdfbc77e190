//! A simulated controller: its own copy of the fleet, the sessions of its agents, and what it may
//! offer them. Leading is in `leader.rs`, the log in `raft.rs`.

use std::collections::BTreeMap;
use std::rc::Rc;

use trireme_controller::plan::deliver;
use trireme_controller::presence::Seen;
use trireme_controller::state::apply::{Position, apply};
use trireme_controller::state::{Body, Fleet, Sighted};
use trireme_proto::action::Report;
use trireme_proto::id::{ControllerId, NodeId};
use trireme_proto::time::{FleetTime, Span};

use super::clock::Clock;
use super::coverage::Counter;
use super::leader::Lead;
use super::message::{Asked, Beat, Message};
use super::net::Peer;
use super::world::{Event, World};
use crate::invariants::Moment;

/// Silence after which a session is forgotten, by the controller's clock.
const SESSION_MAX: u64 = 10_000;
/// Entries between two checkpoints that a crash falls back to.
const CHECKPOINT_EVERY: u64 = 24;
/// Version that simulated agents say they are.
const AGENT_VERSION: &str = "0.1.0";
/// Incarnation of every simulated disk.
pub(super) const INCARNATION: &str = "disk";

/// A controller.
#[derive(Debug)]
pub struct Controller {
    /// Its name.
    pub id: ControllerId,
    /// Whether it runs.
    pub up: bool,
    /// Counts its lives.
    pub life: u64,
    /// Its copy of what is agreed on.
    pub fleet: Fleet,
    /// Highest term it knows of.
    pub term: u64,
    /// Its steady clock.
    pub clock: Clock,
    /// Until when its machine is suspended.
    pub asleep_until: u64,
    /// How far its wall clock is off.
    pub wall_off: i64,
    /// What it knows as a leader, if it believes to be one.
    pub lead: Option<Lead>,
    /// Who it believes leads.
    pub leader: Option<usize>,
    /// Term and time of its last contact with a leader.
    contact: Option<(u64, u64)>,
    sessions: BTreeMap<usize, Session>,
    checkpoint: Fleet,
}

/// The controller's end of a session.
#[derive(Debug, Clone)]
struct Session {
    id: u64,
    heard: u64,
    beat: Rc<Beat>,
    acked: u64,
}

impl Controller {
    /// Returns a controller that knows nothing yet.
    pub fn new(id: ControllerId, clock: Clock) -> Self {
        Self {
            id,
            up: true,
            life: 0,
            fleet: Fleet::default(),
            term: 0,
            clock,
            asleep_until: 0,
            wall_off: 0,
            lead: None,
            leader: None,
            contact: None,
            sessions: BTreeMap::new(),
            checkpoint: Fleet::default(),
        }
    }

    /// Takes over the fleet with which the history begins.
    pub(super) fn begin_with(&mut self, fleet: &Fleet) {
        self.fleet = fleet.clone();
        self.checkpoint = fleet.clone();
    }

    /// Returns what its steady clock shows.
    pub fn local(&self, now: u64) -> u64 {
        self.clock.read(now)
    }

    /// Returns the term of the leader last heard from and how long ago; a leader hears itself
    /// only while a majority answers it.
    pub fn contact(&self, now: u64) -> Option<(u64, Span)> {
        let local = self.local(now);
        let (term, at) = match &self.lead {
            Some(lead) => (lead.term, lead.quorum_at),
            None => self.contact?,
        };
        Some((term, Span(local.saturating_sub(at))))
    }

    /// Returns what it saw of its agents.
    pub(super) fn digest(&mut self, now: u64, names: &[NodeId]) -> BTreeMap<NodeId, Seen> {
        let local = self.local(now);
        self.sessions.retain(|_, session| local.saturating_sub(session.heard) <= SESSION_MAX);
        let seen = |session: &Session| Seen {
            age: Span(local.saturating_sub(session.heard)),
            generation: session.beat.fence.generation,
            agent_version: AGENT_VERSION.to_owned(),
            observed: session.beat.observed.clone(),
            ..Seen::default()
        };
        self.sessions.iter().map(|(n, session)| (names[*n].clone(), seen(session))).collect()
    }

    /// Begins to follow the leader of a term.
    pub(super) fn follow(&mut self, term: u64, leader: usize) {
        self.term = term;
        self.leader = Some(leader);
        self.lead = None;
    }

    /// Returns a node's newest nonce, for those who would misuse it.
    pub(super) fn session_of(&self, n: usize) -> Option<(u64, u64)> {
        self.sessions.get(&n).map(|session| (session.id, session.beat.nonce))
    }
}

impl World {
    /// A controller dies: what it holds in memory is gone, its disk is a little behind.
    pub fn crash_controller(&mut self, c: usize, back_after: u64) {
        let now = self.now;
        let controller = &mut self.controllers[c];
        if !controller.up {
            return;
        }
        controller.up = false;
        controller.life += 1;
        controller.sessions.clear();
        controller.contact = None;
        controller.leader = None;
        self.coverage.count(Counter::ControllerCrashes);
        self.story.say(now, &self.controllers[c].id, || "crashes".to_owned());
        self.orphan(c);
        let life = self.controllers[c].life;
        self.after(back_after, Event::ControllerUp { controller: c, life });
    }

    pub(super) fn on_controller_up(&mut self, c: usize, life: u64) {
        let now = self.now;
        let controller = &mut self.controllers[c];
        if controller.up || controller.life != life {
            return;
        }
        controller.up = true;
        // A snapshot goes through its bytes and must come back as the same fleet.
        let bytes = serde_json::to_vec(&controller.checkpoint).expect("a fleet can be written");
        let read: Result<Fleet, _> = serde_json::from_slice(&bytes);
        let intact = read.as_ref().is_ok_and(|fleet| *fleet == controller.checkpoint);
        controller.fleet = controller.checkpoint.clone();
        self.story.say(now, &self.controllers[c].id, || "is back".to_owned());
        if !intact {
            self.fail("snapshot", format!("a snapshot does not come back as it was: {read:?}"));
        }
    }

    /// Applies the committed log up to `index`.
    pub(super) fn apply_upto(&mut self, c: usize, index: u64) {
        let mut wake = std::collections::BTreeSet::new();
        let before = self.controllers[c].fleet.index;
        for next in before + 1..=index {
            let Some(committed) = self.log.at(next) else { break };
            let controller = &mut self.controllers[c];
            let at = Position { index: next, term: committed.term };
            let (reply, effects) = apply(&mut controller.fleet, at, &committed.command);
            let same = reply == committed.reply && effects.audit == committed.audit;
            wake.extend(effects.wake);
            if next.is_multiple_of(CHECKPOINT_EVERY) {
                controller.checkpoint = controller.fleet.clone();
            }
            if !same {
                self.fail("determinism", format!("entry {next} is answered in two ways"));
            }
        }
        let controller = &self.controllers[c];
        if controller.fleet.index == self.log.fleet.index && controller.fleet != self.log.fleet {
            self.fail("determinism", format!("c{} holds another fleet at {index}", c + 1));
        }
        if self.controllers[c].fleet.index == before {
            return;
        }
        for name in wake {
            if let Some(n) = self.place_of(&name) {
                self.serve(c, n);
            }
        }
        self.plan_soon(c);
    }

    /// A message arrives at a controller.
    pub(super) fn controller_hears(&mut self, c: usize, from: Peer, message: &Message) {
        if !self.controllers[c].up {
            return;
        }
        match (message, from) {
            (Message::Hello { session, beat }, Peer::Node(n)) => self.welcome(c, n, *session, beat),
            (Message::Beat { session, beat }, Peer::Node(n)) => self.beaten(c, n, *session, beat),
            (Message::Reports { session, reports }, Peer::Node(n)) => {
                let known = self.controllers[c].sessions.get(&n);
                if known.is_some_and(|known| known.id == *session) {
                    self.reported(c, n, reports);
                }
            }
            (Message::Forward { asked }, _) => self.propose(c, Asked::clone(asked)),
            (Message::Ask { term, asked, commit }, Peer::Controller(leader)) => {
                self.asked(c, leader, *term, *asked, *commit);
            }
            (Message::Commit { term, commit }, Peer::Controller(leader)) => {
                let controller = &mut self.controllers[c];
                if *term >= controller.term && controller.lead.is_none() {
                    controller.follow(*term, leader);
                    self.apply_upto(c, *commit);
                }
            }
            (Message::Digest { term, asked, applied, nodes }, Peer::Controller(other)) => {
                self.digested(c, other, *term, *asked, *applied, nodes);
            }
            (Message::Reject { term }, _) if *term > self.controllers[c].term => {
                self.controllers[c].term = *term;
                self.step_down(c, "it hears of a later term");
            }
            (Message::Request { operator, sequence, wish }, _) => {
                self.requested(c, *operator, *sequence, wish);
            }
            _ => {}
        }
    }

    fn welcome(&mut self, c: usize, n: usize, session: u64, beat: &Rc<Beat>) {
        let now = self.now;
        let name = self.nodes[n].id.clone();
        let controller = &mut self.controllers[c];
        let admitted = controller
            .fleet
            .nodes
            .get(&name)
            .is_some_and(|node| !node.removed && node.incarnation == INCARNATION);
        let newer = controller.sessions.get(&n).is_none_or(|old| old.id < session);
        if !admitted {
            self.send(Peer::Controller(c), Peer::Node(n), Message::Leave { session });
        } else if newer {
            let heard = controller.local(now);
            let beat = Rc::clone(beat);
            controller.sessions.insert(n, Session { id: session, heard, beat, acked: 0 });
            self.send(Peer::Controller(c), Peer::Node(n), Message::Welcome { session });
            self.observe(c, n);
            self.serve(c, n);
        }
    }

    fn beaten(&mut self, c: usize, n: usize, session: u64, beat: &Rc<Beat>) {
        let now = self.now;
        let controller = &mut self.controllers[c];
        let local = controller.local(now);
        let Some(known) = controller.sessions.get_mut(&n) else { return };
        // One that was overtaken says nothing new.
        if known.id != session || known.beat.nonce >= beat.nonce {
            return;
        }
        known.heard = local;
        known.beat = Rc::clone(beat);
        self.send(Peer::Controller(c), Peer::Node(n), Message::Pong { session });
        self.observe(c, n);
        self.serve(c, n);
    }

    /// Tells an agent what it waits for: that it must go, what is committed, what it may do.
    fn serve(&mut self, c: usize, n: usize) {
        let now = self.now;
        let name = &self.nodes[n].id;
        let controller = &mut self.controllers[c];
        let contact = controller.contact(now);
        let Some(session) = controller.sessions.get_mut(&n) else { return };
        let Some(record) = controller.fleet.nodes.get(name) else { return };
        let id = session.id;
        let mut messages = Vec::new();
        if record.removed {
            controller.sessions.remove(&n);
            messages.push(Message::Leave { session: id });
        } else {
            if record.report_seq > session.acked {
                session.acked = record.report_seq;
                messages.push(Message::Ack { session: id, seq: record.report_seq });
            }
            if let Some(action) = deliver::offer(&controller.fleet, name, contact) {
                let action = Rc::new(action.clone());
                messages.push(Message::Offer { session: id, action, nonce: session.beat.nonce });
            }
        }
        for message in messages {
            if let Message::Offer { action, .. } = &message {
                self.note(&Moment::Offered { controller: c, action: Rc::clone(action) });
            }
            self.send(Peer::Controller(c), Peer::Node(n), message);
        }
    }

    /// Passes an agent's reports on to the log.
    fn reported(&mut self, c: usize, n: usize, reports: &Rc<Vec<Report>>) {
        let name = self.nodes[n].id.clone();
        let controller = &mut self.controllers[c];
        let known = controller.fleet.nodes.get(&name).map_or(0, |node| node.report_seq);
        if reports.iter().all(|report| report.seq <= known) {
            // The word that they are committed was lost, or never given in this session.
            if let Some(session) = controller.sessions.get_mut(&n) {
                session.acked = 0;
            }
            self.serve(c, n);
        } else {
            let body = Body::Reports {
                node: name.clone(),
                incarnation: INCARNATION.to_owned(),
                reports: reports.to_vec(),
            };
            self.submit(c, Asked { subject: format!("agent/{name}"), origin: None, body });
        }
    }

    /// Has something proposed, here or by the leader; the agent says it again if it is lost.
    fn submit(&mut self, c: usize, asked: Asked) {
        let controller = &self.controllers[c];
        if controller.lead.is_some() {
            self.propose(c, asked);
        } else if let Some(leader) = controller.leader.filter(|leader| *leader != c) {
            let message = Message::Forward { asked: Rc::new(asked) };
            self.send(Peer::Controller(c), Peer::Controller(leader), message);
        }
    }

    /// Has what differs between a heartbeat and the replicated state recorded.
    fn observe(&mut self, c: usize, n: usize) {
        let name = &self.nodes[n].id;
        let controller = &self.controllers[c];
        let (Some(session), Some(record)) =
            (controller.sessions.get(&n), controller.fleet.nodes.get(name))
        else {
            return;
        };
        let (observed, generation) = (&session.beat.observed, session.beat.fence.generation);
        let same = record.observed == *observed
            && record.acknowledged == generation
            && record.agent_version == AGENT_VERSION;
        if same || record.removed {
            return;
        }
        let sighted = Sighted {
            generation,
            agent_version: AGENT_VERSION.to_owned(),
            observed: observed.clone(),
        };
        let body = Body::Observe { nodes: BTreeMap::from([(name.clone(), sighted)]) };
        let subject = format!("controller/{}", controller.id);
        self.submit(c, Asked { subject, origin: None, body });
    }

    /// A leader asks what is seen here.
    fn asked(&mut self, c: usize, leader: usize, term: u64, asked: FleetTime, commit: u64) {
        let now = self.now;
        let names = Rc::clone(&self.names);
        let controller = &mut self.controllers[c];
        let (me, to) = (Peer::Controller(c), Peer::Controller(leader));
        if term < controller.term {
            let term = controller.term;
            self.send(me, to, Message::Reject { term });
            return;
        }
        if controller.lead.as_ref().is_some_and(|lead| lead.term < term) {
            self.step_down(c, "another leads");
        }
        let controller = &mut self.controllers[c];
        controller.follow(term, leader);
        controller.contact = Some((term, controller.local(now)));
        self.apply_upto(c, commit);
        let controller = &mut self.controllers[c];
        let nodes = Rc::new(controller.digest(now, &names));
        let applied = controller.fleet.index;
        self.send(me, to, Message::Digest { term, asked, applied, nodes });
    }
}
