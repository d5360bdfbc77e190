//! The real host: one directory, one supervisor task for each service in it.
//!
//! Dropping a [`Machine`] ends the supervisors, never the services; opening it again on the same
//! directory finds them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::debug;
use trireme_proto::action::RunSpec;
use trireme_proto::digest::Digest;
use trireme_proto::id::{ActionId, NAME_LEN_MAX, ServiceId};
use trireme_proto::model::Driver;
use trireme_proto::query::LogsQuestion;
use trireme_proto::time::Span;

use super::allow::{Drivers, Pattern};
use super::artifact::{self, Fetched};
use super::compose::{self, Docker};
use super::exec::Once;
use super::layout::ServiceDir;
use super::systemd::{self, Systemd};
use super::unit::{Command, Given, Kind, Unit};
use super::{
    Facts, Host, HostError, Lines, LinesError, NodeFacts, Observation, Probed, Quiesced, RunState,
    Started, Stopped, blocking, durable, log, process, procfs, release_name,
};
use crate::http::Client;

/// Requests waiting for one supervisor: one action works on a service at a time, and one more may
/// have run out of time.
const COMMANDS_MAX: usize = 4;
/// Time between questions for work in flight: short against any drain, long against a request.
const IN_FLIGHT_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for one answer to that question.
const IN_FLIGHT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest answer that is looked at: it should be a number.
const IN_FLIGHT_BYTES_MAX: usize = 64;

/// The machine the agent runs on.
#[derive(Debug)]
pub struct Machine {
    services: PathBuf,
    node: Arc<RwLock<NodeFacts>>,
    boot: Arc<str>,
    client: Arc<Client>,
    docker: Arc<Docker>,
    systemd: Arc<Systemd>,
    units: Mutex<Units>,
    changes: Arc<watch::Sender<u64>>,
    /// Services beside which programs may be run.
    exec: Vec<Pattern>,
    /// Runs of such programs that were begun.
    once: Arc<Once>,
    /// Files that may be read for operators, by service and name.
    logs: RwLock<BTreeMap<ServiceId, BTreeMap<String, String>>>,
}

#[derive(Debug, Default)]
struct Units {
    by_service: BTreeMap<ServiceId, Unit>,
    tasks: JoinSet<()>,
}

impl Machine {
    /// Opens the agent's directory and finds every service that was started from it.
    ///
    /// What should run and does not is started; what should not run any more is stopped. Must be
    /// called inside a runtime, and by one agent at a time.
    pub async fn open(
        root: &Path,
        node: NodeFacts,
        client: Arc<Client>,
        drivers: Drivers,
    ) -> Result<Self, HostError> {
        let services = root.join("services");
        fs::create_dir_all(&services).map_err(HostError::io("make", &services))?;
        // Canonical, because processes are recognised by their directories too.
        let services = services.canonicalize().map_err(HostError::io("find", &services))?;
        let boot =
            procfs::boot_id().map_err(HostError::io("read", "/proc/sys/kernel/random/boot_id"))?;
        let machine = Self {
            node: Arc::new(RwLock::new(node)),
            boot: boot.into(),
            client,
            docker: Arc::new(Docker::new(drivers.compose)),
            systemd: Arc::new(Systemd::new(drivers.systemd)),
            exec: drivers.exec,
            once: Arc::new(Once::open(root)?),
            units: Mutex::default(),
            changes: Arc::new(watch::Sender::new(0)),
            services,
            logs: RwLock::default(),
        };
        for service in machine.on_disk()? {
            machine.supervise(service, None).await?;
        }
        machine.end_runs().await;
        Ok(machine)
    }

    /// Returns a counter that moves whenever [`Host::observe`] has something new to tell.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Replaces what is known of the node; processes started from now on learn it.
    pub fn set_node(&self, node: NodeFacts) {
        *self.node.write().expect("no holder of this lock can panic") = node;
    }

    /// Replaces the files that may be read for operators: what the manifests declare, no more.
    pub fn set_logs(&self, logs: BTreeMap<ServiceId, BTreeMap<String, String>>) {
        *self.logs.write().expect("no holder of this lock can panic") = logs;
    }

