//! An ideal Raft: one committed log, one true leader a term, and proposals that are committed or
//! lost when a leader is deposed.
//!
//! The log keeps its own copy of the fleet, applied at commit: what the controllers agree on
//! before any of them knows. The invariants look at that copy.

use std::rc::Rc;

use trireme_controller::state::apply::{Position, apply};
use trireme_controller::state::{Body, Command, Fleet, Outcome, Reply};
use trireme_proto::time::FleetTime;
use trireme_proto::view::AuditEntry;

use super::coverage::Counter;
use super::leader::{Lead, Proposal};
use super::message::Message;
use super::net::Peer;
use super::world::{Event, World};
use crate::invariants::Moment;

/// True time between two looks at whether there is a leader.
const WATCH_MS: u64 = 250;
/// Shortest and longest time without one before another is elected.
const ELECTION_MS: (u64, u64) = (400, 1800);
/// True time after which a proposal that cannot be committed is tried again.
const RETRY_MS: u64 = 80;

/// Pause of a leader whose own proposal was refused.
const REFUSED_MS: u64 = 200;

/// Shortest and longest time until a controller that died at a commit is back.
const RESTART_MS: (u64, u64) = (300, 8000);

/// A point of a commit at which the leader can die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitPoint {
    /// The proposals are in its log alone.
    BeforeCommit,
    /// They are committed, and it has applied none.
    BeforeApply,
    /// It has applied them, and nobody was told what came of them.
    BeforeAnswer,
    /// Whoever asked is being answered.
    AfterAnswer,
}

impl CommitPoint {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::BeforeCommit, Self::BeforeApply, Self::BeforeAnswer, Self::AfterAnswer];

    fn counter(self) -> Counter {
        match self {
            Self::BeforeCommit => Counter::DiedBeforeCommit,
            Self::BeforeApply => Counter::DiedBeforeApply,
            Self::BeforeAnswer => Counter::DiedBeforeAnswer,
            Self::AfterAnswer => Counter::DiedAfterAnswer,
        }
    }
}

/// A committed entry and what came of it.
#[derive(Debug)]
pub struct Committed {
    /// Its place in the log.
    pub index: u64,
    /// Term of the leader that wrote it.
    pub term: u64,
    /// The command.
    pub command: Command,
    /// True time at which it was proposed.
    pub proposed: u64,
    /// What every controller must answer.
    pub reply: Reply,
    /// What every controller must record.
    pub audit: Option<AuditEntry>,
}

/// The committed log.
#[derive(Debug, Default)]
pub struct Log {
    /// Its entries.
    pub entries: Vec<Rc<Committed>>,
    /// The fleet with all of them applied.
    pub fleet: Fleet,
    /// Newest term.
    pub term: u64,
    /// Leader of that term.
    pub leader: Option<usize>,
    /// What a leader that crashed had in its log.
    orphans: Vec<Proposal>,
    vacant_since: Option<u64>,
    patience: u64,
}

impl Log {
    /// Returns the entry at `index`.
    pub fn at(&self, index: u64) -> Option<Rc<Committed>> {
        let place = usize::try_from(index.checked_sub(1)?).ok()?;
        self.entries.get(place).map(Rc::clone)
    }

    /// Returns the index of the last entry.
    pub fn last(&self) -> u64 {
        self.entries.len() as u64
    }
}

impl World {
    /// Returns whether `c` reaches a majority, itself included.
    pub(super) fn has_majority(&self, c: usize) -> bool {
        let open = |other: usize| {
            other == c
                || (self.is_awake(other)
                    && self.net.is_open(Peer::Controller(c), Peer::Controller(other), self.now))
        };
        let reached = (0..self.controllers.len()).filter(|other| open(*other)).count();
        self.is_awake(c) && reached > self.controllers.len() / 2
    }

    fn is_awake(&self, c: usize) -> bool {
        self.controllers[c].up && self.controllers[c].asleep_until <= self.now
    }

    /// Lets the leader die at this point of a commit, if it is to.
    fn dies_at(&mut self, c: usize, point: CommitPoint) -> bool {
        if self.commit_trap != Some(point) {
            return false;
        }
        self.commit_trap = None;
        self.coverage.count(point.counter());
        let back = self.rng.between(RESTART_MS.0, RESTART_MS.1);
        self.crash_controller(c, back);
        true
    }

