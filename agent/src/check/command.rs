//! The command check: a program with the exit codes of Nagios plugins.
//!
//! | exit | status | | exit | status |
//! |---|---|---|---|---|
//! | 0 | ok | | 126, 127 | unknown: what a wrapper says of a missing program |
//! | 1 | warning | | time is up | critical |
//! | 2 | critical | | any other, a signal | critical |
//! | 3 | unknown | | cannot be started | unknown |
//!
//! The program leads a group of its own, and whatever is left of the group when the program has
//! ended, or its time is up, is killed. Of its output the first 4 KiB are read, the rest is
//! thrown away as it comes, so that a chatty plugin is not blocked.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::maybe_done;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::time::timeout;
use trireme_proto::model::CommandCheck;

use super::{Outcome, Status, perfdata};
use crate::host::{Exit, Process, SEARCH_PATH, spawn_patiently};

/// Output that is kept, of each stream: what Consul keeps too.
const OUTPUT_BYTES_MAX: usize = 4096;
/// Time a killed process has to vanish before it is left to be reaped later.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// Time for the rest of the output once the whole group is gone: only a process that left the
/// group can still hold the pipe.
const REST_WAIT: Duration = Duration::from_millis(100);

/// Processes that were killed and not yet seen gone; reaped by later runs.
#[derive(Debug, Default)]
pub(super) struct Killed(Mutex<Vec<Process>>);

impl Killed {
    fn add(&self, process: Process) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(process);
    }

    fn reap(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|process| {
            let gone = process.has_exited();
            if gone {
                process.reap();
            }
            !gone
        });
    }
}

/// A program under way; killed with its group if the run is given up.
struct Running<'a> {
    process: Option<Process>,
    killed: &'a Killed,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            // A child that was not reaped keeps its number, so this reaches nobody else; failing
            // means that there is nobody left to kill.
            let _ = process.kill_group();
            self.killed.add(process);
        }
    }
}

/// Runs the program once.
pub(super) async fn run(check: &CommandCheck, limit: Duration, killed: &Killed) -> Outcome {
    killed.reap();
    let Some(program) = check.argv.first() else {
        return Outcome::new(Status::Unknown, "the check names no program");
    };
    let mut command = Command::new(program);
    command
        .args(&check.argv[1..])
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .envs(&check.env)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let unstartable =
        |error| Outcome::new(Status::Unknown, format!("{program} cannot be run: {error}"));
    let mut child = match spawn_patiently(&mut command).await {
        Ok(child) => child,
        Err(error) => return unstartable(error),
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let process = match Process::of_child(&child) {
        Ok(process) => process,
        Err(error) => {
            // What cannot be watched must not run.
            let _ = child.kill();
            let _ = child.wait();
            return unstartable(error);
        }
    };
    let running = Running { process: Some(process), killed };
    match watch(running, stdout.map(OwnedFd::from), stderr.map(OwnedFd::from), limit).await {
        Some((exit, output)) => judge(exit, &output),
        None => Outcome::new(Status::Crit, format!("{program} did not end within {limit:?}")),
    }
}

/// What a program wrote, as far as it was kept.
#[derive(Debug, Default)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Waits for the end of the program and of its group; `None` if its time was up.
async fn watch(
    mut running: Running<'_>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    limit: Duration,
) -> Option<(Exit, Output)> {
    let mut output = Output::default();
    let in_time = {
        let process = running.process.as_ref()?;
        let reading = async {
            tokio::join!(keep(stdout, &mut output.stdout), keep(stderr, &mut output.stderr));
        };
        let mut reading = std::pin::pin!(maybe_done(reading));
        let ended = async {
            tokio::select! {
                () = process.exited() => {}
                () = async { reading.as_mut().await; process.exited().await } => {}
            }
        };
        let in_time = timeout(limit, ended).await.is_ok();
        // Children that the program left behind would hold its output and outlive the check. The
        // program itself is not reaped yet, hence the number of the group is still its own.
        let _ = process.kill_group();
        if timeout(KILL_WAIT, process.exited()).await.is_err() {
            return None;
        }
        // What comes later than this is not part of the answer.
        let _ = timeout(REST_WAIT, reading).await;
        in_time
    };
    let exit = running.process.take()?.reap();
    in_time.then_some((exit, output))
}

/// Reads to the end, keeping the first bytes.
async fn keep(from: Option<OwnedFd>, kept: &mut Vec<u8>) {
    let Some(Ok(mut pipe)) = from.map(pipe::Receiver::from_owned_fd) else { return };
    let mut chunk = vec![0; OUTPUT_BYTES_MAX];
    while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
        let room = OUTPUT_BYTES_MAX - kept.len();
        kept.extend_from_slice(&chunk[..read.min(room)]);
    }
}

/// Returns what exit and output of a plugin mean.
fn judge(exit: Exit, output: &Output) -> Outcome {
    let (text, perfdata) = perfdata::split(&String::from_utf8_lossy(&output.stdout));
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = if text.is_empty() { errors.lines().next().unwrap_or("").trim() } else { &text };
    let (status, usual) = match exit {
        Exit::Code(0) => (Status::Ok, true),
        Exit::Code(1) => (Status::Warn, true),
        Exit::Code(2) => (Status::Crit, true),
        Exit::Code(3) => (Status::Unknown, true),
        Exit::Code(126 | 127) | Exit::Unknown => (Status::Unknown, false),
        Exit::Code(_) | Exit::Signal(_) => (Status::Crit, false),
    };
    let message = match (said.is_empty(), usual) {
        (true, _) => exit.to_string(),
        (false, true) => said.to_owned(),
        (false, false) => format!("{exit}: {said}"),
    };
    Outcome { perfdata, ..Outcome::new(status, message) }
}
