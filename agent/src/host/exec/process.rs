//! A program beside a process of the agent's own: its environment, its directory, its user.

use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use trireme_proto::id::ActionId;
use trireme_proto::query::ExecQuestion;

use super::mark::MARK;
use super::once::Made;
use super::{ExecError, Guard, Run};
use crate::host::launch::{Launch, spawn_patiently};
use crate::host::layout::ServiceDir;
use crate::host::pidfd::Process;
use crate::host::{Exit, Host as _, HostError, Machine};

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;

/// The process of a run: its number, and that of its group, is its own until it was reaped.
#[derive(Debug)]
pub(super) struct Held {
    process: Process,
    exit: Mutex<Option<Exit>>,
}

impl Held {
    /// Kills its group, unless that is over.
    pub(super) fn kill_group(&self) {
        let exit = self.exit.lock().unwrap_or_else(PoisonError::into_inner);
        if exit.is_none() {
            let _ = self.process.kill_group();
        }
    }

    /// Waits until it has ended; what is left of its group goes with it.
    pub(super) async fn ended(&self) -> Exit {
        self.process.exited().await;
        let mut exit = self.exit.lock().unwrap_or_else(PoisonError::into_inner);
        *exit.get_or_insert_with(|| {
            let _ = self.process.kill_group();
            self.process.reap()
        })
    }
}

/// Starts it.
pub(super) async fn start(
    machine: &Machine,
    dir: &ServiceDir,
    question: &ExecQuestion,
    guard: Guard,
) -> Result<Run, ExecError> {
    let seen = machine.observe(&question.service);
    // What runs, also where something else is pointed at already.
    let spec = match seen.spec {
        Some(digest) => dir.load(&digest)?,
        None => machine
            .current(&question.service)?
            .ok_or_else(|| HostError::NothingCurrent { service: question.service.clone() })?,
    };
    let node = machine.node();
    let action = seen.action.unwrap_or(ActionId(0));
    let restart = seen.restart;
    let data = match &guard.remains.made {
        Some(Made::Dir(path)) => {
            fs::create_dir(path).map_err(HostError::io("make", path))?;
            Some(path.as_path())
        }
        Some(Made::Container(_)) | None => None,
    };
    let (spec, node) = (&spec, &node);
    let launch = Launch { dir, node, spec, action, restart, instance: "", data };
    let own = if question.argv.is_empty() { Some(launch.argv()?) } else { None };
    let command = launch.beside(own.as_ref().unwrap_or(&question.argv))?;
    follow(command, &question.id, guard).await
}

/// Starts a program whose output is passed on.
pub(super) async fn follow(
    mut command: Command,
    id: &str,
    mut guard: Guard,
) -> Result<Run, ExecError> {
    command.env(MARK, id).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| ExecError::Spawn { program: program.clone(), source };
    let mut child = spawn_patiently(&mut command).await.map_err(failed)?;
    let process = Process::of_child(&child).map_err(|source| {
        end(&mut child);
        failed(source)
    })?;
    let held = Arc::new(Held { process, exit: Mutex::new(None) });
    guard.held = Some(Arc::clone(&held));
    let output = stream::select(
        read(child.stdout.take().map(OwnedFd::from), 1),
        read(child.stderr.take().map(OwnedFd::from), 2),
    );
    Ok(Run {
        instance: format!("process {}", child.id()),
        output: output.boxed(),
        exit: Box::pin(async move { held.ended().await }),
        guard,
    })
}

/// Ends a process that cannot be watched.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Returns what comes out of a pipe, as it comes.
fn read(pipe: Option<OwnedFd>, number: u32) -> BoxStream<'static, (u32, Bytes)> {
    let Some(pipe) = pipe.and_then(|fd| pipe::Receiver::from_owned_fd(fd).ok()) else {
        return stream::empty().boxed();
    };
    let pieces =
        stream::unfold((pipe, vec![0; READ_BYTES]), move |(mut pipe, mut buffer)| async move {
            let read = pipe.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
            Some(((number, Bytes::copy_from_slice(&buffer[..read])), (pipe, buffer)))
        });
    pieces.boxed()
}
