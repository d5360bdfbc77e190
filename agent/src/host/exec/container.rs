//! A program inside a container of a service, as the container's own user.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::oneshot;
use tokio::time::sleep;
use trireme_proto::query::ExecQuestion;

use super::mark::MARK;
use super::once::Made;
use super::{ExecError, Guard, Run, process};
use crate::host::compose::Inside;
use crate::host::layout::ServiceDir;
use crate::host::outside::SHOWN_EVERY;
use crate::host::{Exit, Machine};

/// Starts it in a container made for it, as compose makes one of the service.
pub(super) async fn debug(
    machine: &Machine,
    dir: &ServiceDir,
    question: &ExecQuestion,
    guard: Guard,
) -> Result<Run, ExecError> {
    let Some(Made::Container(name)) = guard.remains.made.clone() else {
        return Err(ExecError::Nameless);
    };
    if let Some(first) = question.argv.first()
        && first.contains(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '\\'))
    {
        return Err(ExecError::Entrypoint(first.clone()));
    }
    let (docker, node) = (machine.docker(), machine.node());
    let services = docker.services(dir, &node)?;
    let service = match &question.container {
        Some(name) => services.iter().find(|one| *one == name),
        None if services.len() == 1 => services.first(),
        None => None,
    };
    let service = service.ok_or_else(|| ExecError::Which(services.join(", ")))?;
    let mark = format!("{MARK}={}", question.id);
    let command = docker.debug(dir, &node, [service, &name, &mark], &question.argv)?;
    let mut run = process::follow(command, &question.id, guard).await?;
    run.instance = format!("container {name}");
    Ok(run)
}

/// Starts it.
pub(super) async fn start(
    machine: &Machine,
    dir: &ServiceDir,
    question: &ExecQuestion,
    guard: Guard,
) -> Result<Run, ExecError> {
    let docker = machine.docker();
    let running = docker.running(dir, &machine.node()).await?;
    let names = || {
        let names: Vec<_> = running.iter().map(|one| one.service.as_str()).collect();
        names.join(", ")
    };
    let id = match &question.container {
        Some(name) => running.iter().find(|one| one.service == *name),
        None if running.len() == 1 => running.first(),
        None if running.is_empty() => return Err(ExecError::NoneRuns(question.service.clone())),
        None => None,
    };
    let id = id.ok_or_else(|| ExecError::Which(names()))?.id.clone();
    let mark = format!("{MARK}={}", question.id);
    let Inside { output, engine, exec } = docker.exec(&id, &question.argv, mark).await?;
    let (tell, ended) = oneshot::channel::<()>();
    // The engine knows the exit code once nobody writes any more.
    let last = stream::once(async move { drop(tell) }).filter_map(async |()| None::<(u32, Bytes)>);
    let exit = async move {
        let _told = ended.await;
        loop {
            match engine.inspect_exec(&exec).await {
                Ok(found) if found.running == Some(true) => sleep(SHOWN_EVERY).await,
                Ok(found) => {
                    let code = found.exit_code.and_then(|code| i32::try_from(code).ok());
                    return code.map_or(Exit::Unknown, Exit::Code);
                }
                Err(_) => return Exit::Unknown,
            }
        }
    };
    Ok(Run {
        instance: format!("container {}", id.chars().take(12).collect::<String>()),
        output: output.chain(last).boxed(),
        exit: Box::pin(exit),
        guard,
    })
}