    /// Returns where the source that a question names is found.
    fn log_path(&self, question: &LogsQuestion) -> Result<PathBuf, LinesError> {
        let service = &question.service;
        let Some(name) = &question.file else { return Ok(log::path(&self.dir(service).log())) };
        let file = name.chars().take(NAME_LEN_MAX).collect::<String>();
        let logs = self.logs.read().expect("no holder of this lock can panic");
        let declared = logs.get(service).and_then(|files| files.get(name));
        let Some(template) = declared else {
            return Err(LinesError::Undeclared { service: service.clone(), file });
        };
        let path = self.facts(service).fill(template);
        let why = |error: super::facts::FillError| error.to_string();
        path.map(PathBuf::from).map_err(|error| LinesError::Template { file, why: why(error) })
    }

    pub(super) fn node(&self) -> NodeFacts {
        self.node.read().expect("no holder of this lock can panic").clone()
    }

    /// Returns the supervisor of a service, if it has one.
    pub(super) fn unit(&self, service: &ServiceId) -> Option<Unit> {
        self.units().by_service.get(service).cloned()
    }

    /// Returns whether this node lets admins run programs beside a service.
    pub(super) fn may_exec(&self, service: &ServiceId) -> bool {
        self.exec.iter().any(|pattern| pattern.allows(service.as_str()))
    }

    pub(super) fn once(&self) -> &Arc<Once> {
        &self.once
    }

    pub(super) fn docker(&self) -> &Arc<Docker> {
        &self.docker
    }

    fn on_disk(&self) -> Result<Vec<ServiceId>, HostError> {
        let entries =
            fs::read_dir(&self.services).map_err(HostError::io("list", &self.services))?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
    }

    fn units(&self) -> MutexGuard<'_, Units> {
        self.units.lock().expect("no holder of this lock can panic")
    }

    fn dir(&self, service: &ServiceId) -> ServiceDir {
        ServiceDir::new(&self.services, service.clone())
    }

    /// Returns the service's supervisor, made when it is first needed; `kind` says which one
    /// where nothing on disk does.
    async fn supervise(&self, service: ServiceId, kind: Option<Kind>) -> Result<Unit, HostError> {
        if let Some(unit) = self.units().by_service.get(&service) {
            return Ok(unit.clone());
        }
        let dir = self.dir(&service);
        dir.prepare()?;
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let kind = dir.kind()?.or(kind).unwrap_or(Kind::Process);
        let given = Given {
            dir: dir.clone(),
            node: Arc::clone(&self.node),
            boot: Arc::clone(&self.boot),
            changes: Arc::clone(&self.changes),
        };
        let (seen, run): (_, BoxFuture<'static, ()>) = match kind {
            Kind::Process => {
                let supervisor = process::Supervisor::open(given).await?;
                (supervisor.watch(), Box::pin(supervisor.run(inbox)))
            }
            Kind::Compose => {
                let docker = Arc::clone(&self.docker);
                let supervisor = compose::Supervisor::open(given, docker).await?;
                (supervisor.watch(), Box::pin(supervisor.run(inbox)))
            }
            Kind::Systemd => {
                let systemd = Arc::clone(&self.systemd);
                let supervisor = systemd::Supervisor::open(given, systemd).await?;
                (supervisor.watch(), Box::pin(supervisor.run(inbox)))
            }
        };
        let mut units = self.units();
        let Units { by_service, tasks } = &mut *units;
        // Two callers may have come here at once; a service that had no supervisor has no
        // process either, so the second one's is dropped unused.
        let unit = by_service.entry(service).or_insert_with(|| {
            tasks.spawn(run);
            Unit { kind, dir, commands, seen }
        });
        Ok(unit.clone())
    }

    /// Returns the supervisor that can start `spec`; one of another driver, under which nothing
    /// runs any more, gives way to it.
    async fn take_over(&self, service: &ServiceId, spec: &RunSpec) -> Result<(), HostError> {
        let kind = Kind::of(&spec.driver);
        let unit = self.supervise(service.clone(), Some(kind)).await?;
        if unit.kind == kind {
            return Ok(());
        }
        let seen = unit.seen.borrow().clone();
        if let (true, Some(version), Some(action)) = (seen.is_running(), seen.version, seen.action)
        {
            return Err(HostError::Occupied { service: service.clone(), version, action });
        }
        let record = unit.dir.record(unit.kind);
        durable::remove(&record).map_err(HostError::io("remove", record))?;
        self.units().by_service.remove(service);
        self.supervise(service.clone(), Some(kind)).await.map(drop)
    }

    async fn ask<T>(
        &self,
        service: &ServiceId,
        command: impl FnOnce(oneshot::Sender<Result<T, HostError>>) -> Command,
    ) -> Result<T, HostError> {
        let unit = self.supervise(service.clone(), None).await?;
        let ending = || HostError::Ending { service: service.clone() };
        let (reply, answer) = oneshot::channel();
        unit.commands.send(command(reply)).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }

    async fn in_flight(&self, url: &str) -> Result<String, String> {
        let asked = async {
            let mut response = self.client.get(url).await.map_err(|error| error.to_string())?;
            if !response.is_success() {
                return Err(format!("status {}", response.status()));
            }
            let body = response.read_up_to(IN_FLIGHT_BYTES_MAX).await;
            let body = body.map_err(|error| error.to_string())?;
            Ok(String::from_utf8_lossy(&body).trim().to_owned())
        };
        match tokio::time::timeout(IN_FLIGHT_TIMEOUT, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {IN_FLIGHT_TIMEOUT:?}")),
        }
    }
}

