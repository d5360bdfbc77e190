//! What the Docker engine says of a project's containers, asked over its socket.
//!
//! The engine is asked, not compose: it answers in milliseconds, and it tells what runs, not what
//! a file says should. Containers are told by the labels that compose, old and new, gives them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerUpdateBody, HealthStatusEnum,
    RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    EventsOptionsBuilder, ListContainersOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, future};
use tokio::sync::OnceCell;
use trireme_proto::model::Image;

/// Longest wait for one answer of the engine, in seconds: a stop has longer, see there.
const ANSWER_SECS: u64 = 20;
/// Oldest engine that is asked before it has told its own version: Docker 20.10.
const OLDEST: bollard::ClientVersion =
    bollard::ClientVersion { major_version: 1, minor_version: 41 };

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
/// Says `True` on what `compose run` started, which is nobody's service.
const ONE_OFF: &str = "com.docker.compose.oneoff";

/// The way to the engine; connects when it is first asked.
#[derive(Debug)]
pub(crate) struct Engine {
    socket: PathBuf,
    docker: OnceCell<Docker>,
}

/// Tells why the engine did not do or say something.
#[derive(Debug, thiserror::Error)]
#[error("docker engine at {socket} cannot {what}", socket = .socket.display())]
pub struct EngineError {
    what: String,
    socket: PathBuf,
    #[source]
    source: Error,
}

/// A container of a project's service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host) struct Container {
    /// Its id.
    pub(in crate::host) id: String,
    /// Service of the project it belongs to.
    pub(in crate::host) service: String,
    /// Id of its image.
    pub(super) image: String,
    /// What it does.
    pub(super) status: Status,
    /// What its own health check says; `None` if it has none.
    pub(super) health: Option<Health>,
    /// When it was last started, as the engine words it: two starts never have the same.
    pub(super) started: String,
    /// Times the engine has started it again by itself.
    pub(super) restarts: u64,
    /// Its first process on the host; 0 if none runs.
    pub(super) pid: u32,
    /// What becomes of it when it ends.
    pub(super) restart: String,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::host) enum Status {
    /// It runs.
    Running,
    /// It ended and will be started again by the engine.
    Restarting {
        /// Its last exit code.
        code: i64,
    },
    /// It ended, and stays so.
    Exited {
        /// Its exit code.
        code: i64,
    },
    /// It is there and was never started, or is held still.
    Idle,
}

/// What a container's health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::host) enum Health {
    Starting,
    Healthy,
    Unhealthy,
}

impl Container {
    /// Returns whether a process of it runs, or will again unless it is stopped.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.status, Status::Running | Status::Restarting { .. }) || self.pid != 0
    }
}

