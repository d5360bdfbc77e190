//! When checks run: one task for all checks of the node.
//!
//! A check that waits for its turn is an entry in a list, not a task. Never do two runs of one
//! check overlap, nor more than a few of all. First runs are spread out a little, so that nodes
//! and checks that begin together do not stay together. After a start the service's checks run at
//! once, and again after ever longer pauses until they first pass, so that the time from a service's
//! being ready to its being found so does not grow with `every`.
//!
//! Findings leave through a bounded channel. While nobody takes them, no run begins.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use trireme_proto::id::ServiceId;
use trireme_proto::model::{Check, Probe};

use super::{Finding, Outcome, Runner, Status, filled};
use crate::host::Facts;
use crate::http::Client;

/// Checks under way at once, findings not yet taken included: bounds processes and memory.
pub(super) const RUNS_MAX: usize = 16;
/// Orders not yet taken: the agent's loop is the only one to give any.
const ORDERS_MAX: usize = 8;
/// Longest delay of a first run: spreads load, yet tells soon how things are.
const FIRST_RUN_SPREAD: Duration = Duration::from_secs(1);

/// Pause after the first check of a starting service has failed; doubled until it is `every`.
const STARTING_PAUSE: Duration = Duration::from_millis(20);

/// The checks of one service, and what their placeholders stand for.
#[derive(Debug, Clone)]
pub struct Assigned {
    /// The service.
    pub service: ServiceId,
    /// Its checks.
    pub checks: Vec<Check>,
    /// What placeholders stand for, see [`Host::facts`](crate::host::Host::facts).
    pub facts: Facts,
}

#[derive(Debug)]
enum Order {
    Set(Vec<Assigned>),
    Kick(ServiceId),
}

/// Gives orders to a [`Scheduler`], which ends when this is dropped.
#[derive(Debug)]
pub struct Schedule {
    orders: mpsc::Sender<Order>,
    seq: Arc<AtomicU64>,
}

impl Schedule {
    /// Replaces the set of checks; those that stay the same keep their turn.
    pub async fn set(&self, assigned: Vec<Assigned>) {
        self.give(Order::Set(assigned)).await;
    }

    /// Runs all checks of a service now, and from now on every `every`; runs under way are given
    /// up. Call it when the service was started.
    ///
    /// Returns the number at which runs count that begin after this call.
    pub async fn kick(&self, service: &ServiceId) -> u64 {
        let floor = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        self.give(Order::Kick(service.clone())).await;
        floor
    }

    async fn give(&self, order: Order) {
        // The scheduler is gone only when the agent is ending, and then no order matters.
        let _ = self.orders.send(order).await;
    }
}

/// Runs checks when their time has come.
#[derive(Debug)]
pub struct Scheduler {
    orders: mpsc::Receiver<Order>,
    findings: mpsc::Sender<Finding>,
    outbox: VecDeque<Finding>,
    seq: Arc<AtomicU64>,
    runner: Arc<Runner>,
    entries: Vec<Entry>,
    runs: JoinSet<Outcome>,
}

#[derive(Debug)]
struct Entry {
    service: ServiceId,
    check: Check,
    /// What is asked, or why it cannot be.
    probe: Result<Probe, String>,
    due: Instant,
    run: Option<(AbortHandle, u64)>,
    /// Since the service was started it has not passed: the pause before it is tried again.
    starting: Option<Duration>,
}

enum Event {
    Order(Option<Order>),
    Done(Result<(tokio::task::Id, Outcome), JoinError>),
    Taken,
    Closed,
    Due,
}

impl Scheduler {
    /// Makes a scheduler without checks, and the handle to it.
    pub fn new(client: Arc<Client>, findings: mpsc::Sender<Finding>) -> (Self, Schedule) {
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let seq = Arc::new(AtomicU64::new(1));
        let scheduler = Self {
            orders,
            findings,
            outbox: VecDeque::new(),
            seq: Arc::clone(&seq),
            runner: Arc::new(Runner::new(client)),
            entries: Vec::new(),
            runs: JoinSet::new(),
        };
        (scheduler, Schedule { orders: sender, seq })
    }

