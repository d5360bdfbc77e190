//! Supervises one service's process, across restarts of the agent and of the host.
//!
//! `run.json` says what should be; the supervisor makes it so. It is written before a process is
//! started and before one is stopped, so whatever moment the agent is killed in, the next one
//! finds the process (by number and start time, or by evidence if the number was not yet
//! written) and goes on: a service is never run twice, and a stop that was begun is finished.
//!
//! ```text
//!   Idle ──start──▶ Running ──ended by itself, policy: again──▶ Waiting ──pause over──▶ Running
//!    ▲ ▲               │  └──────────── policy: leave it ──▶ Idle (Exited)
//!    │ └────stop───────┘                                        │
//!    └──────stop────────────────────────────────────────────────┘ (from Waiting too)
//! ```

use std::sync::{Arc, RwLock};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tracing::{info, warn};
use trireme_proto::action::RunSpec;
use trireme_proto::id::ActionId;
use trireme_proto::model::{Driver, ProcessDriver, StopSignal};

use super::facts::NodeFacts;
use super::launch::Launch;
use super::layout::ServiceDir;
use super::pidfd::Process;
use super::procfs::{self, Evidence};
use super::record::{Exit, ProcessId, RunRecord, Stage};
use super::unit::{Command, Given, Teller};
use super::{
    HostError, Observation, RunState, Started, Stopped, blocking, log, release_name, restart,
};

/// Time a killed process has to vanish: longer means that the kernel holds it, and a person must
/// look.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// Time between looks at a killed group's members.
const KILL_LOOK_EVERY: Duration = Duration::from_millis(10);
/// Looks for a process that was started but not recorded: one is caught by the first unless it
/// has not even reached exec.
const FIND_ATTEMPTS: u32 = 3;
/// Time between such looks.
const FIND_PAUSE: Duration = Duration::from_millis(20);

/// Supervises one service; see [`Supervisor::run`].
#[derive(Debug)]
pub(super) struct Supervisor {
    dir: ServiceDir,
    node: Arc<RwLock<NodeFacts>>,
    boot: Arc<str>,
    record: Option<RunRecord>,
    phase: Phase,
    /// Pause before the present run, if it was started again by policy.
    pause: Option<Duration>,
    teller: Teller,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Running { process: Process, since: Instant },
    Waiting { until: Instant, why: String },
}

enum Event {
    Command(Command),
    Ended,
    Due,
    Look,
    Closed,
}

impl Supervisor {
    /// Finds out what became of the service while no agent watched; starts and stops nothing.
    pub(super) async fn open(Given { dir, node, boot, changes }: Given) -> Result<Self, HostError> {
        let record = dir.read_run()?;
        let teller = Teller::new(changes);
        let mut this = Self { dir, node, boot, record, phase: Phase::Idle, pause: None, teller };
        this.recover().await?;
        this.publish();
        Ok(this)
    }

    /// Returns where what is known of the service can be read at any time.
    pub(super) fn watch(&self) -> watch::Receiver<Observation> {
        self.teller.watch()
    }

