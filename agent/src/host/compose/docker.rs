//! Docker and compose on this host: what a release needs of them before anything stops.

use std::collections::BTreeMap;

use trireme_proto::action::RunSpec;

use super::cli::{Cli, Verb};
use super::engine::{Engine, EngineError};
use super::record::Project;
use super::{pins, state};
use crate::host::allow::ComposeHost;
use crate::host::facts::NodeFacts;
use crate::host::layout::ServiceDir;
use crate::host::tool::ToolError;
use crate::host::{Fetched, HostError, Probed, blocking, release_name};

/// Tells why a project could not be worked on.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The engine did not do or say something.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The compose command failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The release pins what the operator's file does not have.
    #[error("{file} has no service {service}")]
    NoService {
        /// The operator's compose file.
        file: String,
        /// Service of the release.
        service: String,
    },
    /// Images did not come.
    #[error("image {0} was pulled and is not there")]
    NoImage(String),
    /// Compose said it had started everything, and the engine does not show that.
    #[error("not every service of it was started with the image of the release")]
    NotStarted,
}

/// Docker and compose on this host.
#[derive(Debug)]
pub(in crate::host) struct Docker {
    pub(super) host: ComposeHost,
    pub(super) engine: Engine,
}

impl Docker {
    /// Names the engine and the command; asks neither yet.
    pub(in crate::host) fn new(host: ComposeHost) -> Self {
        Self { engine: Engine::new(&host.socket), host }
    }

    /// Returns the project of a specification on this node, if its configuration allows it.
    pub(super) fn project(
        &self,
        spec: &RunSpec,
        dir: &ServiceDir,
        node: &NodeFacts,
    ) -> Result<Project, HostError> {
        let release = || release_name(spec);
        if let Err(source) = spec.release.fits(&spec.driver) {
            return Err(HostError::Misfit { release: release(), source });
        }
        let project = Project::of(spec, dir, node)
            .ok_or_else(|| HostError::NotStaged { release: release() })?
            .map_err(|source| HostError::Template { release: release(), source })?;
        self.host.check(&project.name, project.file.as_ref())?;
        Ok(project)
    }

    /// Brings the images of a release here and keeps its pins; disturbs nothing.
    pub(in crate::host) async fn fetch(
        &self,
        spec: &RunSpec,
        dir: &ServiceDir,
        node: &NodeFacts,
    ) -> Result<Fetched, HostError> {
        let project = self.project(spec, dir, node)?;
        let known = pins::is_staged(dir, spec);
        let (place, pinned) = (dir.clone(), spec.clone());
        blocking(move || pins::stage(&place, &pinned)).await?;
        let fetched = self.bring(spec, &project, dir).await;
        if fetched.is_err() && !known {
            // Without them nothing can be pointed at the release.
            pins::unstage(dir, spec)?;
        }
        fetched.map_err(failed(&project))
    }

    async fn bring(
        &self,
        spec: &RunSpec,
        project: &Project,
        dir: &ServiceDir,
    ) -> Result<Fetched, ComposeError> {
        let (cli, pins) = (Cli::find(&self.host)?, pins::of_release(dir, spec));
        // The file is read by compose itself: what it could not run is refused before anything
        // is stopped.
        let known = cli.run(project, &pins, Verb::Services, None).await?;
        let missing = |service: &&String| !known.lines().any(|line| line.trim() == *service);
        if let Some(service) = project.services.iter().find(missing) {
            let (file, service) = (project.file.clone(), service.clone());
            return Err(ComposeError::NoService { file, service });
        }
        self.pull(spec, project, dir).await
    }

    /// Brings those images of a release here that are not.
    pub(super) async fn pull(
        &self,
        spec: &RunSpec,
        project: &Project,
        dir: &ServiceDir,
    ) -> Result<Fetched, ComposeError> {
        let images = &spec.release.images;
        if state::missing(images, &self.images(spec).await?).is_empty() {
            return Ok(Fetched::Already);
        }
        let (cli, pins) = (Cli::find(&self.host)?, pins::of_release(dir, spec));
        cli.run(project, &pins, Verb::Pull, None).await?;
        match state::missing(images, &self.images(spec).await?).first() {
            Some(image) => Err(ComposeError::NoImage(image.to_string())),
            None => Ok(Fetched::Images),
        }
    }

    /// Returns the ids of those images of a release that are here, by service.
    pub(super) async fn images(
        &self,
        spec: &RunSpec,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        let mut found = BTreeMap::new();
        for (service, image) in &spec.release.images {
            if let Some(id) = self.engine.image(image).await? {
                found.insert(service.clone(), id);
            }
        }
        Ok(found)
    }

    /// Tells whether [`Self::fetch`] was done.
    pub(in crate::host) async fn staged(&self, spec: &RunSpec, dir: &ServiceDir) -> Probed {
        if !pins::is_staged(dir, spec) {
            return Probed::NotDone;
        }
        match self.images(spec).await {
            Ok(found) => Probed::from_bool(state::missing(&spec.release.images, &found).is_empty()),
            Err(error) => Probed::Unknown(error.to_string()),
        }
    }
}

pub(super) fn failed(project: &Project) -> impl Fn(ComposeError) -> HostError {
    let project = project.name.clone();
    move |source| HostError::Compose { project: project.clone(), source }
}