    /// Runs until the handle is dropped or nobody takes findings any more.
    pub async fn run(mut self) {
        loop {
            let next = self.begin_due();
            let event = tokio::select! {
                order = self.orders.recv() => Event::Order(order),
                Some(done) = self.runs.join_next_with_id() => Event::Done(done),
                permit = self.findings.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some(finding) = self.outbox.pop_front() {
                            permit.send(finding);
                        }
                        Event::Taken
                    }
                    Err(_) => Event::Closed,
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => Event::Due,
            };
            match event {
                Event::Order(Some(Order::Set(assigned))) => self.set(assigned),
                Event::Order(Some(Order::Kick(service))) => self.kick(&service),
                Event::Done(done) => self.finish(done),
                Event::Due | Event::Taken => {}
                Event::Order(None) | Event::Closed => return,
            }
        }
    }

    /// Begins the runs whose time has come, the longest due first; returns when the next is due,
    /// or `None` if that depends on a run's end.
    fn begin_due(&mut self) -> Option<Instant> {
        loop {
            let has_room = self.runs.len() + self.outbox.len() < RUNS_MAX;
            let next = self
                .entries
                .iter_mut()
                .filter(|entry| entry.run.is_none())
                .min_by_key(|entry| entry.due)
                .filter(|_| has_room)?;
            let now = Instant::now();
            if next.due > now {
                return Some(next.due);
            }
            let seq = self.seq.fetch_add(1, Ordering::Relaxed);
            let every = next.check.every.to_duration();
            next.due = if next.due + every > now { next.due + every } else { now + every };
            let (runner, probe) = (Arc::clone(&self.runner), next.probe.clone());
            let limit = next.check.timeout.to_duration();
            let run = self.runs.spawn(async move {
                match probe {
                    Ok(probe) => runner.run(&probe, limit).await,
                    Err(why) => Outcome::new(Status::Unknown, why),
                }
            });
            next.run = Some((run, seq));
        }
    }

    fn finish(&mut self, done: Result<(tokio::task::Id, Outcome), JoinError>) {
        let (id, outcome) = match done {
            Ok(done) => done,
            Err(error) if error.is_cancelled() => return,
            Err(error) => (error.id(), Outcome::new(Status::Unknown, "the check itself broke")),
        };
        let ran = self.entries.iter_mut().find_map(|entry| {
            let (_, seq) = entry.run.take_if(|(run, _)| run.id() == id)?;
            Some((entry, seq))
        });
        // A run whose check was replaced meanwhile belongs to none.
        if let Some((entry, seq)) = ran {
            entry.try_again_soon(outcome.status);
            self.outbox.push_back(Finding {
                service: entry.service.clone(),
                check: entry.check.name.clone(),
                seq,
                outcome,
            });
        }
    }

    fn set(&mut self, assigned: Vec<Assigned>) {
        let mut before = std::mem::take(&mut self.entries);
        for Assigned { service, checks, facts } in assigned {
            for check in checks {
                let probe = filled(&check.probe, &facts).map_err(|error| error.to_string());
                let same = before.iter().position(|entry| {
                    entry.service == service && entry.check == check && entry.probe == probe
                });
                let entry = if let Some(at) = same {
                    before.swap_remove(at)
                } else {
                    let due = Instant::now() + spread(check.every.to_duration());
                    Entry { service: service.clone(), check, probe, due, run: None, starting: None }
                };
                self.entries.push(entry);
            }
        }
        before.into_iter().for_each(Entry::give_up);
    }

    fn kick(&mut self, service: &ServiceId) {
        let now = Instant::now();
        for entry in self.entries.iter_mut().filter(|entry| entry.service == *service) {
            if let Some((run, _)) = entry.run.take() {
                run.abort();
            }
            entry.due = now;
            entry.starting = Some(STARTING_PAUSE);
        }
    }
}

impl Entry {
    /// Brings the next run forward while the service starts: nobody knows when it will be ready.
    fn try_again_soon(&mut self, found: Status) {
        let Some(pause) = self.starting.take().filter(|_| found == Status::Crit) else { return };
        self.due = self.due.min(Instant::now() + pause);
        self.starting = Some(pause * 2).filter(|next| *next < self.check.every.to_duration());
    }

    fn give_up(self) {
        if let Some((run, _)) = self.run {
            run.abort();
        }
    }
}

/// Returns a random delay for a first run.
fn spread(every: Duration) -> Duration {
    let most = u64::try_from(every.min(FIRST_RUN_SPREAD).as_millis()).unwrap_or(u64::MAX);
    // Without randomness there is no spread, and nothing worse.
    Duration::from_millis(getrandom::u64().unwrap_or(0) % most.saturating_add(1))
}
