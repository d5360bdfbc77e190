//! Looks after one service that is a unit of systemd: program pinned by digest, unit file left alone.
//!
//! ```text
//!  fetch   the file comes into the store, while the old release runs
//!  stop    a mark that keeps the unit down ──▶ StopUnit; systemd proves that nothing runs
//!  point   the drop-in is replaced whole (dropin.rs)
//!  start   record: the unit's present invocation ──▶ Reload, StartUnit ──▶ another invocation
//! ```
//!
//! Units belong to systemd and outlive the agent. `unit.json` says what should be, and is written
//! before systemd is called; whatever moment the agent is killed in, the next one compares the
//! invocation before the call with the one that systemd tells of now. The mark is a file that the
//! drop-in asks for: a unit that is enabled does not come back with a reboot, or by somebody's
//! dependency, while the fleet has it stopped.

mod bus;
mod dropin;
mod manager;
mod record;
mod state;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use trireme_proto::action::RunSpec;
use trireme_proto::id::ActionId;

use self::bus::UnitNow;
use self::manager::{failed, held};
use self::record::{Record, Target};
use super::layout::ServiceDir;
use super::outside::{
    ANSWER_WAIT, Happenings, Outside, RETRY_EVERY, SHOWN_EVERY, Stage, look_after,
};
use super::unit::{Command, Given, Kind, Teller};
use super::{HostError, Observation, RunState, Started, Stopped, blocking, durable};

pub(super) use self::manager::Systemd;
pub use self::manager::SystemdError;

/// Longest wait until systemd has begun a start: what the unit comes after may take its time.
const BEGUN_WAIT: Duration = Duration::from_mins(1);
/// Longest wait for an end beyond what the unit has: systemd waits as long again for a process that
/// it has killed, and then for what the unit does after its end.
const END_WAIT: Duration = Duration::from_mins(1);
/// Time to the second look for something that was asked; later ones come at longer intervals.
const FIRST_LOOK: Duration = Duration::from_millis(5);

/// Looks after one unit; see [`Supervisor::run`].
#[derive(Debug)]
pub(super) struct Supervisor {
    given: Given,
    systemd: Arc<Systemd>,
    record: Option<Record>,
    /// The unit before anything of ours ran: it may have run before the fleet came.
    found: Option<Target>,
    /// The unit when systemd last answered, and why it does not now.
    now: UnitNow,
    silent: Option<String>,
    teller: Teller,
}

impl Supervisor {
    /// Finds out what became of the unit while no agent watched; starts and stops nothing.
    pub(super) async fn open(given: Given, systemd: Arc<Systemd>) -> Result<Self, HostError> {
        let record: Option<Record> = durable::read_json(&given.dir.record(Kind::Systemd))?;
        let teller = Teller::new(Arc::clone(&given.changes));
        let (found, now, silent) = (None, UnitNow::default(), None);
        let mut this = Self { given, systemd, record, found, now, silent, teller };
        this.recover().await;
        this.tell();
        Ok(this)
    }

    pub(super) fn watch(&self) -> watch::Receiver<Observation> {
        self.teller.watch()
    }

    async fn recover(&mut self) {
        let until = Instant::now() + ANSWER_WAIT;
        self.look().await;
        while self.silent.is_some() && self.record.is_some() && Instant::now() < until {
            sleep(RETRY_EVERY).await;
            self.look().await;
        }
        if self.stage() == Some(Stage::Starting) && self.is_started() {
            info!(service = %self.given.dir.service(), "found the unit started");
            self.enter_if_possible(Stage::Running).await;
        }
    }

    /// Looks after the unit until nobody can ask any more; it goes on.
    pub(super) async fn run(self, commands: mpsc::Receiver<Command>) {
        look_after(self, commands).await;
    }

    fn stage(&self) -> Option<Stage> {
        self.record.as_ref().map(|record| record.stage)
    }

    fn target(&self) -> Option<&Target> {
        self.record.as_ref().map(|record| &record.target).or(self.found.as_ref())
    }

    fn is_started(&self) -> bool {
        self.record.as_ref().is_some_and(|record| state::is_started(record, &self.now))
    }

    async fn look_or_fail(&mut self, target: &Target) -> Result<(), HostError> {
        let asked = self.systemd.bus.unit(&target.unit).await;
        self.now = asked.map_err(|error| failed(target)(error.into()))?;
        self.silent = None;
        Ok(())
    }

    /// Writes the stage to disk and then believes it.
    async fn enter(&mut self, stage: Stage) -> Result<(), HostError> {
        let Some(record) = &mut self.record else { return Ok(()) };
        let next = Record { stage, ..record.clone() };
        write(&self.given.dir, &next).await?;
        *record = next;
        Ok(())
    }

    /// As [`Self::enter`] where the stage on disk already leads to the right end after a crash.
    async fn enter_if_possible(&mut self, stage: Stage) {
        if let Err(error) = self.enter(stage).await {
            let service = self.given.dir.service();
            warn!(%service, %error, "the record of the unit lags behind");
            if let Some(record) = &mut self.record {
                record.stage = stage;
            }
        }
    }
}

