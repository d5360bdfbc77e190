//! The state machine: one method for each input, each returning what is to be done.
//!
//! Every change of the state is persisted as a record in the very list of effects it belongs to.
//! What is not journaled (the action that waits, what is being done) is lost in a crash without
//! harm: the controllers offer again, and `restarted` finds out about the rest.

use trireme_proto::action::{Action, ActionKind, Fence, Progress, Report, RunSpec, Step};
use trireme_proto::id::{ActionId, NodeId};

use super::Millis;
use super::accept::{NONCE_AGE_MAX, Refusal, Relation, Verdict, judge, relation};
use super::effect::{Effect, Key, Look, Outcome, Probed, Seen, Task, Work};
use super::state::{Change, Current, Direction, Failure, Memory, Record, State, first_step};
use super::upgrade;

/// Most waiting actions that newer ones may push out before the one that runs has ended.
const DISPLACED_MAX: usize = 16;

/// The agent's brain; see the module documentation for its transitions.
#[derive(Debug, Clone)]
pub struct Core {
    node: NodeId,
    state: State,
    doing: Doing,
    /// Newer action that waits for, or has interrupted, the one that runs.
    pending: Option<Pending>,
    /// Actions that were pending until a more urgent one came; never accepted.
    displaced: Vec<(ActionId, Step)>,
}

/// An action that waits, and when the view of this node that its offer rests on was taken.
#[derive(Debug, Clone)]
struct Pending {
    action: Action,
    seen: Millis,
}

/// What the holder was asked for and has not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Nothing,
    Looking,
    Probing(Key),
    Running { key: Key, interrupted: bool },
}

impl Core {
    /// Returns a core for `node` that goes on from `state`; call [`Core::restarted`] first.
    pub fn new(node: NodeId, state: State) -> Self {
        Self { node, state, doing: Doing::Nothing, pending: None, displaced: Vec::new() }
    }

    /// Returns the journaled state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Returns the fence of the newest accepted action.
    pub fn fence(&self) -> Option<Fence> {
        self.state.fence()
    }

    /// Returns the reports to send after a reconnect, oldest first.
    pub fn unacked(&self) -> impl Iterator<Item = &Report> {
        self.state.queue.iter()
    }

    /// Returns when [`Core::tick`] next has something to do.
    pub fn next_wake(&self) -> Option<Millis> {
        match (&self.state.current, self.doing) {
            (Some(current), Doing::Running { key, interrupted: false }) if waits(key.step) => {
                Some(current.limit())
            }
            (Some(_), _) => None,
            (None, _) => self.armed().map(|armed| armed.due).min(),
        }
    }

    /// Takes an offer; `nonce_age` is the age in milliseconds of the nonce it echoes, if known.
    pub fn offer(&mut self, now: Millis, action: Action, nonce_age: Option<u64>) -> Vec<Effect> {
        let mut out = Vec::new();
        let waiting = self.pending.as_ref().map(|pending| &pending.action);
        let seen = now.saturating_sub(nonce_age.unwrap_or_default());
        match judge(&self.node, &self.state, waiting, &action, nonce_age) {
            Verdict::Waits => self.pending = Some(Pending { action, seen }),
            Verdict::Ignore(refusal) => out.push(Effect::Ignored { action: action.id, refusal }),
            Verdict::Repeat => {
                let report = self.state.last.as_ref().and_then(|last| last.report.clone());
                out.extend(report.map(Effect::Report));
            }
            Verdict::Take => self.take(now, Pending { action, seen }, &mut out),
        }
        out
    }

    /// Takes the answer to a [`Look`].
    pub fn looked(
        &mut self,
        now: Millis,
        action: ActionId,
        seen: Result<Seen, String>,
    ) -> Vec<Effect> {
        let mut out = Vec::new();
        let current = self.state.current.as_ref().filter(|current| current.action.id == action);
        let (Some(current), Doing::Looking) = (current, self.doing) else { return out };
        let first = first_step(&current.action.kind);
        self.doing = Doing::Nothing;
        if self.make_way(now, &mut out) {
            return out;
        }
        match seen {
            Ok(seen) => self.plan(now, &seen, &mut out),
            Err(reason) => self.fail(now, first, reason, &mut out),
        }
        out
    }