impl Host for Machine {
    async fn fetch(&self, spec: &RunSpec) -> Result<Fetched, HostError> {
        let release = || release_name(spec);
        let service = &spec.release.service;
        let unit = self.supervise(service.clone(), Some(Kind::of(&spec.driver))).await?;
        let (dir, added) = (unit.dir.clone(), spec.clone());
        blocking(move || dir.add(&added)).await?;
        let dir = unit.dir;
        let fetched = match (&spec.driver, &spec.release.artifact) {
            (Driver::Process(_), Some(file)) => {
                let to = dir.artifact(&spec.digest());
                let fetched = artifact::fetch(&self.client, file, &to).await;
                fetched.map_err(|source| HostError::Fetch { release: release(), source })?
            }
            (Driver::Systemd(_), Some(file)) => {
                self.systemd.fetch(&self.client, spec, file, &dir, &self.node()).await?
            }
            (Driver::Process(_) | Driver::Systemd(_), None) => {
                return Err(HostError::NotStaged { release: release() });
            }
            (Driver::Compose(_), _) => self.docker.fetch(spec, &dir, &self.node()).await?,
        };
        // It may run already, though nobody here has started it: that is seen from now on.
        self.ask(service, |reply| Command::Look { reply }).await?;
        Ok(fetched)
    }

    async fn staged(&self, spec: &RunSpec) -> Probed {
        let dir = self.dir(&spec.release.service);
        let digest = spec.digest();
        match dir.spec(&digest) {
            Ok(Some(_)) => {}
            Ok(None) => return Probed::NotDone,
            Err(error) => return Probed::Unknown(error.to_string()),
        }
        let (path, expected) = match (&spec.driver, &spec.release.artifact) {
            (Driver::Compose(_), _) => return self.docker.staged(spec, &dir).await,
            (Driver::Process(_) | Driver::Systemd(_), Some(file)) => {
                (dir.artifact(&digest), file.sha256)
            }
            (Driver::Process(_) | Driver::Systemd(_), None) => return Probed::NotDone,
        };
        match blocking(move || artifact::digest_of(&path)).await {
            Ok(found) => Probed::from_bool(found == expected),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Probed::NotDone,
            Err(error) => Probed::Unknown(format!("the artifact cannot be read: {error}")),
        }
    }

    async fn quiesce(
        &self,
        service: &ServiceId,
        in_flight: Option<&str>,
        timeout: Span,
    ) -> Quiesced {
        let until = Instant::now() + timeout.to_duration();
        let facts = self.facts(service);
        let url = match in_flight.map(|template| facts.fill(template)).transpose() {
            Ok(url) => url,
            Err(error) => {
                sleep_until(until).await;
                return Quiesced::TimedOut(Some(error.to_string()));
            }
        };
        let mut last = None;
        loop {
            if !self.observe(service).is_running() {
                return Quiesced::NotRunning;
            }
            if let Some(url) = &url {
                let Ok(answer) = timeout_at(until, self.in_flight(url)).await else { break };
                debug!(%service, ?answer, "asked for work in flight");
                match answer {
                    Ok(number) if number == "0" => return Quiesced::Empty,
                    Ok(other) | Err(other) => last = Some(other),
                }
            }
            if Instant::now() + IN_FLIGHT_EVERY >= until {
                sleep_until(until).await;
                break;
            }
            sleep(IN_FLIGHT_EVERY).await;
        }
        Quiesced::TimedOut(last)
    }