impl Outside for Supervisor {
    /// Goes on with what was cut off: a stop that was begun, a unit that a reboot ended.
    async fn resume(&mut self) {
        let Some(record) = &self.record else { return };
        let rebooted = record.boot != *self.given.boot;
        let result = match record.stage {
            Stage::Stopping => self.stop().await.map(drop),
            stage if rebooted && stage.is_wanted() => self.start_again().await,
            Stage::Starting | Stage::Running | Stage::Stopped => return,
        };
        if let Err(error) = result {
            warn!(service = %self.given.dir.service(), %error, "what was begun is not finished");
        }
    }

    async fn listen(&self) -> Option<Happenings> {
        let unit = &self.target()?.unit;
        self.systemd.bus.happenings(unit).await.ok()
    }

    /// Asks systemd; what it said before stands where it does not answer.
    async fn look(&mut self) {
        if self.record.is_none() {
            let newest = self.given.dir.newest().ok().flatten();
            let target = |spec| self.systemd.target(&spec, &self.given.dir, &self.given.node());
            self.found = newest.and_then(|spec| target(spec).ok());
        }
        let Some(target) = self.target() else { return };
        match self.systemd.bus.unit(&target.unit).await {
            Ok(now) => (self.now, self.silent) = (now, None),
            Err(error) => self.silent = Some(error.to_string()),
        }
    }

    fn is_silent(&self) -> bool {
        self.silent.is_some()
    }

    fn tell(&self) {
        let state = match self.target() {
            Some(target) => state::run_state(&target.unit, self.stage(), &self.now),
            None => RunState::NeverStarted,
        };
        // What systemd does not say may have changed: it does not count as well.
        let state = match (state, &self.silent) {
            (RunState::Running { pid }, Some(why)) => RunState::Unwell { pid, why: why.clone() },
            (state, _) => state,
        };
        let Some(record) = &self.record else {
            return self.teller.tell(Observation { state, ..Observation::nothing() });
        };
        self.teller.tell(Observation {
            state,
            spec: Some(record.spec),
            version: Some(record.version.clone()),
            // A start that has not been shown to have happened is nobody's yet.
            action: Some(record.action).filter(|_| record.stage != Stage::Starting),
            restart: self.now.restarts.into(),
        });
    }

    /// Starts it; a run is always a new one, so that there is nothing to `recreate`.
    async fn start(&mut self, action: ActionId, _recreate: bool) -> Result<Started, HostError> {
        let dir = &self.given.dir;
        let service = dir.service().clone();
        let digest =
            dir.current()?.ok_or_else(|| HostError::NothingCurrent { service: service.clone() })?;
        let spec = dir.load(&digest)?;
        let target = self.systemd.target(&spec, dir, &self.given.node())?;
        self.look_or_fail(&target).await?;
        if let Some(record) = &self.record {
            let same = record.action == action && record.spec == digest;
            if same && record.stage == Stage::Running {
                return Ok(Started::Already);
            }
            if same && record.stage == Stage::Starting && self.is_started() {
                self.enter_if_possible(Stage::Running).await;
                return Ok(Started::Already);
            }
            if !same && record.stage == Stage::Running && self.now.is_up() {
                return Err(HostError::Occupied {
                    service,
                    version: record.version.clone(),
                    action: record.action,
                });
            }
        }
        let intent = Record {
            spec: digest,
            version: spec.release.version.clone(),
            target,
            action,
            boot: self.given.boot.to_string(),
            stage: Stage::Starting,
            before: self.now.invocation.clone(),
        };
        let pid = self.begin(&spec, intent).await?;
        info!(%service, version = %spec.release.version, %action, "started");
        Ok(Started::Now { pid })
    }

    async fn stop(&mut self) -> Result<Stopped, HostError> {
        let nothing = Stopped { was_running: false, killed: false };
        let Some(target) = self.target().cloned() else { return Ok(nothing) };
        self.look_or_fail(&target).await?;
        let is_up = self.now.is_up();
        if !is_up && self.stage() == Some(Stage::Stopped) {
            return Ok(nothing);
        }
        // First the will, then the deed: should the agent die now, the next one goes on.
        self.enter(Stage::Stopping).await?;
        self.tell();
        self.hold().await?;
        if is_up {
            self.end(&target).await?;
        }
        let killed = is_up && self.now.was_killed();
        self.enter_if_possible(Stage::Stopped).await;
        info!(service = %self.given.dir.service(), unit = target.unit, killed, "stopped");
        Ok(Stopped { was_running: is_up, killed })
    }
}

async fn write(dir: &ServiceDir, record: &Record) -> Result<(), HostError> {
    let (path, record) = (dir.record(Kind::Systemd), record.clone());
    blocking(move || durable::write_json(&path, &record)).await
}