    pub(super) fn on_commit(&mut self, c: usize, term: u64) {
        let controller = &mut self.controllers[c];
        let Some(lead) = controller.lead.as_mut().filter(|lead| lead.term == term) else { return };
        if self.log.term != term || self.log.leader != Some(c) {
            // Deposed: nothing of this is committed by it any more.
            return;
        }
        if lead.pending.is_empty() {
            lead.commit_due = false;
            return;
        }
        if !self.has_majority(c) {
            self.after(RETRY_MS, Event::Commit { controller: c, term });
            return;
        }
        if self.dies_at(c, CommitPoint::BeforeCommit) {
            return;
        }
        let Some(lead) = &mut self.controllers[c].lead else { return };
        let proposals = std::mem::take(&mut lead.pending);
        lead.commit_due = false;
        let first = self.log.entries.len();
        for proposal in proposals {
            self.append(term, proposal);
        }
        if self.dies_at(c, CommitPoint::BeforeApply) {
            return;
        }
        let commit = self.log.last();
        for other in (0..self.controllers.len()).filter(|other| *other != c) {
            let message = Message::Commit { term, commit };
            self.send(Peer::Controller(c), Peer::Controller(other), message);
        }
        self.apply_upto(c, commit);
        if self.dies_at(c, CommitPoint::BeforeAnswer) {
            return;
        }
        for place in first..self.log.entries.len() {
            let committed = Rc::clone(&self.log.entries[place]);
            self.answer(c, &committed);
        }
        self.dies_at(c, CommitPoint::AfterAnswer);
    }

    /// Commits one entry.
    pub(super) fn append(&mut self, term: u64, proposal: Proposal) {
        let index = self.log.last() + 1;
        let Proposal { command, at: proposed } = proposal;
        let (reply, effects) = apply(&mut self.log.fleet, Position { index, term }, &command);
        let committed =
            Rc::new(Committed { index, term, command, proposed, reply, audit: effects.audit });
        self.log.entries.push(Rc::clone(&committed));
        self.tell(&committed);
        let own = committed.command.actor.subject.starts_with("controller/");
        if let Outcome::Refused(_) = &committed.reply.outcome
            && own
            && let Some(lead) = self.log.leader.and_then(|c| self.controllers[c].lead.as_mut())
        {
            lead.pause_until = self.now + REFUSED_MS;
        }
        self.remember_actions(&committed);
        self.note(&Moment::Committed(committed));
    }

    /// Tells the story of an entry, and counts it.
    fn tell(&mut self, committed: &Committed) {
        let counter = match (&committed.command.body, &committed.reply.outcome) {
            (Body::Grant { .. } | Body::TakeBack { .. }, Outcome::Refused(_)) => {
                Some(Counter::LedgerRefusals)
            }
            (Body::StartUpgrade { .. }, Outcome::Refused(problem)) => Some(match problem.rule {
                Some(_) => Counter::LedgerRefusals,
                None => Counter::OperatorConflicts,
            }),
            (_, Outcome::Refused(_)) => None,
            (Body::StandDown { .. }, _) => Some(Counter::StoodDown),
            (Body::Skip { .. }, _) => Some(Counter::LeftOut),
            (Body::Reoffer { .. }, _) => Some(Counter::Reoffers),
            (Body::Revert { .. }, _) => Some(Counter::Reverts),
            (Body::RemoveNode { .. }, _) => Some(Counter::Removed),
            (Body::ReleaseGrant { .. }, _) => Some(Counter::Forced),
            (Body::PauseUpgrade { .. }, _) => Some(Counter::Paused),
            _ => None,
        };
        if committed.audit.is_none() {
            self.coverage.count(Counter::RepeatedCommands);
        } else if let Some(counter) = counter {
            self.coverage.count(counter);
        }
        self.story.say(self.now, "log", || {
            let (verb, object) = committed.command.body.describe();
            let actor = &committed.command.actor.subject;
            let (index, term) = (committed.index, committed.term);
            let detail = detail(&committed.command.body);
            let outcome = match &committed.reply.outcome {
                Outcome::Refused(problem) => {
                    format!("REFUSED {} {:?}", problem.message, problem.why)
                }
                Outcome::Done => "done".to_owned(),
                other => format!("{other:?}"),
            };
            format!("{index}/{term} {actor}: {verb} {object}{detail} -> {outcome}")
        });
    }

    /// Looks whether there is a leader that can lead, and elects one if there is not for long.
    pub(super) fn on_raft_watch(&mut self) {
        self.after(WATCH_MS, Event::RaftWatch);
        let able = self.log.leader.is_some_and(|leader| {
            let leads = self.controllers[leader].lead.as_ref();
            leads.is_some_and(|lead| lead.term == self.log.term) && self.has_majority(leader)
        });
        if able {
            self.log.vacant_since = None;
            return;
        }
        let since = *self.log.vacant_since.get_or_insert(self.now);
        if since == self.now {
            self.log.patience = self.rng.between(ELECTION_MS.0, ELECTION_MS.1);
        }
        if self.now - since >= self.log.patience {
            self.elect();
        }
    }

