//! The loop: takes one thing in, asks the core, has its effects performed in order.
//!
//! One task, so nothing here is shared. What takes long runs beside it as a job, one at a time;
//! its answer comes back as an input. The journal is written off the loop's thread, and nothing
//! that follows from a record is begun or said before it is on disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};
use trireme_proto::action::{Assignment, RunSpec, Samples};
use trireme_proto::id::{ActionId, ServiceId};

use super::{RunError, now};
use crate::act;
use crate::check::{Assigned, Finding, Health, Schedule};
use crate::clock::wall;
use crate::host::{Host as _, Machine, NodeFacts};
use crate::journal::{Journal, JournalError, Recovered};
use crate::link::{Heard, Outlook, Unacked};
use crate::observe::{Gate, Watch};
use crate::plan::{Core, Effect, Key, Millis, Outcome, Probed, Record, Refusal, Seen, Task, Work};
use crate::telemetry::{Question, Shown};

/// Longest sleep while something is due: the machine may sleep too, and its timers with it.
const SLEEP_MAX: Duration = Duration::from_secs(5);

/// Where inputs come from.
pub(super) struct Inputs {
    pub(super) heard: mpsc::Receiver<Heard>,
    pub(super) findings: mpsc::Receiver<Finding>,
    pub(super) changes: watch::Receiver<u64>,
    /// Questions how things are.
    pub(super) asked: mpsc::Receiver<Question>,
    /// Parts that must not end while the agent runs.
    pub(super) parts: JoinSet<&'static str>,
}

/// Where what is to be said goes.
pub(super) struct Outgoing {
    pub(super) outlook: watch::Sender<Outlook>,
    pub(super) samples: watch::Sender<Samples>,
    pub(super) unacked: watch::Sender<Unacked>,
}

/// The agent: the core and all that it acts through.
pub(super) struct Agent {
    core: Core,
    journal: Arc<Mutex<Journal>>,
    machine: Arc<Machine>,
    facts: NodeFacts,
    watch: Watch,
    schedule: Schedule,
    jobs: JoinSet<Answer>,
    /// What the job that runs was asked.
    job: Option<(Asked, AbortHandle)>,
    /// The gate that is waited for.
    gate: Option<(Key, ServiceId)>,
    out: Outgoing,
    recovered: Recovered,
    /// Services that serve, as the journal has it.
    serving: Vec<ServiceId>,
    /// Controller that holds the node's stream.
    controller: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    Look(ActionId),
    Probe(Key),
    Run(Key),
}

#[derive(Debug)]
enum Answer {
    Looked(ActionId, Box<Result<Option<RunSpec>, String>>, ServiceId),
    Probed(Key, Probed),
    Done(Key, Outcome),
}

impl Agent {
    pub(super) fn new(
        journal: Journal,
        recovered: Recovered,
        machine: Arc<Machine>,
        facts: NodeFacts,
        schedule: Schedule,
        out: Outgoing,
    ) -> Self {
        Self {
            core: Core::new(facts.node.clone(), recovered.state.clone()),
            journal: Arc::new(Mutex::new(journal)),
            machine,
            facts,
            watch: Watch::default(),
            schedule,
            jobs: JoinSet::new(),
            job: None,
            gate: None,
            out,
            serving: recovered.serving.clone(),
            recovered,
            controller: None,
        }
    }

    /// Finds out how things are, and goes on with what a crash cut off.
    pub(super) async fn begin(mut self, boot: &str) -> Result<Self, RunError> {
        let known = self.recovered.boot_id.clone();
        let rebooted = known.as_deref().is_some_and(|known| known != boot);
        self.watch.assign(std::mem::take(&mut self.recovered.assignments), wall());
        for service in self.services() {
            let served = !rebooted && self.serving.contains(&service) && !self.acts_on(&service);
            self.watch.adopt(&service, &self.machine.observe(&service), served, now());
        }
        self.set_checks().await;
        let effects = self.core.restarted(now(), rebooted);
        if rebooted {
            info!("the machine was booted since the agent last ran");
        }
        self.perform(effects).await?;
        if known.as_deref() != Some(boot) {
            let boot = boot.to_owned();
            self.write(move |journal| journal.set_boot_id(&boot)).await?;
        }
        self.settle().await?;
        Ok(self)
    }

