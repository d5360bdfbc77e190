//! A simulated leader: it gathers presence, runs the real planner, and proposes what that says.

use std::collections::BTreeMap;
use std::rc::Rc;

use trireme_controller::plan;
use trireme_controller::presence::{Presence, Seen};
use trireme_controller::state::{Actor, Body, Command};
use trireme_proto::id::NodeId;
use trireme_proto::time::{FleetTime, Span, WallTime};

use super::message::{Asked, Message};
use super::net::Peer;
use super::world::{Event, World};
use crate::invariants::Moment;

/// True time between two questions of a leader.
const ASK_MS: u64 = 500;
/// Silence of the majority after which a leader steps down, by its own clock.
const QUORUM_MAX: u64 = 2000;
/// Wall time at which every history begins: any will do.
const WALL_START: u64 = 1_800_000_000_000;

/// What a controller holds while it believes to lead.
#[derive(Debug)]
pub struct Lead {
    /// Its term.
    pub term: u64,
    /// What it has gathered.
    pub presence: Presence,
    /// What it has asked for and does not know the end of.
    pub pending: Vec<Proposal>,
    /// Last decision of the planner.
    pub decision: Rc<plan::Decision>,
    /// Local time at which the majority last answered.
    pub(super) quorum_at: u64,
    base: FleetTime,
    since: u64,
    plan_at: Option<u64>,
    pub(super) commit_due: bool,
    /// True time before which it decides nothing, because it was just refused.
    pub(super) pause_until: u64,
}

/// A command that waits to be committed.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The command.
    pub command: Command,
    /// True time at which it was made.
    pub at: u64,
}

impl Lead {
    /// Returns a leader that has seen nobody yet; fleet time goes on from `base`.
    pub fn new(term: u64, base: FleetTime, local: u64) -> Self {
        Self {
            term,
            presence: Presence { since: base, ..Presence::default() },
            pending: Vec::new(),
            decision: Rc::new(plan::Decision::default()),
            quorum_at: local,
            base,
            since: local,
            plan_at: None,
            commit_due: false,
            pause_until: 0,
        }
    }

    /// Returns fleet time when the leader's clock shows `local`.
    pub fn fleet_time(&self, local: u64) -> FleetTime {
        self.base.after(Span(local.saturating_sub(self.since)))
    }
}

impl World {
    /// Returns fleet time as the leader `c` tells it.
    fn fleet_time(&self, c: usize) -> Option<FleetTime> {
        let controller = &self.controllers[c];
        controller.lead.as_ref().map(|lead| lead.fleet_time(controller.local(self.now)))
    }

    pub(super) fn on_lead_tick(&mut self, c: usize, life: u64, term: u64) {
        let controller = &self.controllers[c];
        let lead = controller.lead.as_ref().filter(|lead| lead.term == term);
        let Some(lead) = lead.filter(|_| controller.up && controller.life == life) else { return };
        let (local, commit) = (controller.local(self.now), controller.fleet.index);
        if local.saturating_sub(lead.quorum_at) > QUORUM_MAX {
            self.step_down(c, "the majority is silent");
            return;
        }
        let Some(asked) = self.fleet_time(c) else { return };
        for other in (0..self.controllers.len()).filter(|other| *other != c) {
            let message = Message::Ask { term, asked, commit };
            self.send(Peer::Controller(c), Peer::Controller(other), message);
        }
        let names = Rc::clone(&self.names);
        let now = self.now;
        let controller = &mut self.controllers[c];
        let own = controller.digest(now, &names);
        let id = controller.id.clone();
        if let Some(lead) = &mut controller.lead {
            lead.presence.hear(asked, &id, commit, own);
        }
        self.plan_soon(c);
        self.after(ASK_MS, Event::LeadTick { controller: c, life, term });
    }