    /// Takes what came of a step.
    pub fn step_done(&mut self, now: Millis, key: Key, outcome: Outcome) -> Vec<Effect> {
        let mut out = Vec::new();
        match self.doing {
            Doing::Running { key: running, .. } if running == key => {}
            Doing::Nothing | Doing::Looking | Doing::Probing(_) | Doing::Running { .. } => {
                return out;
            }
        }
        self.doing = Doing::Nothing;
        // Work still in flight is no reason not to give capacity back.
        let drained = key.step == Step::Quiesce && self.current().is_some_and(Current::restores);
        let outcome = if drained { Outcome::Done } else { outcome };
        if outcome == Outcome::Done {
            self.persist(Change::Done { step: key.step }, vec![], &mut out);
        }
        if self.make_way(now, &mut out) {
            return out;
        }
        match outcome {
            Outcome::Done => self.proceed(now, &mut out),
            Outcome::Failed(reason) => self.fail(now, key.step, reason, &mut out),
            Outcome::Interrupted(awaited) => {
                let late = self.late(now).unwrap_or_else(|| "interrupted".to_owned());
                let reason = awaited.map_or(late.clone(), |awaited| format!("{late}: {awaited}"));
                self.fail(now, key.step, reason, &mut out);
            }
        }
        out
    }

