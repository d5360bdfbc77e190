//! What is known on disk of a service's project: written before compose is called and after.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trireme_proto::action::RunSpec;
use trireme_proto::digest::Digest;
use trireme_proto::id::{ActionId, Version};
use trireme_proto::model::Driver;
use trireme_proto::time::Span;

use super::engine::Container;
use crate::host::facts::{FillError, NodeFacts};
use crate::host::layout::ServiceDir;
use crate::host::outside::Stage;

/// The content of `project.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Digest of the specification that runs or last ran.
    pub(super) spec: Digest,
    /// Version of that, for people.
    pub(super) version: Version,
    /// How it is stopped, so that this needs no other file.
    pub(super) project: Project,
    /// Action that started it.
    pub(super) action: ActionId,
    /// Boot of the host in which all this holds.
    pub(super) boot: String,
    /// How far it came.
    pub(super) stage: Stage,
    /// Every container of its services as it was before the start, by id.
    pub(super) before: BTreeMap<String, Before>,
    /// Containers that the engine would start again at its own start although they were stopped;
    /// that is taken from them while they are.
    #[serde(default)]
    pub(super) held_down: Vec<String>,
}

/// A container before a start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    /// When it was last started, as the engine words it.
    pub(super) started: String,
    /// Times the engine had started it again by itself.
    pub(super) restarts: u64,
}

/// A project with everything that compose is called with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Project {
    /// Its name.
    pub(super) name: String,
    /// The operator's compose file.
    pub(super) file: String,
    /// Services that the release pins.
    pub(super) services: Vec<String>,
    /// Time its containers have to stop.
    pub(super) stop_timeout: Span,
    /// What `${NAME}` in the file stands for.
    pub(super) env: BTreeMap<String, String>,
}

impl Project {
    /// Fills in what the release says for this node; `None` if another driver runs it.
    pub(super) fn of(
        spec: &RunSpec,
        dir: &ServiceDir,
        node: &NodeFacts,
    ) -> Option<Result<Self, FillError>> {
        let Driver::Compose(driver) = &spec.driver else { return None };
        let facts = dir.facts(node, Some(spec));
        let filled = || {
            let mut env = BTreeMap::new();
            for (name, template) in &spec.release.env {
                env.insert(name.clone(), facts.fill(template)?);
            }
            for (name, value) in [
                ("TRIREME_SERVICE", &facts.service),
                ("TRIREME_NODE", &facts.node),
                ("TRIREME_REGION", &facts.region),
                ("TRIREME_VERSION", &facts.version),
                ("TRIREME_ADDRESS", &facts.address),
            ] {
                env.insert(name.to_owned(), value.clone());
            }
            Ok(Self {
                name: facts.fill(&driver.project)?,
                file: facts.fill(&driver.file)?,
                services: spec.release.images.keys().cloned().collect(),
                stop_timeout: driver.stop_timeout,
                env,
            })
        };
        Some(filled())
    }

    /// Returns the time its containers have to stop, in whole seconds as compose counts.
    pub(super) fn stop_secs(&self) -> i32 {
        i32::try_from(self.stop_timeout.0.div_ceil(1000)).unwrap_or(i32::MAX)
    }

    /// Returns those of the containers that belong to services of the release.
    pub(super) fn own(&self, containers: Vec<Container>) -> Vec<Container> {
        containers.into_iter().filter(|one| self.services.contains(&one.service)).collect()
    }
}

/// Returns how containers are now, to be compared with later.
pub(super) fn snapshot(containers: &[Container]) -> BTreeMap<String, Before> {
    let before = |one: &Container| Before { started: one.started.clone(), restarts: one.restarts };
    containers.iter().map(|one| (one.id.clone(), before(one))).collect()
}