    /// Takes inputs until something breaks.
    pub(super) async fn run(mut self, mut inputs: Inputs) -> Result<(), RunError> {
        loop {
            let wake = self.wake();
            let due = wake.map_or(SLEEP_MAX, |at| {
                Duration::from_millis(at.saturating_sub(now())).min(SLEEP_MAX)
            });
            tokio::select! {
                Some(heard) = inputs.heard.recv() => self.hear(heard).await?,
                Some(finding) = inputs.findings.recv() => self.find(finding),
                Ok(()) = inputs.changes.changed() => {}
                // Who asks may have gone again.
                Some(tell) = inputs.asked.recv() => drop(tell.send(self.shown())),
                Some(done) = self.jobs.join_next() => self.answer(done).await?,
                Some(ended) = inputs.parts.join_next() => {
                    return Err(RunError::PartEnded(ended.unwrap_or("a part of the agent")));
                }
                () = sleep(due), if wake.is_some() => {}
            }
            let effects = self.core.tick(now());
            self.perform(effects).await?;
            self.settle().await?;
        }
    }

    /// Returns when something is due even if nothing happens.
    fn wake(&self) -> Option<Millis> {
        let gate = self.gate.as_ref().and_then(|(_, service)| {
            match self.watch.gate(service, &self.machine.observe(service), now()) {
                Gate::Waits(again) => again,
                Gate::Passed | Gate::Failed(_) => Some(now()),
            }
        });
        [self.core.next_wake(), gate].into_iter().flatten().min()
    }

    async fn hear(&mut self, heard: Heard) -> Result<(), RunError> {
        let effects = match heard {
            Heard::Welcome { controller, address } => {
                return self.welcome(controller, address).await;
            }
            Heard::Assigned(assignments) => return self.assign(assignments).await,
            Heard::Lost => {
                self.controller = None;
                return Ok(());
            }
            Heard::Offer { action, nonce_age } => self.core.offer(now(), *action, nonce_age),
            Heard::Acked(seq) => self.core.acked(seq),
        };
        self.perform(effects).await
    }

    async fn welcome(&mut self, controller: String, address: String) -> Result<(), RunError> {
        debug!(controller, address, "welcome");
        self.controller = Some(controller);
        if address.is_empty() || address == self.facts.address {
            return Ok(());
        }
        self.facts.address.clone_from(&address);
        self.machine.set_node(self.facts.clone());
        self.write(move |journal| journal.set_address(&address)).await?;
        self.set_checks().await;
        Ok(())
    }

    async fn assign(&mut self, assignments: Vec<Assignment>) -> Result<(), RunError> {
        if assignments == self.watch.assignments() {
            return Ok(());
        }
        info!(services = assignments.len(), "assignments changed");
        let kept = assignments.clone();
        self.write(move |journal| journal.set_assignments(&kept)).await?;
        self.watch.assign(assignments, wall());
        self.set_checks().await;
        Ok(())
    }

    fn find(&mut self, finding: Finding) {
        let (service, check) = (finding.service.clone(), finding.check.clone());
        let message = finding.outcome.message.clone();
        if let Some(transition) = self.watch.found(finding, wall()) {
            if transition.to == Health::Failing {
                warn!(%service, check, message, "check fails");
            } else {
                info!(%service, check, message, to = ?transition.to, "check changed");
            }
        }
    }

    async fn answer(&mut self, done: Result<Answer, JoinError>) -> Result<(), RunError> {
        let asked = self.job.take().map(|(asked, _)| asked);
        let effects = match (done, asked) {
            (Ok(Answer::Looked(action, spec, service)), _) => {
                let observation = self.machine.observe(&service);
                let seen = (*spec).map(|spec| Seen {
                    spec,
                    running: observation.is_running(),
                    serving: self.watch.serves(&service, &observation),
                });
                self.core.looked(now(), action, seen)
            }
            (Ok(Answer::Probed(key, probed)), _) => self.core.probed(now(), key, probed),
            (Ok(Answer::Done(key, outcome)), _) => {
                if outcome == Outcome::Done && act::moves_facts(key.step) {
                    self.set_checks().await;
                    self.notice_processes().await;
                }
                self.ended(key, outcome)
            }
            (Err(error), Some(Asked::Run(key))) if error.is_cancelled() => {
                self.ended(key, Outcome::Interrupted(None))
            }
            (Err(error), Some(asked)) => self.broke(asked, &error),
            (Err(_), None) => Vec::new(),
        };
        self.perform(effects).await
    }