    /// Supervises until nobody can ask any more; the process stays.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        if matches!(self.stage(), Some(Stage::Stopping(_)))
            && let Err(error) = self.stop().await
        {
            warn!(service = %self.dir.service(), %error, "a stop begun earlier is not finished");
        }
        let mut looks = interval(log::LOG_LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.publish();
            let own = async {
                match &self.phase {
                    Phase::Idle => std::future::pending().await,
                    Phase::Running { process, .. } => {
                        process.exited().await;
                        Event::Ended
                    }
                    Phase::Waiting { until, .. } => {
                        sleep_until(*until).await;
                        Event::Due
                    }
                }
            };
            let event = tokio::select! {
                command = commands.recv() => command.map_or(Event::Closed, Event::Command),
                event = own => event,
                _ = looks.tick(), if matches!(self.phase, Phase::Running { .. }) => Event::Look,
            };
            match event {
                Event::Command(Command::Start { action, recreate: _, reply }) => {
                    let result = self.start(action).await;
                    self.publish();
                    // Nobody listens if the action ran out of time; the start stands.
                    let _ = reply.send(result);
                }
                Event::Command(Command::Stop { reply }) => {
                    let result = self.stop().await;
                    self.publish();
                    let _ = reply.send(result);
                }
                Event::Command(Command::Look { reply }) => {
                    let _ = reply.send(Ok(()));
                }
                Event::Ended => self.ended().await,
                Event::Due => self.start_again().await,
                Event::Look => self.look().await,
                Event::Closed => return,
            }
        }
    }

    fn stage(&self) -> Option<Stage> {
        self.record.as_ref().map(|record| record.stage)
    }

    fn publish(&self) {
        self.teller.tell(self.observe());
    }

    fn observe(&self) -> Observation {
        let Some(record) = &self.record else {
            return Observation::nothing();
        };
        let state = match (&self.phase, record.stage) {
            (Phase::Running { process, .. }, Stage::Stopping(_)) => {
                RunState::Stopping { pid: process.id().pid }
            }
            (Phase::Running { process, .. }, _) => RunState::Running { pid: process.id().pid },
            (Phase::Waiting { why, .. }, _) => RunState::Backoff { why: why.clone() },
            (Phase::Idle, Stage::Exited { exit }) => RunState::Exited { exit },
            (Phase::Idle, _) => RunState::Stopped,
        };
        Observation {
            state,
            spec: Some(record.spec),
            version: Some(record.version.clone()),
            action: Some(record.action),
            restart: record.restart,
        }
    }

    /// Writes the stage to disk and then believes it.
    async fn enter(&mut self, stage: Stage) -> Result<(), HostError> {
        let Some(record) = &mut self.record else { return Ok(()) };
        let next = RunRecord { stage, ..record.clone() };
        write(&self.dir, &next).await?;
        *record = next;
        Ok(())
    }

    /// As [`Self::enter`] where the stage on disk already leads to the right end after a crash.
    async fn enter_if_possible(&mut self, stage: Stage) {
        if let Err(error) = self.enter(stage).await {
            warn!(service = %self.dir.service(), %error, "the record of the process lags behind");
            if let Some(record) = &mut self.record {
                record.stage = stage;
            }
        }
    }
}

/// Coming back: after a restart of the agent or of the host.
impl Supervisor {
    async fn recover(&mut self) -> Result<(), HostError> {
        let Some(record) = self.record.clone() else { return Ok(()) };
        let rebooted = record.boot != *self.boot;
        let found = match record.stage {
            Stage::Stopped | Stage::Exited { .. } => return Ok(()),
            _ if rebooted => None,
            Stage::Starting => self.find_started(&record).await,
            Stage::Running(id) | Stage::Stopping(id) => Some(id),
        };
        let process = match found {
            Some(id) => Process::adopt(id).map_err(HostError::io("watch", "/proc"))?,
            None => None,
        };
        match (process, record.stage) {
            (Some(process), stage) => {
                let id = process.id();
                info!(service = %self.dir.service(), pid = id.pid, "found the process again");
                self.phase = Phase::Running { process, since: Instant::now() };
                if stage == Stage::Starting {
                    self.enter_if_possible(Stage::Running(id)).await;
                }
            }
            (None, Stage::Stopping(id)) => {
                self.clear_group(id, rebooted).await?;
                self.enter(Stage::Stopped).await?;
            }
            (None, Stage::Running(id)) => {
                self.clear_group(id, rebooted).await?;
                // A reboot ended it, whatever the policy says of ends of its own.
                if rebooted || restart::is_restarted(record.driver.restart, Exit::Unknown) {
                    let why = if rebooted { "the host was rebooted" } else { "it is not there" };
                    self.wait(Duration::ZERO, why.to_owned());
                } else {
                    self.enter(Stage::Exited { exit: Exit::Unknown }).await?;
                }
            }
            (None, _) => self.wait(Duration::ZERO, "it was not started".to_owned()),
        }
        Ok(())
    }

    async fn find_started(&self, record: &RunRecord) -> Option<ProcessId> {
        for _ in 0..FIND_ATTEMPTS {
            let (evidence, since) = (self.evidence(record), record.since);
            let found = blocking(move || procfs::find_started(&evidence, since)).await;
            if found.is_some() {
                return found;
            }
            sleep(FIND_PAUSE).await;
        }
        None
    }

    fn evidence(&self, record: &RunRecord) -> Evidence {
        Evidence {
            instance: record.instance.clone(),
            log: log::inode(&self.dir.log()),
            data: self.dir.data(),
        }
    }