    /// Takes what a probe found.
    pub fn probed(&mut self, now: Millis, key: Key, probed: Probed) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.doing != Doing::Probing(key) {
            return out;
        }
        self.doing = Doing::Nothing;
        if probed == Probed::Done {
            self.persist(Change::Done { step: key.step }, vec![], &mut out);
        }
        if self.make_way(now, &mut out) {
            return out;
        }
        match probed {
            Probed::Done => self.proceed(now, &mut out),
            Probed::NotDone => self.run_again(now, key.step, &mut out),
            Probed::Unknown => {
                let reason = "the agent died in it and cannot tell whether it was done".to_owned();
                self.fail(now, key.step, reason, &mut out);
            }
        }
        out
    }

    /// Looks at the clock: ends what takes too long, begins a revert that is due.
    pub fn tick(&mut self, now: Millis) -> Vec<Effect> {
        let mut out = Vec::new();
        match &self.state.current {
            Some(current) if now >= current.limit() => self.interrupt(&mut out),
            Some(_) => {}
            None => {
                let due = self.armed().find(|armed| armed.due <= now);
                if let Some(action) = due.map(|armed| &armed.action) {
                    let (service, of) = (action.service.clone(), action.id);
                    let reason = format!("{of} was not confirmed in time");
                    self.persist(Change::Alone { service, at: now, reason }, vec![], &mut out);
                    self.look(&mut out);
                }
            }
        }
        out
    }

    /// Forgets reports that controllers have committed.
    pub fn acked(&mut self, seq: u64) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.state.queue.front().is_some_and(|report| report.seq <= seq) {
            self.persist(Change::Acked { seq }, vec![], &mut out);
        }
        out
    }

    /// Goes on after the agent was restarted; `rebooted` tells that the clock began anew.
    pub fn restarted(&mut self, now: Millis, rebooted: bool) -> Vec<Effect> {
        let mut out = Vec::new();
        let counting = self.armed().next().is_some() && rebooted;
        let restoring = self.current().is_some_and(|current| rebooted || current.restores());
        if counting || restoring {
            self.persist(Change::Restarted { at: now, rebooted }, vec![], &mut out);
        }
        let Some(current) = self.current() else { return out };
        match (current.steps.is_some(), current.unfinished()) {
            (false, _) => self.look(&mut out),
            (true, None) => self.proceed(now, &mut out),
            (true, Some(step)) if waits(step) && step != Step::Fetch => {
                self.run_again(now, step, &mut out);
            }
            (true, Some(step)) => {
                if let Some(task) = self.task(step) {
                    self.doing = Doing::Probing(task.key);
                    out.push(Effect::Probe(task));
                }
            }
        }
        out
    }

    fn current(&self) -> Option<&Current> {
        self.state.current.as_ref()
    }

    fn armed(&self) -> impl Iterator<Item = &super::state::Armed> {
        self.state.services.values().filter_map(|memory| memory.armed.as_ref())
    }

    /// Changes the state, and has the change and what is said of it written before all else.
    fn persist(&mut self, change: Change, news: Vec<(ActionId, Progress)>, out: &mut Vec<Effect>) {
        let numbered = (self.state.seq + 1..).zip(news);
        let reports: Vec<Report> =
            numbered.map(|(seq, (action, progress))| Report { seq, action, progress }).collect();
        let record = Record { change, reports: reports.clone() };
        self.state.apply(&record);
        out.push(Effect::Persist(record));
        out.extend(reports.into_iter().map(Effect::Report));
    }

    /// Finds the place of an action that is newer than all others.
    fn take(&mut self, now: Millis, offered: Pending, out: &mut Vec<Effect>) {
        let action = &offered.action;
        let Some(current) = self.current() else {
            return self.accept(now, offered.action, None, out);
        };
        let urgent = relation(current, action) != Relation::Waits;
        if let Some(Pending { action: waiting, .. }) = &self.pending {
            let moot = matches!(action.kind, ActionKind::Revert { of, .. } if of == waiting.id);
            if !(urgent || moot) || self.displaced.len() >= DISPLACED_MAX {
                out.push(Effect::Ignored { action: action.id, refusal: Refusal::Busy });
                return;
            }
            self.displaced.push((waiting.id, first_step(&waiting.kind)));
        }
        self.pending = Some(offered);
        if urgent {
            self.interrupt(out);
        }
    }

    /// Journals an action as accepted and begins it.
    fn accept(&mut self, now: Millis, action: Action, cut: Option<Step>, out: &mut Vec<Effect>) {
        let reason = format!("superseded by {} before it began", action.id);
        let mut news: Vec<_> = std::mem::take(&mut self.displaced)
            .into_iter()
            .map(|(id, step)| (id, Progress::FailedUndone { step, reason: reason.clone() }))
            .collect();
        news.push((action.id, Progress::Accepted));
        self.persist(Change::Accepted { action, at: now, cut }, news, out);
        if self.current().is_some_and(|current| current.steps.is_some()) {
            self.proceed(now, out);
        } else {
            self.look(out);
        }
    }

    fn look(&mut self, out: &mut Vec<Effect>) {
        let Some(current) = self.current() else { return };
        let (action, service) = (current.action.id, current.action.service.clone());
        self.doing = Doing::Looking;
        out.push(Effect::Look(Look { action, service }));
    }

    /// Chooses the steps now that it is known what the service runs.
    fn plan(&mut self, now: Millis, seen: &Seen, out: &mut Vec<Effect>) {
        let Some(current) = self.current() else { return };
        let dirty = self.memory().is_some_and(|memory| memory.dirty);
        let handed_over = !current.takes_over.is_empty();
        let (steps, previous, served) = match (&current.action.kind, current.alone) {
            (ActionKind::Switch(switch), true) => {
                let previous = current.previous.clone();
                let goal = (previous.as_ref(), switch.stopped);
                let steps = upgrade::revert_steps(goal, seen, handed_over, dirty);
                (Ok(steps), previous, current.served)
            }
            (ActionKind::Switch(switch), false) => {
                (upgrade::switch_steps(switch, seen), seen.spec.clone(), seen.serving)
            }
            (ActionKind::Halt(halt), _) => {
                (upgrade::halt_steps(halt, seen), seen.spec.clone(), seen.serving)
            }
            (ActionKind::Revert { previous, stopped, .. }, _) => {
                let goal = (previous.as_ref(), *stopped);
                let steps = upgrade::revert_steps(goal, seen, handed_over, dirty);
                (Ok(steps), previous.clone(), true)
            }
            (ActionKind::Stage { .. } | ActionKind::Confirm { .. }, _) => return,
        };
        match steps {
            Err(drift) => self.fail(now, Step::Fetch, drift, out),
            Ok(steps) => {
                self.persist(Change::Planned { steps, previous, served }, vec![], out);
                self.proceed(now, out);
            }
        }
    }

    /// Begins the next step, or ends the action after its last.
    fn proceed(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let Some(current) = self.current() else { return };
        let told =
            !matches!(current.action.kind, ActionKind::Stage { .. } | ActionKind::Confirm { .. });
        let news = |step| vec![(current.action.id, Progress::Running { step })];
        match current.next() {
            // Arming is one with the end of a switch: there is no moment between the two.
            None | Some(Step::Arm) => self.succeed(now, out),
            Some(Step::Disarm) => self.confirm(now, out),
            Some(step) => {
                if let Some(reason) = self.late(now).filter(|_| !current.restores()) {
                    return self.fail(now, step, reason, out);
                }
                let news = if told && !current.alone { news(step) } else { vec![] };
                self.persist(Change::Intent { step }, news, out);
                self.run(step, out);
            }
        }
    }

    /// Does a step whose intent is journaled and which is known not to be done.
    fn run_again(&mut self, now: Millis, step: Step, out: &mut Vec<Effect>) {
        let restores = self.current().is_some_and(Current::restores);
        match self.late(now).filter(|_| !restores) {
            Some(reason) => self.fail(now, step, reason, out),
            None => self.run(step, out),
        }
    }

    fn run(&mut self, step: Step, out: &mut Vec<Effect>) {
        if let Some(task) = self.task(step) {
            self.doing = Doing::Running { key: task.key, interrupted: false };
            out.push(Effect::Run(task));
        }
    }

    /// Returns all that the host needs for a step of the current action.
    fn task(&self, step: Step) -> Option<Task> {
        let current = self.current()?;
        let (goal, drain, in_flight) = match (&current.action.kind, current.direction) {
            (ActionKind::Switch(switch), Direction::Forward) => {
                (Some(switch.target.clone()), switch.drain, switch.in_flight.clone())
            }
            (ActionKind::Switch(switch), Direction::Undo) => {
                (current.previous.clone(), switch.drain, switch.in_flight.clone())
            }
            (ActionKind::Halt(halt), direction) => {
                let goal = current.previous.clone().filter(|_| direction == Direction::Undo);
                (goal, halt.drain, halt.in_flight.clone())
            }
            (ActionKind::Revert { previous, drain, in_flight, .. }, _) => {
                (previous.clone(), *drain, in_flight.clone())
            }
            (ActionKind::Stage { target }, _) => {
                (Some(target.clone()), trireme_proto::time::Span(0), None)
            }
            (ActionKind::Confirm { .. }, _) => return None,
        };
        let work = work(step, goal, drain, in_flight, current.recreates())?;
        let key = Key { action: current.action.id, direction: current.direction, step };
        Some(Task { key, service: current.action.service.clone(), work })
    }

    /// Asks a step that only waits to stop waiting.
    fn interrupt(&mut self, out: &mut Vec<Effect>) {
        if let Doing::Running { key, interrupted } = &mut self.doing
            && waits(key.step)
            && !*interrupted
        {
            *interrupted = true;
            out.push(Effect::Interrupt(*key));
        }
    }

    /// Returns why the current action has taken too long, if it has.
    fn late(&self, now: Millis) -> Option<String> {
        let current = self.current().filter(|current| now >= current.limit())?;
        Some(format!("not done within {}", current.action.deadline))
    }

    /// Lets an urgent pending action go first; returns whether it did.
    fn make_way(&mut self, now: Millis, out: &mut Vec<Effect>) -> bool {
        let (Some(current), Some(pending)) = (self.current(), &self.pending) else { return false };
        let reached = current.reached();
        match relation(current, &pending.action) {
            Relation::Waits => false,
            Relation::Ends => {
                let reason = format!("superseded by {}", pending.action.id);
                self.fail(now, reached, reason, out);
                true
            }
            Relation::TakesOver => {
                if let Some(Pending { action, .. }) = self.pending.take() {
                    self.accept(now, action, Some(reached), out);
                }
                true
            }
        }
    }

    /// Ends the current action because of `step`, or turns it back if it has stopped anything.
    fn fail(&mut self, now: Millis, step: Step, reason: String, out: &mut Vec<Effect>) {
        let Some(current) = self.current() else { return };
        let progress = match (&current.action.kind, &current.failure) {
            (ActionKind::Switch(_) | ActionKind::Halt(_), Some(first)) => Progress::FailedDirty {
                step,
                reason: format!("{reason}; it was being undone: {}: {}", first.step, first.reason),
            },
            (kind @ (ActionKind::Switch(_) | ActionKind::Halt(_)), None) if current.touched() => {
                let stopped = matches!(kind, ActionKind::Switch(switch) if switch.stopped);
                let previous = current.previous.as_ref();
                let steps = upgrade::undo_steps(previous, current.served, stopped);
                let failure = Failure { step, reason };
                self.persist(Change::Undoing { at: now, failure, steps }, vec![], out);
                return self.proceed(now, out);
            }
            (ActionKind::Revert { .. }, _) => Progress::FailedDirty { step, reason },
            (
                ActionKind::Switch(_)
                | ActionKind::Halt(_)
                | ActionKind::Stage { .. }
                | ActionKind::Confirm { .. },
                None | Some(_),
            ) => Progress::FailedUndone { step, reason },
        };
        self.end(now, progress, out);
    }

    /// Ends the current action after its last step.
    fn succeed(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let Some(current) = self.current() else { return };
        let progress = match current.failure.clone() {
            None => Progress::Done,
            Some(Failure { reason, .. }) if current.alone => Progress::RevertedAlone { reason },
            Some(Failure { step, reason }) => Progress::FailedUndone { step, reason },
        };
        self.end(now, progress, out);
    }

    /// Calls a revert off, if it is still to be called off.
    fn confirm(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let Some(ActionKind::Confirm { of }) = self.current().map(|c| &c.action.kind) else {
            return;
        };
        let nothing = Memory::default();
        let progress = match upgrade::may_confirm(*of, self.memory().unwrap_or(&nothing)) {
            Ok(()) => Progress::Done,
            Err(reason) => Progress::FailedUndone { step: Step::Disarm, reason },
        };
        self.end(now, progress, out);
    }

    /// Says the last word on the current action and those it took over, then lets the next begin.
    fn end(&mut self, now: Millis, progress: Progress, out: &mut Vec<Effect>) {
        let Some(current) = self.current() else { return };
        let id = current.action.id;
        let mut news: Vec<_> = current
            .takes_over
            .iter()
            .map(|cut| (cut.action, ended_with(cut.step, id, &progress)))
            .collect();
        news.push((id, progress.clone()));
        self.doing = Doing::Nothing;
        self.persist(Change::Ended { at: now, progress }, news, out);
        self.begin_pending(now, out);
    }

    /// Accepts the action that waited, if the offer still holds.
    ///
    /// Cut off from the controllers, the agent starts nothing that takes capacity: an offer that
    /// was not renewed lately lapses, unless it gives back.
    fn begin_pending(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let Some(Pending { action, seen }) = self.pending.take() else { return };
        let age_ms = now.saturating_sub(seen);
        if age_ms <= NONCE_AGE_MAX || matches!(action.kind, ActionKind::Revert { .. }) {
            return self.accept(now, action, None, out);
        }
        // Those it pushed out were never accepted and may be offered again as well.
        self.displaced.clear();
        let refusal = Refusal::NonceOld { age_ms };
        out.push(Effect::Ignored { action: action.id, refusal });
    }

    fn memory(&self) -> Option<&Memory> {
        self.current().and_then(|current| self.state.services.get(&current.action.service))
    }
}

