//! A simulated agent and its disk: how records are written, and what a crash leaves of them.

use std::rc::Rc;

use trireme_agent::plan::{Change, Effect, Record};
use trireme_proto::action::Progress;

use crate::invariants::Moment;
use crate::sim::agent::kind;
use crate::sim::coverage::Counter;
use crate::sim::drive::{Point, Refused, When, kind_of};
use crate::sim::world::{Event, World};

/// Chance that an agent is cut off right after an action was done, in a thousand.
const CUT_OFF_WHEN_DONE: u64 = 10;
/// Shortest and longest time until a supervisor starts an agent again.
const RESTART_MS: (u64, u64) = (50, 4000);

impl World {
    /// Begins to write a record; it is on disk a while later, or never.
    pub(super) fn begin_to_write(&mut self, n: usize, record: Record) {
        let life = self.nodes[n].agent.life;
        let slow = self.rng.chance(20);
        let delay = if slow { self.rng.between(20, 400) } else { self.rng.between(1, 4) };
        let point = Point { kind: kind_of(&record), when: When::During };
        let trapped = self.nodes[n].traps.remove(&point);
        let dies = !self.calm && self.rng.chance(self.config.rough.die_after_effect);
        self.nodes[n].agent.writing = Some(record);
        if trapped || dies {
            let at = self.rng.between(0, delay - 1);
            self.after(at, Event::AgentDies { node: n, life });
        }
        self.after(delay, Event::Synced { node: n, life });
    }

    /// A record is on disk, unless the disk refuses.
    pub(in crate::sim) fn on_synced(&mut self, n: usize, life: u64) {
        let node = &mut self.nodes[n];
        if node.agent.life != life {
            return;
        }
        let Some(record) = node.agent.writing.take() else { return };
        if let Err(refused) = node.drive.write(self.now, &record) {
            return self.disk_refuses(n, record, refused);
        }
        self.written(n, &record);
        self.nodes[n].agent.written = Some(kind_of(&record));
        if !self.may_die(n) {
            self.pump(n);
        }
    }

    /// After the first error of its disk an agent does nothing more and ends.
    fn disk_refuses(&mut self, n: usize, record: Record, refused: Refused) {
        self.coverage.count(match refused {
            Refused::Failed => Counter::WritesFailed,
            Refused::Full => Counter::DisksFull,
        });
        self.say_node(n, || format!("cannot write {}: {refused:?}", kind_of(&record)));
        self.nodes[n].agent.writing = Some(record);
        let back = self.rng.between(RESTART_MS.0, RESTART_MS.1);
        self.agent_ends(n, false, back, Some(refused));
    }

    /// Whether the agent dies just before it would write what comes next.
    pub(super) fn falls_into_trap(&mut self, n: usize) -> bool {
        let node = &mut self.nodes[n];
        let point = |kind, when| Point { kind, when };
        let next = match node.agent.queue.front() {
            Some(Effect::Persist(record)) => Some(point(kind_of(record), When::Before)),
            _ => None,
        };
        let last = node.agent.written.map(|kind| point(kind, When::After));
        let trapped = [next, last].into_iter().flatten().any(|point| node.traps.remove(&point));
        if trapped {
            let back = self.rng.between(RESTART_MS.0, RESTART_MS.1);
            self.crash_agent(n, false, back);
        }
        trapped
    }

    /// Lets the agent die here, if this history is one in which it does.
    pub(super) fn may_die(&mut self, n: usize) -> bool {
        let dies = !self.calm && self.rng.chance(self.config.rough.die_after_effect);
        if dies {
            let back = self.rng.between(RESTART_MS.0, RESTART_MS.1);
            self.crash_agent(n, false, back);
        }
        dies
    }

    pub(in crate::sim) fn on_agent_dies(&mut self, n: usize, life: u64) {
        if self.nodes[n].agent.life == life {
            let back = self.rng.between(RESTART_MS.0, RESTART_MS.1);
            self.crash_agent(n, false, back);
        }
    }

    /// The agent of a node dies; `power` takes the machine with it.
    pub fn crash_agent(&mut self, n: usize, power: bool, back_after: u64) {
        self.agent_ends(n, power, back_after, None);
    }