/// Starting.
impl Supervisor {
    /// Starts what `intent` says, once that is on disk; leaves nothing running if that fails.
    async fn begin(&mut self, spec: &RunSpec, intent: Record) -> Result<u32, HostError> {
        write(&self.given.dir, &intent).await?;
        let target = intent.target.clone();
        self.record = Some(intent);
        let started = self.up(spec, &target).await;
        if started.is_err() {
            let service = self.given.dir.service().clone();
            let put_down = async {
                self.hold().await?;
                self.end(&target).await
            };
            if let Err(error) = put_down.await {
                warn!(%service, %error, "what was not started is not ended either");
            }
            self.enter_if_possible(Stage::Stopped).await;
        }
        started
    }

    /// Has systemd start the unit and waits until it shows another run.
    async fn up(&mut self, spec: &RunSpec, target: &Target) -> Result<u32, HostError> {
        let (systemd, unit) = (Arc::clone(&self.systemd), &target.unit);
        let gone = failed(target);
        // Whatever became of it since: what is laid over the unit is this release.
        systemd.point(&self.given.dir, Some(spec), &self.given.node())?;
        if self.now.is_stale || !self.now.would_run(&target.argv) {
            systemd.bus.reload().await.map_err(|error| gone(error.into()))?;
            self.look_or_fail(target).await?;
        }
        if self.now.load != "loaded" {
            let (unit, load) = (unit.clone(), self.now.load.clone());
            return Err(gone(SystemdError::NotThere { unit, load }));
        }
        if !self.now.would_run(&target.argv) {
            return Err(gone(SystemdError::Overridden { unit: unit.clone() }));
        }
        // Restarts of this hour are not those of the release before it.
        systemd.bus.forget_failures(unit).await.map_err(|error| gone(error.into()))?;
        let mark = held(&self.given.dir);
        blocking(move || durable::remove(&mark).map_err(HostError::io("remove", mark))).await?;
        let runs = self.now.is_up();
        systemd.bus.start(unit, runs).await.map_err(|error| gone(error.into()))?;
        let until = Instant::now() + BEGUN_WAIT;
        let mut pause = FIRST_LOOK;
        loop {
            self.look_or_fail(target).await?;
            if self.is_started() {
                break;
            }
            if self.now.job == 0 || Instant::now() >= until {
                let (unit, why) = (unit.clone(), self.why_not_begun());
                return Err(gone(SystemdError::NotStarted { unit, why }));
            }
            sleep(pause).await;
            pause = (pause * 2).min(SHOWN_EVERY);
        }
        self.enter_if_possible(Stage::Running).await;
        Ok(self.now.pid)
    }

    /// Says why a start came to nothing, as far as that can be known.
    fn why_not_begun(&self) -> String {
        if self.now.job != 0 {
            return format!("it still waits for others after {} s", BEGUN_WAIT.as_secs());
        }
        if !self.now.condition {
            return "a condition in its unit file does not hold".to_owned();
        }
        format!("it is {}, and what it requires may not run", self.now.active)
    }

    /// Starts what is recorded once more, in the name of the same action.
    async fn start_again(&mut self) -> Result<(), HostError> {
        let Some(record) = self.record.clone() else { return Ok(()) };
        let spec = self.given.dir.load(&record.spec)?;
        let target = self.systemd.target(&spec, &self.given.dir, &self.given.node())?;
        self.look_or_fail(&target).await?;
        let boot = self.given.boot.to_string();
        // A unit that is enabled was started with the host.
        if self.now.is_up() && self.now.would_run(&target.argv) {
            let there = Record { boot, target, stage: Stage::Running, ..record };
            write(&self.given.dir, &there).await?;
            self.record = Some(there);
            return Ok(());
        }
        info!(service = %self.given.dir.service(), "the host was rebooted: the unit is started");
        let before = self.now.invocation.clone();
        let intent = Record { boot, target, before, stage: Stage::Starting, ..record };
        self.begin(&spec, intent).await.map(drop)
    }
}

/// Ending.
impl Supervisor {
    /// Keeps the unit down, whoever would start it.
    async fn hold(&self) -> Result<(), HostError> {
        let mark = held(&self.given.dir);
        let marked = move || {
            if fs::exists(&mark).unwrap_or(false) {
                return Ok(());
            }
            durable::replace(&mark, b"").map_err(HostError::io("write", mark))
        };
        blocking(marked).await
    }

    /// Has systemd stop the unit and waits until nothing of it runs.
    async fn end(&mut self, target: &Target) -> Result<(), HostError> {
        let stopped = self.systemd.bus.stop(&target.unit).await;
        stopped.map_err(|error| failed(target)(error.into()))?;
        let until = Instant::now() + 2 * target.stop_timeout.to_duration() + END_WAIT;
        let mut pause = FIRST_LOOK;
        loop {
            self.look_or_fail(target).await?;
            if !self.now.is_up() {
                return Ok(());
            }
            if Instant::now() >= until {
                let service = self.given.dir.service().clone();
                return Err(HostError::StillRunning { service, pid: self.now.pid });
            }
            sleep(pause).await;
            pause = (pause * 2).min(SHOWN_EVERY);
        }
    }
}