    /// Kills what a process that is gone left of its group, and waits until that is gone too.
    async fn clear_group(&self, id: ProcessId, rebooted: bool) -> Result<(), HostError> {
        let Some(record) = self.record.as_ref().filter(|_| !rebooted) else { return Ok(()) };
        let started = Instant::now();
        loop {
            let evidence = self.evidence(record);
            let members = blocking(move || procfs::group_members(id.pid, &evidence)).await;
            let Some(&pid) = members.iter().find(|&&pid| pid != id.pid) else { return Ok(()) };
            if started.elapsed() > KILL_WAIT {
                return Err(HostError::StillRunning { service: self.dir.service().clone(), pid });
            }
            if let Some(group) = to_pid(id.pid) {
                // Between the look and the kill a new group would have to take the number of one
                // that had members a moment ago; the host gives numbers out in turn.
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            sleep(KILL_LOOK_EVERY).await;
        }
    }
}

/// Starting.
impl Supervisor {
    async fn start(&mut self, action: ActionId) -> Result<Started, HostError> {
        let digest = self
            .dir
            .current()?
            .ok_or_else(|| HostError::NothingCurrent { service: self.dir.service().clone() })?;
        let spec = self.dir.load(&digest)?;
        let mut restart = 0;
        if let Some(record) = &self.record {
            let same = record.action == action && record.spec == digest;
            let stopped = matches!(record.stage, Stage::Stopped | Stage::Stopping(_));
            if same && !stopped {
                return Ok(Started::Already);
            }
            if !matches!(self.phase, Phase::Idle) {
                return Err(HostError::Occupied {
                    service: self.dir.service().clone(),
                    version: record.version.clone(),
                    action: record.action,
                });
            }
            // An undo starts another specification in the name of the same action: a start of
            // its own, counted from zero.
            if same {
                restart = record.restart + 1;
            }
        }
        self.pause = None;
        match self.launch(&spec, action, restart).await {
            Ok(pid) => Ok(Started::Now { pid }),
            Err(error) => {
                self.enter_if_possible(Stage::Stopped).await;
                Err(error)
            }
        }
    }

    /// Starts a process: intent on disk, spawn, record on disk.
    async fn launch(
        &mut self,
        spec: &RunSpec,
        action: ActionId,
        restart: u64,
    ) -> Result<u32, HostError> {
        let Driver::Process(driver) = &spec.driver else {
            return Err(HostError::NotStaged { release: release_name(spec) });
        };
        let service = self.dir.service();
        let nonce = getrandom::u64().map_err(|error| HostError::Io {
            verb: "draw from",
            path: "/dev/urandom".into(),
            source: error.into(),
        })?;
        let intent = RunRecord {
            spec: spec.digest(),
            version: spec.release.version.clone(),
            driver: driver.clone(),
            action,
            restart,
            instance: format!("{service}/{nonce:016x}"),
            boot: self.boot.to_string(),
            since: procfs::ticks_now().saturating_sub(1),
            stage: Stage::Starting,
        };
        write(&self.dir, &intent).await?;
        let instance = intent.instance.clone();
        self.record = Some(intent);
        let node = self.node.read().expect("no holder of this lock can panic").clone();
        let (dir, instance) = (&self.dir, instance.as_str());
        let launch = Launch { dir, node: &node, spec, action, restart, instance, data: None };
        let mut child = launch.spawn().await?;
        let process = match Process::of_child(&child) {
            Ok(process) => process,
            Err(source) => {
                // A process that cannot be watched must not run.
                let _ = child.kill();
                let _ = child.wait();
                return Err(HostError::io("watch", format!("/proc/{}", child.id()))(source));
            }
        };
        let id = process.id();
        let version = &spec.release.version;
        info!(%service, pid = id.pid, %version, %action, restart, "started");
        self.phase = Phase::Running { process, since: Instant::now() };
        // If this cannot be written, the next agent finds the process by its evidence.
        self.enter_if_possible(Stage::Running(id)).await;
        Ok(id.pid)
    }

    /// Starts the recorded specification once more; on failure after a pause again.
    async fn start_again(&mut self) {
        let Some(record) = self.record.clone() else { return };
        let result = match self.dir.load(&record.spec) {
            Ok(spec) => self.launch(&spec, record.action, record.restart + 1).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            warn!(service = %self.dir.service(), %error, "cannot be started again");
            let why = describe(&error);
            let pause = restart::pause(self.pause, Duration::ZERO, random());
            self.pause = Some(pause);
            self.wait(pause, why);
        }
    }