    fn agent_ends(&mut self, n: usize, power: bool, back_after: u64, refused: Option<Refused>) {
        let node = &self.nodes[n];
        if node.dead {
            return;
        }
        if power && node.powered {
            self.coverage.count(Counter::Reboots);
        } else if !node.agent.up {
            return;
        }
        self.count_crash(n);
        let agent = &mut self.nodes[n].agent;
        let writing = agent.writing.take();
        let step = agent.step.take();
        let unwritten = agent.queue.iter().any(|effect| matches!(effect, Effect::Persist(_)));
        agent.up = false;
        agent.life += 1;
        agent.queue.clear();
        agent.written = None;
        agent.link = None;
        self.say_node(n, || format!("{} crashes", if power { "machine" } else { "agent" }));
        self.lose_unsynced(n, writing.as_ref(), power, refused, unwritten);
        // What was being done may happen yet.
        if let Some(step) = step.filter(|step| !step.performed)
            && self.rng.chance(500)
        {
            self.perform(n, &step.task);
        }
        let node = &mut self.nodes[n];
        if power {
            node.powered = false;
            node.host.lose_power(self.now);
        }
        let life = self.nodes[n].agent.life;
        self.after(back_after, Event::AgentUp { node: n, life, rebooted: power });
    }

    /// Counts at which points of the journal this crash comes.
    fn count_crash(&mut self, n: usize) {
        let agent = &self.nodes[n].agent;
        let mut points = Vec::new();
        if let Some(record) = &agent.writing {
            points.push(Point { kind: kind_of(record), when: When::During });
        } else {
            if let Some(Effect::Persist(record)) = agent.queue.front() {
                points.push(Point { kind: kind_of(record), when: When::Before });
            }
            if let Some(kind) = agent.written {
                points.push(Point { kind, when: When::After });
            }
        }
        let mid = agent.core.state().current.is_some();
        for point in points {
            self.coverage.count_point(point);
        }
        self.coverage.count(Counter::AgentCrashes);
        if mid {
            self.coverage.count(Counter::CrashesMidAction);
        }
    }

    /// What a crash takes from the disk: what was not synced may be there, torn, or gone.
    fn lose_unsynced(
        &mut self,
        n: usize,
        writing: Option<&Record>,
        power: bool,
        refused: Option<Refused>,
        unwritten: bool,
    ) {
        let Self { nodes, rng, .. } = self;
        let left = match nodes[n].drive.crash(writing, power, refused, rng) {
            Ok(left) => left,
            Err(lie) => {
                let what = format!("the journal of {}: {lie}", self.nodes[n].id);
                return self.fail("journal", what);
            }
        };
        if self.nodes[n].drive.is_real() {
            self.coverage.count(Counter::JournalsReopened);
        }
        if left.lost {
            self.coverage.count(Counter::LazyLost);
        }
        if unwritten || (writing.is_some() && !left.arrived) {
            self.coverage.count(Counter::UnsyncedLost);
        }
        // Up to here the disk is as the agent saw it last, from here as the next one finds it.
        if let Some(record) = writing.filter(|_| left.arrived) {
            self.written(n, record);
        }
        self.nodes[n].agent.disk = left.state;
    }

    /// A record has reached the disk.
    fn written(&mut self, n: usize, record: &Record) {
        self.nodes[n].agent.disk.apply(record);
        if let Change::Accepted { action, .. } = &record.change {
            self.coverage.count(Counter::Accepted);
            self.say_node(n, || format!("accepts {} ({})", action.id, kind(action)));
            self.note(&Moment::Accepted { node: n, action: Rc::new(action.clone()) });
        }
        let done = matches!(&record.change, Change::Ended { progress: Progress::Done, .. });
        let cuts = !self.calm && self.config.rough.mix.has("cut");
        if done && cuts && self.rng.chance(CUT_OFF_WHEN_DONE) {
            self.cut_off(n);
        }
        if matches!(record.change, Change::Alone { .. }) {
            self.coverage.count(Counter::RevertedAlone);
        }
    }
}