    fn ended(&mut self, key: Key, outcome: Outcome) -> Vec<Effect> {
        match &outcome {
            Outcome::Done => info!(action = %key.action, step = %key.step, "step done"),
            Outcome::Failed(reason) => {
                warn!(action = %key.action, step = %key.step, reason, "step failed");
            }
            Outcome::Interrupted(_) => {
                info!(action = %key.action, step = %key.step, "step interrupted");
            }
        }
        self.core.step_done(now(), key, outcome)
    }

    /// Answers for a job that panicked.
    fn broke(&mut self, asked: Asked, error: &JoinError) -> Vec<Effect> {
        error!(?asked, %error, "a job broke");
        let reason = "the agent itself broke in it".to_owned();
        match asked {
            Asked::Look(action) => self.core.looked(now(), action, Err(reason)),
            Asked::Probe(key) => self.core.probed(now(), key, Probed::Unknown),
            Asked::Run(key) => self.core.step_done(now(), key, Outcome::Failed(reason)),
        }
    }

    /// Performs effects in order; neighbouring records share one write.
    async fn perform(&mut self, effects: Vec<Effect>) -> Result<(), RunError> {
        let mut records: Vec<Record> = Vec::new();
        for effect in effects {
            // What is said goes out of the core's queue, after all of this is on disk.
            if !matches!(effect, Effect::Persist(_) | Effect::Report(_)) {
                self.append(&mut records).await?;
            }
            match effect {
                Effect::Persist(record) => records.push(record),
                Effect::Report(report) => self.say_again(report.seq),
                Effect::Look(look) => {
                    let (machine, service) = (Arc::clone(&self.machine), look.service);
                    self.begin_job(Asked::Look(look.action), async move {
                        let spec = act::pointed_at(&*machine, &service);
                        Answer::Looked(look.action, Box::new(spec), service)
                    });
                }
                Effect::Probe(task) => {
                    let machine = Arc::clone(&self.machine);
                    self.begin_job(Asked::Probe(task.key), async move {
                        Answer::Probed(task.key, act::probe(&*machine, &task).await)
                    });
                }
                Effect::Run(Task { key, service, work: Work::Gate { .. } }) => {
                    self.gate = Some((key, service));
                }
                Effect::Run(task) => {
                    let machine = Arc::clone(&self.machine);
                    self.begin_job(Asked::Run(task.key), async move {
                        Answer::Done(task.key, act::run(&*machine, &task).await)
                    });
                }
                Effect::Interrupt(key) => self.interrupt(key).await?,
                Effect::Ignored { action, refusal: refusal @ Refusal::Conflict { .. } } => {
                    error!(%action, %refusal, "offer refused");
                }
                Effect::Ignored { action, refusal } => info!(%action, %refusal, "offer not taken"),
            }
        }
        self.append(&mut records).await
    }

    fn begin_job(&mut self, asked: Asked, job: impl Future<Output = Answer> + Send + 'static) {
        self.job = Some((asked, self.jobs.spawn(job)));
    }

    /// Stops a wait; its end comes back as an input.
    async fn interrupt(&mut self, key: Key) -> Result<(), RunError> {
        if let Some((_, service)) = self.gate.as_ref().filter(|(gate, _)| *gate == key) {
            let awaited = Some(self.watch.why_not(service, &self.machine.observe(service)))
                .filter(|why| !why.is_empty());
            return Box::pin(self.end_gate(Outcome::Interrupted(awaited))).await;
        }
        if let Some((Asked::Run(running), handle)) = &self.job
            && *running == key
        {
            handle.abort();
        }
        Ok(())
    }

    async fn end_gate(&mut self, outcome: Outcome) -> Result<(), RunError> {
        let Some((key, service)) = self.gate.take() else { return Ok(()) };
        if let Outcome::Interrupted(awaited) = &outcome {
            warn!(action = %key.action, %service, ?awaited, "not healthy in time");
        }
        let effects = self.ended(key, outcome);
        self.perform(effects).await
    }

    /// Draws conclusions after each input: new processes, the gate, what is said outside.
    async fn settle(&mut self) -> Result<(), RunError> {
        self.notice_processes().await;
        if let Some((_, service)) = &self.gate {
            match self.watch.gate(service, &self.machine.observe(service), now()) {
                Gate::Waits(_) => {}
                Gate::Passed => self.end_gate(Outcome::Done).await?,
                Gate::Failed(reason) => self.end_gate(Outcome::Failed(reason)).await?,
            }
        }
        self.publish().await
    }