    fn wait(&mut self, pause: Duration, why: String) {
        self.phase = Phase::Waiting { until: Instant::now() + pause, why };
    }
}

/// Ending.
impl Supervisor {
    /// The process ended without having been asked.
    async fn ended(&mut self) {
        let Phase::Running { process, since } = std::mem::replace(&mut self.phase, Phase::Idle)
        else {
            return;
        };
        let id = process.id();
        // The group first: an unreaped child keeps the group's number from being another's.
        if let Err(error) = self.clear_group(id, false).await {
            warn!(service = %self.dir.service(), %error, "what the process left is still there");
        }
        let exit = process.reap();
        let policy = self.record.as_ref().map(|record| record.driver.restart).unwrap_or_default();
        if matches!(self.stage(), Some(Stage::Stopping(_))) {
            // A stop that had to give up waiting has come true after all.
            self.enter_if_possible(Stage::Stopped).await;
            return;
        }
        warn!(service = %self.dir.service(), pid = id.pid, %exit, "ended by itself");
        if restart::is_restarted(policy, exit) {
            let pause = restart::pause(self.pause, since.elapsed(), random());
            self.pause = Some(pause);
            self.wait(pause, exit.to_string());
        } else {
            self.enter_if_possible(Stage::Exited { exit }).await;
        }
    }

    async fn stop(&mut self) -> Result<Stopped, HostError> {
        let Some(record) = &self.record else {
            return Ok(Stopped { was_running: false, killed: false });
        };
        let driver = record.driver.clone();
        let Phase::Running { process, .. } = &self.phase else {
            if record.stage != Stage::Stopped {
                self.enter(Stage::Stopped).await?;
            }
            self.phase = Phase::Idle;
            return Ok(Stopped { was_running: false, killed: false });
        };
        let id = process.id();
        // First the will, then the deed: should the agent die now, the next one goes on.
        self.enter(Stage::Stopping(id)).await?;
        self.publish();
        let Phase::Running { process, .. } = &self.phase else {
            return Ok(Stopped { was_running: false, killed: false });
        };
        let killed = self.end(process, &driver).await?;
        self.clear_group(id, false).await?;
        process.reap();
        info!(service = %self.dir.service(), pid = id.pid, killed, "stopped");
        self.phase = Phase::Idle;
        self.enter_if_possible(Stage::Stopped).await;
        Ok(Stopped { was_running: true, killed })
    }

    /// Asks the process to end, kills it when its time is up; returns whether it was killed.
    async fn end(&self, process: &Process, driver: &ProcessDriver) -> Result<bool, HostError> {
        let pid = process.id().pid;
        let failed = || HostError::io("signal", format!("/proc/{pid}"));
        let signal = match driver.stop_signal {
            StopSignal::Term => Signal::TERM,
            StopSignal::Int => Signal::INT,
            StopSignal::Quit => Signal::QUIT,
        };
        process.signal(signal).map_err(failed())?;
        if timeout(driver.stop_timeout.to_duration(), process.exited()).await.is_ok() {
            return Ok(false);
        }
        if process.has_exited() {
            return Ok(false);
        }
        process.kill_group().map_err(failed())?;
        process.signal(Signal::KILL).map_err(failed())?;
        match timeout(KILL_WAIT, process.exited()).await {
            Ok(()) => Ok(true),
            Err(_) => Err(HostError::StillRunning { service: self.dir.service().clone(), pid }),
        }
    }

    async fn look(&mut self) {
        let dir = self.dir.log();
        if let Err(error) = blocking(move || log::trim(&dir)).await {
            warn!(service = %self.dir.service(), %error, "the log cannot be kept short");
        }
    }
}

async fn write(dir: &ServiceDir, record: &RunRecord) -> Result<(), HostError> {
    let (dir, record) = (dir.clone(), record.clone());
    blocking(move || dir.write_run(&record)).await
}

fn to_pid(number: u32) -> Option<rustix::process::Pid> {
    i32::try_from(number).ok().and_then(rustix::process::Pid::from_raw)
}

/// Returns a random number, or zero where the host has none: only pauses depend on it.
fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}

fn describe(error: &HostError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