    /// The answer of another controller arrives.
    pub(super) fn digested(
        &mut self,
        c: usize,
        from: usize,
        term: u64,
        asked: FleetTime,
        applied: u64,
        nodes: &Rc<BTreeMap<NodeId, Seen>>,
    ) {
        let other = self.controllers[from].id.clone();
        let Some(lead) = self.controllers[c].lead.as_mut().filter(|lead| lead.term == term) else {
            return;
        };
        // Counted from the question, as an answer may have been on its way for long.
        let at = lead.since + asked.since(lead.base).0;
        lead.quorum_at = lead.quorum_at.max(at);
        lead.presence.hear(asked, &other, applied, BTreeMap::clone(nodes));
        self.plan_soon(c);
    }

    /// Puts a command of the leader's own into its log.
    pub(super) fn propose_own(&mut self, c: usize, body: Body) {
        let subject = format!("controller/{}", self.controllers[c].id);
        self.propose(c, Asked { subject, origin: None, body });
    }

    /// Puts a command into the leader's log; whether it is ever committed is another question.
    pub(super) fn propose(&mut self, c: usize, asked: Asked) {
        let now = self.now;
        let Some(at) = self.fleet_time(c) else { return };
        let wall = self.wall(c);
        let mut walls: Vec<u64> = (0..self.controllers.len()).map(|c| self.wall(c)).collect();
        walls.sort_unstable();
        let skew = Span(wall.abs_diff(walls[walls.len() / 2]));
        let role = if asked.origin.is_some() { "admin" } else { "system" };
        let number = self.take_number();
        let command = Command {
            at,
            wall: WallTime(wall),
            skew,
            actor: Actor {
                subject: asked.subject,
                role: role.to_owned(),
                source: "127.0.0.1".to_owned(),
                request_id: format!("r{number}"),
            },
            origin: asked.origin,
            body: asked.body,
        };
        let delay = self.rng.between(2, 25);
        let Some(lead) = &mut self.controllers[c].lead else { return };
        lead.pending.push(Proposal { command, at: now });
        if !lead.commit_due {
            lead.commit_due = true;
            let term = lead.term;
            self.after(delay, Event::Commit { controller: c, term });
        }
    }

    fn wall(&self, c: usize) -> u64 {
        (WALL_START + self.now).saturating_add_signed(self.controllers[c].wall_off)
    }

    /// Has the leader decide anew in a moment.
    pub(super) fn plan_soon(&mut self, c: usize) {
        let delay = self.rng.between(1, 15);
        self.plan_at(c, self.now + delay);
    }

    fn plan_at(&mut self, c: usize, at: u64) {
        let controller = &mut self.controllers[c];
        let Some(lead) = &mut controller.lead else { return };
        if lead.plan_at.is_none_or(|planned| at < planned) {
            lead.plan_at = Some(at);
            let term = lead.term;
            self.at(at, Event::Plan { controller: c, term });
        }
    }

    /// The leader decides.
    pub(super) fn on_plan(&mut self, c: usize, term: u64) {
        let now = self.now;
        let Some(fleet_now) = self.fleet_time(c) else { return };
        let controller = &mut self.controllers[c];
        let Some(lead) = controller.lead.as_mut().filter(|lead| lead.term == term) else { return };
        if !controller.up || lead.plan_at.is_some_and(|at| at > now) {
            return;
        }
        lead.plan_at = None;
        let pause = lead.pause_until;
        if now < pause {
            self.plan_at(c, pause);
            return;
        }
        let in_flight = !lead.pending.is_empty();
        // Mostly it waits for its own proposals; deciding twice must do no harm.
        if in_flight && !self.rng.chance(50) {
            return;
        }
        let world = plan::World {
            fleet: &controller.fleet,
            presence: &lead.presence,
            now: fleet_now,
            term,
        };
        let decision = Rc::new(plan::plan(&world));
        lead.decision = Rc::clone(&decision);
        if let Some(wake) = decision.wake_at {
            let at = now + controller.clock.lasts(wake.since(fleet_now).0).max(1);
            self.plan_at(c, at);
        }
        self.note(&Moment::Decided {
            controller: c,
            decision: Rc::clone(&decision),
            now: fleet_now,
            in_flight,
        });
        for body in &decision.proposals {
            let (verb, object) = body.describe();
            self.story.say(now, &self.controllers[c].id, || format!("proposes {verb} {object}"));
            self.propose_own(c, body.clone());
        }
    }
}
