//! Looks after one service that is a docker-compose project: images pinned by digest, volumes left
//! alone.
//!
//! ```text
//!  fetch   docker pulls by digest, while the old release runs ──▶ pins of the release
//!  stop    compose stop; the engine proves that nothing runs
//!  point   the pins are replaced whole (pins.rs)
//!  start   record: what the engine tells now ──▶ compose up ──▶ the engine tells of new starts
//! ```
//!
//! Containers belong to the engine and outlive the agent. `project.json` says what should be, and
//! is written before compose is called; whatever moment the agent is killed in, the next one
//! compares what the engine told before the call with what it tells now.

mod cli;
mod docker;
mod engine;
mod inside;
mod look;
mod pins;
mod record;
mod state;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use trireme_proto::action::RunSpec;
use trireme_proto::id::ActionId;

use self::cli::{Cli, Verb};
use self::docker::failed;
use self::engine::Container;
use self::record::{Project, Record, snapshot};
use super::layout::ServiceDir;
use super::outside::{
    ANSWER_WAIT, Happenings, Outside, RETRY_EVERY, SHOWN_EVERY, SHOWN_WAIT, Stage, look_after,
};
use super::unit::{Command, Given, Kind, Teller};
use super::{HostError, Observation, RunState, Started, Stopped, blocking, durable};

pub use self::docker::ComposeError;
pub(super) use self::docker::Docker;
pub(super) use self::inside::Inside;
pub(super) use self::pins::{is_pointed, is_staged, point};

/// Looks after one project; see [`Supervisor::run`].
#[derive(Debug)]
pub(super) struct Supervisor {
    given: Given,
    docker: Arc<Docker>,
    record: Option<Record>,
    /// The project before anything of ours ran: it may have run before the fleet came.
    found: Option<Project>,
    /// Its containers when the engine last answered, and why it does not now.
    containers: Vec<Container>,
    silent: Option<String>,
    teller: Teller,
}

impl Supervisor {
    /// Finds out what became of the project while no agent watched; starts and stops nothing.
    pub(super) async fn open(given: Given, docker: Arc<Docker>) -> Result<Self, HostError> {
        let record: Option<Record> = durable::read_json(&given.dir.record(Kind::Compose))?;
        let teller = Teller::new(Arc::clone(&given.changes));
        let (found, containers, silent) = (None, Vec::new(), None);
        let mut this = Self { given, docker, record, found, containers, silent, teller };
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
        if self.stage() == Some(Stage::Starting) && self.is_started().await.unwrap_or(false) {
            info!(service = %self.given.dir.service(), "found the project started");
            self.enter_if_possible(Stage::Running).await;
        }
    }

    /// Looks after the project until nobody can ask any more; its containers stay.
    pub(super) async fn run(self, commands: mpsc::Receiver<Command>) {
        look_after(self, commands).await;
    }

    fn stage(&self) -> Option<Stage> {
        self.record.as_ref().map(|record| record.stage)
    }

    fn project(&self) -> Option<&Project> {
        self.record.as_ref().map(|record| &record.project).or(self.found.as_ref())
    }

    async fn look_or_fail(&mut self, project: &Project) -> Result<(), HostError> {
        let asked = self.docker.engine.containers(&project.name).await;
        let containers = asked.map_err(|error| failed(project)(error.into()))?;
        (self.containers, self.silent) = (project.own(containers), None);
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
            warn!(%service, %error, "the record of the project lags behind");
            if let Some(record) = &mut self.record {
                record.stage = stage;
            }
        }
    }
}

