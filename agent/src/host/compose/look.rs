//! A look at the containers of a project, for operators.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerMemoryStats};
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use tokio::time::Instant;
use trireme_proto::query::{Instance, InstanceUse, PARTS_MAX};

use super::docker::{Docker, failed};
use super::engine::{self, EngineError, Health, Status};
use super::record::{Project, Record};
use crate::host::facts::NodeFacts;
use crate::host::layout::ServiceDir;
use crate::host::lines::stamp;
use crate::host::look::Sample;
use crate::host::unit::Kind;
use crate::host::{HostError, durable};

/// What is said of a container that runs.
const RUNNING: &str = "running";

impl Docker {
    /// Returns the containers of the services that the release pins, by service.
    pub(in crate::host) async fn instances(
        &self,
        dir: &ServiceDir,
        node: &NodeFacts,
    ) -> Result<Vec<Instance>, HostError> {
        let Some(project) = self.known(dir, node)? else { return Ok(Vec::new()) };
        let found = self.engine.inspected(&project.name, read).await;
        let mut found = found.map_err(|error| failed(&project)(error.into()))?;
        found.retain(|(service, _)| project.services.contains(service));
        found.sort_by(|a, b| (&a.0, &a.1.name).cmp(&(&b.0, &b.1.name)));
        Ok(found.into_iter().map(|(_, instance)| instance).collect())
    }

    /// Returns what those that run had used by now.
    pub(in crate::host) async fn samples(
        &self,
        dir: &ServiceDir,
        node: &NodeFacts,
    ) -> Result<Vec<Sample>, HostError> {
        let Some(project) = self.known(dir, node)? else { return Ok(Vec::new()) };
        let failed = |error: EngineError| failed(&project)(error.into());
        let docker = self.engine.docker().await.map_err(failed)?;
        let running = self.instances(dir, node).await?.into_iter();
        let running = running.filter(|one| one.state == RUNNING).take(PARTS_MAX);
        let asked = running.map(|one| sample(docker, one));
        let what = format!("tell what the containers of {} use", project.name);
        let found = try_join_all(asked).await.map_err(self.engine.failed(what)).map_err(failed)?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Returns the project that runs, or would; none where nothing was ever staged.
    pub(super) fn known(
        &self,
        dir: &ServiceDir,
        node: &NodeFacts,
    ) -> Result<Option<Project>, HostError> {
        let record: Option<Record> = durable::read_json(&dir.record(Kind::Compose))?;
        if let Some(record) = record {
            return Ok(Some(record.project));
        }
        dir.newest()?.map(|spec| self.project(&spec, dir, node)).transpose()
    }
}

/// Returns what a container had used when the engine was asked; `None` if it did not run then.
async fn sample(docker: &bollard::Docker, one: Instance) -> Result<Option<Sample>, Error> {
    let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
    let Some(stats) = Box::pin(docker.stats(&one.id, Some(options))).next().await else {
        return Ok(None);
    };
    let at = Instant::now();
    let stats = match stats {
        Ok(stats) => stats,
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let cpu = stats.cpu_stats.and_then(|cpu| cpu.cpu_usage?.total_usage);
    let Some(cpu) = cpu else { return Ok(None) };
    let networks = stats.networks.map(|networks| {
        networks.values().fold((0, 0), |(received, sent), one| {
            (received + one.rx_bytes.unwrap_or(0), sent + one.tx_bytes.unwrap_or(0))
        })
    });
    let memory = stats.memory_stats.unwrap_or_default();
    Ok(Some(Sample {
        used: InstanceUse {
            name: one.name,
            id: one.id,
            cpu_millicores: 0,
            memory_bytes: held(&memory),
            memory_limit_bytes: memory.limit,
            received_bytes: networks.map(|(received, _)| received),
            sent_bytes: networks.map(|(_, sent)| sent),
            processes: stats.pids_stats.and_then(|pids| pids.current).unwrap_or(0),
        },
        cpu: BTreeMap::from([((0, 0), Duration::from_nanos(cpu))]),
        at,
    }))
}

/// Returns the memory that a container holds, without files that the kernel may forget at any time:
/// what `docker stats` shows.
fn held(memory: &ContainerMemoryStats) -> u64 {
    let details = memory.stats.as_ref();
    let of = |name| details.and_then(|details| details.get(name)).copied();
    // The first is the name in version 1 of control groups.
    let files = of("total_inactive_file").or_else(|| of("inactive_file")).unwrap_or(0);
    memory.usage.unwrap_or(0).saturating_sub(files)
}

/// Reads what an operator sees of a container, with the service it belongs to.
fn read(found: ContainerInspectResponse) -> Option<(String, Instance)> {
    let name = found.name.clone().unwrap_or_default();
    let image = found.config.as_ref().and_then(|config| config.image.clone());
    let one = engine::container(found)?;
    let state = match one.status {
        Status::Running => RUNNING.to_owned(),
        Status::Restarting { code } => format!("restarting, exited with code {code}"),
        Status::Exited { code } => format!("exited with code {code}"),
        Status::Idle => "held or not started".to_owned(),
    };
    let health = one.health.map(|health| match health {
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    });
    let instance = Instance {
        name: name.trim_start_matches('/').to_owned(),
        id: one.id,
        state,
        health: health.map(str::to_owned),
        image: Some(image.unwrap_or(one.image)),
        since: stamp::stamp(one.started.as_bytes()),
        restarts: one.restarts,
    };
    Some((one.service, instance))
}