impl Engine {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), docker: OnceCell::new() }
    }

    /// Returns the client, which speaks the engine's own version of its API.
    pub(crate) async fn docker(&self) -> Result<&Docker, EngineError> {
        let connect = async || {
            let socket = self.socket.to_string_lossy();
            let docker = Docker::connect_with_unix(&socket, ANSWER_SECS, &OLDEST)?;
            docker.negotiate_version().await
        };
        self.docker.get_or_try_init(connect).await.map_err(self.failed("be reached"))
    }

    pub(super) fn failed(&self, what: impl Into<String>) -> impl FnOnce(Error) -> EngineError {
        let (what, socket) = (what.into(), self.socket.clone());
        move |source| EngineError { what, socket, source }
    }

    /// Returns the containers of a project, whatever they do, in the order of their services.
    pub(super) async fn containers(&self, project: &str) -> Result<Vec<Container>, EngineError> {
        let mut found = self.inspected(project, container).await?;
        found.sort_by(|a, b| (&a.service, &a.id).cmp(&(&b.service, &b.id)));
        Ok(found)
    }

    /// Returns what `read` finds in what the engine says of each container of a project.
    pub(super) async fn inspected<T>(
        &self,
        project: &str,
        read: impl Fn(ContainerInspectResponse) -> Option<T>,
    ) -> Result<Vec<T>, EngineError> {
        let docker = self.docker().await?;
        let filters = HashMap::from([("label", vec![format!("{PROJECT}={project}")])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let failed = || self.failed(format!("list the containers of {project}"));
        let listed = docker.list_containers(Some(options)).await.map_err(failed())?;
        let ids = listed.into_iter().filter_map(|one| one.id);
        let asked = ids.map(async |id| match docker.inspect_container(&id, None).await {
            Ok(found) => Ok(read(found)),
            // It went between the two questions.
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        });
        let found = future::try_join_all(asked).await.map_err(failed())?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Returns the id of an image, if it is here.
    pub(super) async fn image(&self, image: &Image) -> Result<Option<String>, EngineError> {
        match self.docker().await?.inspect_image(&image.to_string()).await {
            Ok(found) => Ok(found.id),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.failed(format!("look for image {image}"))(error)),
        }
    }

    /// Stops a container, killed after `secs`.
    pub(super) async fn stop(&self, id: &str, secs: i32) -> Result<(), EngineError> {
        let patient = u64::try_from(secs).unwrap_or(0).saturating_add(ANSWER_SECS);
        let docker = self.docker().await?.clone();
        let docker = docker.with_timeout(std::time::Duration::from_secs(patient));
        let options = StopContainerOptionsBuilder::new().t(secs).build();
        match docker.stop_container(id, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(self.failed(format!("stop container {id}"))(error)),
        }
    }

    /// Says what becomes of a container when it ends; one that is gone is left at that.
    pub(super) async fn set_restart(&self, id: &str, policy: &str) -> Result<(), EngineError> {
        let name = match policy {
            "always" => RestartPolicyNameEnum::ALWAYS,
            _ => RestartPolicyNameEnum::NO,
        };
        let policy = RestartPolicy { name: Some(name), maximum_retry_count: None };
        let body = ContainerUpdateBody { restart_policy: Some(policy), ..Default::default() };
        match self.docker().await?.update_container(id, body).await {
            Ok(()) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(self.failed(format!("update container {id}"))(error)),
        }
    }

    /// Returns a stream that has an item whenever something happened to a project's containers;
    /// it ends when the engine does.
    pub(super) async fn happenings(
        &self,
        project: &str,
    ) -> Result<BoxStream<'static, ()>, EngineError> {
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("label", vec![format!("{PROJECT}={project}")]),
        ]);
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let docker = self.docker().await?.clone();
        let events = docker.events(Some(options));
        Ok(events.take_while(|event| future::ready(event.is_ok())).map(|_| ()).boxed())
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}

/// Reads what the engine says of a container; `None` if it is no service's.
pub(super) fn container(found: ContainerInspectResponse) -> Option<Container> {
    let mut labels = found.config?.labels?;
    if labels.get(ONE_OFF).is_some_and(|one_off| one_off.eq_ignore_ascii_case("true")) {
        return None;
    }
    let state = found.state?;
    let code = state.exit_code.unwrap_or_default();
    let status = match state.status? {
        ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING => Status::Running,
        ContainerStateStatusEnum::RESTARTING => Status::Restarting { code },
        ContainerStateStatusEnum::EXITED
        | ContainerStateStatusEnum::DEAD
        | ContainerStateStatusEnum::REMOVING => Status::Exited { code },
        ContainerStateStatusEnum::CREATED
        | ContainerStateStatusEnum::PAUSED
        | ContainerStateStatusEnum::EMPTY => Status::Idle,
    };
    let health = match state.health.and_then(|health| health.status) {
        Some(HealthStatusEnum::STARTING) => Some(Health::Starting),
        Some(HealthStatusEnum::HEALTHY) => Some(Health::Healthy),
        Some(HealthStatusEnum::UNHEALTHY) => Some(Health::Unhealthy),
        Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => None,
    };
    let policy = found.host_config.and_then(|host| host.restart_policy).and_then(|p| p.name);
    Some(Container {
        id: found.id?,
        service: labels.remove(SERVICE)?,
        image: found.image.unwrap_or_default(),
        status,
        health,
        started: state.started_at.unwrap_or_default(),
        restarts: found.restart_count.and_then(|n| n.try_into().ok()).unwrap_or(0),
        pid: state.pid.and_then(|pid| pid.try_into().ok()).unwrap_or(0),
        restart: policy.map(|name| name.to_string()).unwrap_or_default(),
    })
}