    /// Has the checks of every process that is new made at once, and old findings forgotten.
    async fn notice_processes(&mut self) {
        for service in self.services() {
            let observation = self.machine.observe(&service);
            if self.watch.is_new(&service, &observation, now()) {
                let floor = self.schedule.kick(&service).await;
                self.watch.started(&service, floor, wall());
            }
        }
    }

    /// Tells the link how things are, and the journal what serves.
    async fn publish(&mut self) -> Result<(), RunError> {
        let mut outlook = Outlook::default();
        if let Some(fence) = self.core.fence() {
            (outlook.epoch, outlook.generation) = (fence.epoch, fence.generation);
        }
        let mut serving = Vec::new();
        for service in self.services() {
            let observation = self.machine.observe(&service);
            if self.watch.serves(&service, &observation) {
                serving.push(service.clone());
            }
            let observed = self.watch.observed(&service, &observation);
            outlook.observed.insert(service, observed);
        }
        if serving != self.serving {
            self.serving.clone_from(&serving);
            self.write(move |journal| journal.set_serving(&serving)).await?;
        }
        self.out.samples.send_replace(self.watch.samples());
        self.out.outlook.send_if_modified(|said| {
            let changed = *said != outlook;
            *said = outlook;
            changed
        });
        self.out.unacked.send_if_modified(|said| {
            let changed = !said.reports.iter().eq(self.core.unacked());
            if changed {
                said.reports = self.core.unacked().cloned().collect();
            }
            changed
        });
        Ok(())
    }

    /// Returns how things are, for who asks on this host.
    fn shown(&mut self) -> Shown {
        let mut observed = BTreeMap::new();
        for service in self.services() {
            let said = self.watch.observed(&service, &self.machine.observe(&service));
            observed.insert(service, said);
        }
        let services = self.services().into_iter().map(|service| {
            let observation = self.machine.observe(&service);
            let serves = self.watch.serves(&service, &observation);
            (service, observation.is_running(), serves)
        });
        Shown {
            controller: self.controller.clone(),
            generation: self.core.fence().map_or(0, |fence| fence.generation),
            unacked: self.core.unacked().count(),
            acting: self.core.state().current.is_some(),
            checks: self.watch.checks(),
            services: services.collect(),
            observed,
        }
    }

    /// Has what was said before said once more, if this was.
    fn say_again(&self, seq: u64) {
        self.out.unacked.send_if_modified(|said| {
            let before = said.reports.iter().any(|report| report.seq == seq);
            said.again += u64::from(before);
            before
        });
    }

    /// Replaces the checks that are made; they follow the assignments and what is pointed at.
    async fn set_checks(&self) {
        let assignments = self.watch.assignments().iter();
        let logs = assignments.map(|one| (one.service.clone(), one.logs.clone()));
        self.machine.set_logs(logs.collect());
        let assigned = self.watch.assignments().iter().map(|one| Assigned {
            service: one.service.clone(),
            checks: one.checks.clone(),
            facts: self.machine.facts(&one.service),
        });
        self.schedule.set(assigned.collect()).await;
    }

    /// Returns the services that are assigned or acted upon.
    fn services(&self) -> Vec<ServiceId> {
        let assigned = self.watch.assignments().iter().map(|one| one.service.clone());
        let current = self.core.state().current.iter().map(|one| one.action.service.clone());
        let mut services: Vec<_> = assigned.chain(current).collect();
        services.sort();
        services.dedup();
        services
    }

    /// Returns whether an action is under way that has touched the service.
    fn acts_on(&self, service: &ServiceId) -> bool {
        let current = self.core.state().current.as_ref();
        current.is_some_and(|current| current.action.service == *service && current.touched())
    }

    async fn append(&self, records: &mut Vec<Record>) -> Result<(), RunError> {
        if records.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(records);
        self.write(move |journal| journal.append(&records)).await
    }

    /// Writes to the journal off the loop's thread: a slow disk must not delay a heartbeat.
    async fn write(
        &self,
        write: impl FnOnce(&mut Journal) -> Result<(), JournalError> + Send + 'static,
    ) -> Result<(), RunError> {
        let journal = Arc::clone(&self.journal);
        let written = tokio::task::spawn_blocking(move || {
            let mut journal = journal.lock().map_err(|_| RunError::PartEnded("the journal"))?;
            Ok(write(&mut journal)?)
        });
        written.await.map_err(|_| RunError::PartEnded("a write to the journal"))?
    }
}