/// Returns whether a step only waits, so that it can be interrupted and repeated.
fn waits(step: Step) -> bool {
    matches!(step, Step::Fetch | Step::Quiesce | Step::Gate)
}

/// Returns what became of an action that `taker` cut off at `step`.
fn ended_with(step: Step, taker: ActionId, progress: &Progress) -> Progress {
    let reason = format!("cut off by {taker}");
    match progress {
        Progress::FailedDirty { .. } => Progress::FailedDirty { step, reason },
        Progress::Accepted
        | Progress::Running { .. }
        | Progress::Done
        | Progress::FailedUndone { .. }
        | Progress::RevertedAlone { .. } => Progress::FailedUndone { step, reason },
    }
}

/// Returns what a step does towards `goal`; `None` where the step is the core's own.
fn work(
    step: Step,
    goal: Option<RunSpec>,
    drain: trireme_proto::time::Span,
    in_flight: Option<String>,
    recreate: bool,
) -> Option<Work> {
    match step {
        Step::Fetch => goal.map(|spec| Work::Fetch { spec }),
        Step::Quiesce => Some(Work::Quiesce { drain, in_flight }),
        Step::Stop => Some(Work::Stop),
        Step::Point => Some(Work::Point { spec: goal }),
        Step::Start => goal.map(|spec| Work::Start { spec, recreate }),
        Step::Gate => goal.map(|spec| Work::Gate { spec }),
        Step::Arm | Step::Disarm => None,
    }
}