impl Outside for Supervisor {
    /// Goes on with what was cut off: a stop that was begun, a project that a reboot ended.
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
        let name = &self.project()?.name;
        self.docker.engine.happenings(name).await.ok()
    }

    /// Asks the engine; what it said before stands where it does not answer.
    async fn look(&mut self) {
        if self.record.is_none() {
            let newest = self.given.dir.newest().ok().flatten();
            let project = |spec| self.docker.project(&spec, &self.given.dir, &self.given.node());
            self.found = newest.and_then(|spec| project(spec).ok());
        }
        let Some(project) = self.project() else { return };
        match self.docker.engine.containers(&project.name).await {
            Ok(containers) => {
                self.containers = project.own(containers);
                self.silent = None;
            }
            Err(error) => self.silent = Some(error.to_string()),
        }
    }

    fn is_silent(&self) -> bool {
        self.silent.is_some()
    }

    fn tell(&self) {
        let state = match self.project() {
            Some(project) => state::run_state(project, self.stage(), &self.containers),
            None => RunState::NeverStarted,
        };
        // What the engine does not say may have changed: it does not count as well.
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
            restart: state::restarts(&record.before, &self.containers),
        });
    }

    async fn start(&mut self, action: ActionId, recreate: bool) -> Result<Started, HostError> {
        let dir = &self.given.dir;
        let service = dir.service().clone();
        let digest =
            dir.current()?.ok_or_else(|| HostError::NothingCurrent { service: service.clone() })?;
        let spec = dir.load(&digest)?;
        let project = self.docker.project(&spec, dir, &self.given.node())?;
        self.look_or_fail(&project).await?;
        let mut held_down = Vec::new();
        if let Some(record) = &self.record {
            let same = record.action == action && record.spec == digest;
            if same && record.stage == Stage::Running {
                return Ok(Started::Already);
            }
            if same && record.stage == Stage::Starting && self.is_started().await? {
                self.enter_if_possible(Stage::Running).await;
                return Ok(Started::Already);
            }
            if !same && record.stage == Stage::Running && self.any_up() {
                return Err(HostError::Occupied {
                    service,
                    version: record.version.clone(),
                    action: record.action,
                });
            }
            held_down.clone_from(&record.held_down);
        }
        let intent = Record {
            spec: digest,
            version: spec.release.version.clone(),
            project: project.clone(),
            action,
            boot: self.given.boot.to_string(),
            stage: Stage::Starting,
            before: snapshot(&self.containers),
            held_down,
        };
        write(&self.given.dir, &intent).await?;
        self.record = Some(intent);
        match self.up(&spec, &project, recreate).await {
            Ok(pid) => {
                info!(%service, project = project.name, version = %spec.release.version, %action, "started");
                Ok(Started::Now { pid })
            }
            Err(error) => {
                self.enter_if_possible(Stage::Stopped).await;
                Err(error)
            }
        }
    }

    async fn stop(&mut self) -> Result<Stopped, HostError> {
        let nothing = Stopped { was_running: false, killed: false };
        let Some(project) = self.project().cloned() else { return Ok(nothing) };
        self.look_or_fail(&project).await?;
        if !self.any_up() {
            if self.stage() != Some(Stage::Stopped) {
                self.enter(Stage::Stopped).await?;
            }
            return Ok(nothing);
        }
        // First the will, then the deed: should the agent die now, the next one goes on.
        self.enter(Stage::Stopping).await?;
        self.tell();
        self.hold_down(&project).await?;
        self.end(&project).await?;
        let killed = self.containers.iter().any(was_killed);
        info!(service = %self.given.dir.service(), project = project.name, killed, "stopped");
        self.enter_if_possible(Stage::Stopped).await;
        Ok(Stopped { was_running: true, killed })
    }
}

async fn write(dir: &ServiceDir, record: &Record) -> Result<(), HostError> {
    let (path, record) = (dir.record(Kind::Compose), record.clone());
    blocking(move || durable::write_json(&path, &record)).await
}

/// Starting.
impl Supervisor {
    /// Has compose start the project and waits until the engine shows it.
    async fn up(
        &mut self,
        spec: &RunSpec,
        project: &Project,
        recreate: bool,
    ) -> Result<u32, HostError> {
        let docker = Arc::clone(&self.docker);
        let work = async {
            let dir = &self.given.dir;
            // An image that was pruned since is fetched again: better late than not at all.
            docker.pull(spec, project, dir).await?;
            let (cli, lock) = (Cli::find(&docker.host)?, dir.file("compose.lock"));
            cli.run(project, &pins::path(dir), Verb::Up { recreate }, Some(&lock)).await?;
            let held = self.record.iter().flat_map(|record| &record.held_down);
            for id in held {
                docker.engine.set_restart(id, "always").await?;
            }
            Ok(())
        };
        work.await.map_err(failed(project))?;
        let until = Instant::now() + SHOWN_WAIT;
        while !self.is_started().await? {
            if Instant::now() >= until {
                return Err(failed(project)(ComposeError::NotStarted));
            }
            sleep(SHOWN_EVERY).await;
            self.look_or_fail(project).await?;
        }
        if let Some(record) = &mut self.record {
            record.held_down.clear();
        }
        self.enter_if_possible(Stage::Running).await;
        match state::run_state(project, Some(Stage::Running), &self.containers) {
            RunState::Running { pid } => Ok(pid),
            _ => Ok(0),
        }
    }