    /// Elects one of those that reach a majority, if there is one.
    pub fn elect(&mut self) {
        let able: Vec<usize> =
            (0..self.controllers.len()).filter(|c| self.has_majority(*c)).collect();
        let others: Vec<usize> =
            able.iter().copied().filter(|c| Some(*c) != self.log.leader).collect();
        let choice = if others.is_empty() { &able } else { &others };
        let Some(c) = self.rng.pick(choice).copied() else { return };
        self.log.vacant_since = None;
        self.inherit(c);
        let old = self.log.leader.filter(|old| *old != c);
        if old.is_some_and(|old| self.controllers[old].up && self.controllers[old].lead.is_some()) {
            self.coverage.count(Counter::DeposedUnaware);
        }
        self.log.term = self.log.term.max(self.controllers[c].term) + 1;
        self.log.leader = Some(c);
        let term = self.log.term;
        self.controllers[c].lead = None;
        // A leader has applied what is committed before it does anything.
        self.apply_upto(c, self.log.last());
        let now = self.now;
        let controller = &mut self.controllers[c];
        let (base, local) = (controller.fleet.now, controller.local(now));
        controller.follow(term, c);
        controller.lead = Some(Lead::new(term, base, local));
        let life = controller.life;
        let id = controller.id.clone();
        self.coverage.count(Counter::Elections);
        self.story.say(now, &id, || format!("leads in term {term}"));
        self.propose_own(c, Body::Lead { controller: id });
        self.after(1, Event::LeadTick { controller: c, life, term });
    }

    /// What the last leader had proposed is committed up to some point, and lost from there.
    fn inherit(&mut self, heir: usize) {
        let term = self.log.term;
        let mut left = std::mem::take(&mut self.log.orphans);
        if let Some(old) = self.log.leader
            && let Some(lead) = self.controllers[old].lead.as_mut().filter(|l| l.term == term)
        {
            left.append(&mut lead.pending);
        }
        let kept = self.rng.below(left.len() + 1);
        for (place, proposal) in left.into_iter().enumerate() {
            if place < kept {
                self.coverage.count(Counter::InheritedProposals);
                self.append(term, proposal);
            } else {
                self.coverage.count(Counter::LostProposals);
                let (verb, object) = proposal.command.body.describe();
                self.story.say(self.now, "log", || format!("loses {verb} {object}"));
            }
        }
        self.controllers[heir].lead = None;
    }

    /// A leader dies; its log outlives it.
    pub(super) fn orphan(&mut self, c: usize) {
        if let Some(lead) = self.controllers[c].lead.take()
            && self.log.leader == Some(c)
            && self.log.term == lead.term
        {
            self.log.orphans.extend(lead.pending);
        }
    }

    /// A leader notices that it leads no longer.
    pub(super) fn step_down(&mut self, c: usize, why: &str) {
        if self.controllers[c].lead.is_none() {
            return;
        }
        self.orphan(c);
        self.controllers[c].leader = None;
        self.story.say(self.now, &self.controllers[c].id, || format!("steps down: {why}"));
    }

    /// Commits commands at once, before the history begins.
    pub(super) fn commit_first(&mut self, bodies: Vec<Body>) {
        for body in bodies {
            let command = Command {
                at: FleetTime(0),
                wall: trireme_proto::time::WallTime(0),
                skew: trireme_proto::time::Span(0),
                actor: trireme_controller::state::Actor {
                    subject: "user/owner".to_owned(),
                    role: "admin".to_owned(),
                    source: "127.0.0.1".to_owned(),
                    request_id: "setup".to_owned(),
                },
                origin: None,
                body,
            };
            self.append(1, Proposal { command, at: 0 });
        }
    }
}

/// Returns what a reader of the story wants to know of a command besides its object.
fn detail(body: &Body) -> String {
    match body {
        Body::Reports { reports, .. } => {
            let one = |r: &trireme_proto::action::Report| {
                format!(" {}:{}={}", r.seq, r.action, progress(&r.progress))
            };
            reports.iter().map(one).collect()
        }
        Body::Observe { nodes } => {
            let one = |(node, seen): (&trireme_proto::id::NodeId, &_)| {
                let seen: &trireme_controller::state::Sighted = seen;
                let states: Vec<String> =
                    seen.observed.iter().map(|(s, o)| format!("{s} {:?}", o.state)).collect();
                format!(" {node}@{} {}", seen.generation, states.join(" "))
            };
            nodes.iter().map(one).collect()
        }
        Body::Fail { reason, .. } | Body::StandDown { reason, .. } => format!(" ({reason})"),
        Body::TakeBack { nodes, .. } | Body::Revert { nodes, .. } | Body::Stage { nodes, .. } => {
            let names: Vec<_> = nodes.iter().map(ToString::to_string).collect();
            format!(" {}", names.join(" "))
        }
        Body::Presence { lost, seen } => format!(" lost {lost:?} seen {seen:?}"),
        _ => String::new(),
    }
}

fn progress(progress: &trireme_proto::action::Progress) -> String {
    use trireme_proto::action::Progress;
    match progress {
        Progress::Accepted => "accepted".to_owned(),
        Progress::Running { step } => format!("{step}"),
        Progress::Done => "done".to_owned(),
        Progress::FailedUndone { step, reason } => format!("undone at {step}: {reason}"),
        Progress::FailedDirty { step, reason } => format!("dirty at {step}: {reason}"),
        Progress::RevertedAlone { reason } => format!("alone: {reason}"),
    }
}
