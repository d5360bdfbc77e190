//! Programs inside a container of a project.

use std::process::Command;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future;
use futures_util::stream::BoxStream;

use super::cli::Cli;
use super::docker::{Docker, failed};
use super::engine::{Container, EngineError, Status};
use super::{ComposeError, pins};
use crate::host::HostError;
use crate::host::facts::NodeFacts;
use crate::host::layout::ServiceDir;

/// A program inside a container.
pub(in crate::host) struct Inside {
    /// What it writes: 1 for stdout, 2 for stderr.
    pub(in crate::host) output: BoxStream<'static, (u32, Bytes)>,
    /// Who knows how it ends.
    pub(in crate::host) engine: bollard::Docker,
    /// The engine's name for it.
    pub(in crate::host) exec: String,
}

impl Docker {
    /// Returns the containers of the release's services that run.
    pub(in crate::host) async fn running(
        &self,
        dir: &ServiceDir,
        node: &NodeFacts,
    ) -> Result<Vec<Container>, HostError> {
        let Some(project) = self.known(dir, node)? else { return Ok(Vec::new()) };
        let found = self.engine.containers(&project.name).await;
        let mut found = project.own(found.map_err(|error| failed(&project)(error.into()))?);
        found.retain(|one| one.status == Status::Running);
        Ok(found)
    }

    /// Returns the services that the release pins.
    pub(in crate::host) fn services(
        &self,
        dir: &ServiceDir,
        node: &NodeFacts,
    ) -> Result<Vec<String>, HostError> {
        Ok(self.known(dir, node)?.map(|project| project.services).unwrap_or_default())
    }

    /// Returns the command that runs a program in a container of a service that is made for it:
    /// named, with one variable more, and gone with it.
    pub(in crate::host) fn debug(
        &self,
        dir: &ServiceDir,
        node: &NodeFacts,
        what: [&str; 3],
        argv: &[String],
    ) -> Result<Command, HostError> {
        let service = dir.service().clone();
        let project = self.known(dir, node)?.ok_or(HostError::NothingCurrent { service })?;
        let cli = Cli::find(&self.host).map_err(|error| failed(&project)(error.into()))?;
        Ok(cli.debug(&project, &pins::path(dir), what, argv))
    }

    /// Removes a container with all that runs in it; one that is gone is left at that.
    pub(in crate::host) async fn remove(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match self.engine.docker().await?.remove_container(name, Some(options)).await {
            // Another is removing it already.
            Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) | Ok(()) => Ok(()),
            Err(error) => Err(self.engine.failed(format!("remove container {name}"))(error)),
        }
    }

    /// Starts a program inside a container, with one variable more than the container has.
    pub(in crate::host) async fn exec(
        &self,
        container: &str,
        argv: &[String],
        variable: String,
    ) -> Result<Inside, ComposeError> {
        let engine = self.engine.docker().await?.clone();
        let failed = || self.engine.failed(format!("run a program in container {container}"));
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            env: Some(vec![variable]),
            cmd: Some(argv.to_vec()),
            ..CreateExecOptions::default()
        };
        let exec = engine.create_exec(container, options).await.map_err(failed())?.id;
        let started = engine.start_exec(&exec, None).await.map_err(failed())?;
        let StartExecResults::Attached { output, input } = started else {
            return Ok(Inside { output: futures_util::stream::empty().boxed(), engine, exec });
        };
        let pieces = output.take_while(|piece| future::ready(piece.is_ok()));
        let output = pieces.filter_map(move |piece| {
            // Held open as long as output is read: closing it might end the whole connection.
            let _held = &input;
            future::ready(piece.ok().map(|piece| match piece {
                LogOutput::StdErr { message } => (2, message),
                LogOutput::StdOut { message }
                | LogOutput::StdIn { message }
                | LogOutput::Console { message } => (1, message),
            }))
        });
        Ok(Inside { output: output.boxed(), engine, exec })
    }
}