    /// Starts what is recorded once more, in the name of the same action.
    async fn start_again(&mut self) -> Result<(), HostError> {
        let Some(record) = self.record.clone() else { return Ok(()) };
        info!(service = %self.given.dir.service(), "the host was rebooted: the project is started");
        let spec = self.given.dir.load(&record.spec)?;
        let boot = self.given.boot.to_string();
        let before = snapshot(&self.containers);
        // What the engine has started again by itself is as it should be.
        let before = before.into_iter().filter(|(id, _)| !self.is_running(id)).collect();
        let intent = Record { boot, before, stage: Stage::Starting, ..record };
        write(&self.given.dir, &intent).await?;
        let project = intent.project.clone();
        self.record = Some(intent);
        self.up(&spec, &project, false).await.map(drop)
    }

    fn is_running(&self, id: &str) -> bool {
        self.containers.iter().any(|one| one.id == id && one.is_up())
    }

    fn any_up(&self) -> bool {
        self.containers.iter().any(Container::is_up)
    }

    /// Returns whether the start that is recorded has come true.
    async fn is_started(&self) -> Result<bool, HostError> {
        let Some(record) = &self.record else { return Ok(false) };
        let spec = self.given.dir.load(&record.spec)?;
        let images = self.docker.images(&spec).await;
        let images = images.map_err(|error| failed(&record.project)(error.into()))?;
        Ok(state::is_started(record, &self.containers, &images))
    }
}

/// Ending.
impl Supervisor {
    /// Sees to it that the engine does not start again what is about to be stopped, when it is
    /// itself started again: `restart: always` says just that.
    async fn hold_down(&mut self, project: &Project) -> Result<(), HostError> {
        let always = |one: &&Container| one.restart == "always";
        let ids: Vec<String> =
            self.containers.iter().filter(always).map(|one| one.id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        if let Some(record) = &mut self.record {
            record.held_down.extend(ids.iter().cloned());
        }
        self.enter(Stage::Stopping).await?;
        for id in ids {
            let updated = self.docker.engine.set_restart(&id, "no").await;
            updated.map_err(|error| failed(project)(error.into()))?;
        }
        Ok(())
    }

    /// Stops every container: by compose in its order, and what is left by the engine.
    async fn end(&mut self, project: &Project) -> Result<(), HostError> {
        let dir = &self.given.dir;
        let (lock, pins) = (dir.file("compose.lock"), pins::path(dir));
        let pins = if pins.is_file() { pins } else { project.file.clone().into() };
        let asked = match Cli::find(&self.docker.host) {
            Ok(cli) => cli.run(project, &pins, Verb::Stop, Some(&lock)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = asked {
            warn!(service = %dir.service(), %error, "compose cannot stop it: the engine will");
        }
        self.look_or_fail(project).await?;
        for id in self.containers.iter().filter(|one| one.is_up()).map(|one| &one.id) {
            let stopped = self.docker.engine.stop(id, project.stop_secs()).await;
            stopped.map_err(|error| failed(project)(error.into()))?;
        }
        self.look_or_fail(project).await?;
        match self.containers.iter().find(|one| one.is_up()) {
            None => Ok(()),
            Some(one) => {
                let service = self.given.dir.service().clone();
                Err(HostError::StillRunning { service, pid: one.pid })
            }
        }
    }
}

/// Returns whether the engine had to end a container with SIGKILL.
fn was_killed(one: &Container) -> bool {
    one.status == engine::Status::Exited { code: 128 + 9 }
}