    async fn stop(&self, service: &ServiceId) -> Result<Stopped, HostError> {
        self.ask(service, |reply| Command::Stop { reply }).await
    }

    fn probe_stop(&self, service: &ServiceId) -> Probed {
        Probed::from_bool(matches!(
            self.observe(service).state,
            RunState::NeverStarted | RunState::Stopped | RunState::Exited { .. }
        ))
    }

    async fn point(&self, service: &ServiceId, spec: Option<&RunSpec>) -> Result<(), HostError> {
        let kind = spec.map(|spec| Kind::of(&spec.driver));
        let unit = self.supervise(service.clone(), kind).await?;
        let running = self.observe(service).spec;
        let spec = spec.cloned();
        let (systemd, node) = (Arc::clone(&self.systemd), self.node());
        blocking(move || {
            // The pointer last: who reads it may rely on all the rest.
            unit.dir.require_staged(spec.as_ref())?;
            compose::point(&unit.dir, spec.as_ref().filter(|spec| is_compose(spec)))?;
            systemd.point(&unit.dir, spec.as_ref(), &node)?;
            unit.dir.point(spec.as_ref(), running.as_ref())
        })
        .await
    }

    fn probe_point(&self, service: &ServiceId, spec: Option<&Digest>) -> Probed {
        let pointed = || {
            let dir = self.dir(service);
            if dir.current()?.as_ref() != spec {
                return Ok(false);
            }
            let spec = spec.map(|digest| dir.load(digest)).transpose()?;
            Ok(compose::is_pointed(&dir, spec.as_ref().filter(|spec| is_compose(spec)))?
                && self.systemd.is_pointed(&dir, spec.as_ref(), &self.node())?)
        };
        match pointed() {
            Ok(pointed) => Probed::from_bool(pointed),
            Err(error) => Probed::Unknown(HostError::to_string(&error)),
        }
    }

    fn current(&self, service: &ServiceId) -> Result<Option<RunSpec>, HostError> {
        let dir = self.dir(service);
        match dir.current()? {
            Some(digest) => dir.load(&digest).map(Some),
            None => Ok(None),
        }
    }

    async fn start(
        &self,
        service: &ServiceId,
        action: ActionId,
        recreate: bool,
    ) -> Result<Started, HostError> {
        if let Some(spec) = self.current(service)? {
            self.take_over(service, &spec).await?;
        }
        self.ask(service, |reply| Command::Start { action, recreate, reply }).await
    }

    fn probe_start(&self, service: &ServiceId, spec: &Digest, action: ActionId) -> Probed {
        let seen = self.observe(service);
        let same = seen.spec.as_ref() == Some(spec) && seen.action == Some(action);
        Probed::from_bool(
            same && matches!(
                seen.state,
                RunState::Running { .. }
                    | RunState::Backoff { .. }
                    | RunState::Exited { .. }
                    | RunState::Unwell { .. }
                    | RunState::Broken { .. }
            ),
        )
    }

    fn observe(&self, service: &ServiceId) -> Observation {
        match self.units().by_service.get(service) {
            Some(unit) => unit.seen.borrow().clone(),
            None => Observation::nothing(),
        }
    }

    fn facts(&self, service: &ServiceId) -> Facts {
        let current = self.current(service).unwrap_or_default();
        self.dir(service).facts(&self.node(), current.as_ref())
    }

    async fn lines(&self, question: &LogsQuestion) -> Result<Lines, LinesError> {
        let dir = self.dir(&question.service);
        let newest = dir.newest().ok().flatten().filter(|_| question.file.is_none());
        if let Some(unit) = newest.and_then(|spec| self.systemd.unit(&spec, &dir, &self.node())) {
            return Lines::of_unit(unit, question).await;
        }
        Lines::open(self.log_path(question)?, question.clone()).await
    }
}

fn is_compose(spec: &RunSpec) -> bool {
    matches!(spec.driver, Driver::Compose(_))
}
