//! One daemon of the fleet: started, watched, killed, frozen and started again by its number.
//!
//! It leads a process group of its own, so that Ctrl-C at the terminal does not reach it, and its
//! number is on disk, so that another run of `trictl` can end it. Its output is one growing file.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::time::sleep;

use super::error::LocalError;
use super::procfs::{self, ProcessId};

/// Time a killed process has to vanish; longer means that the kernel holds it.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// Time between looks whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Lines of a log that an error repeats.
const TAIL_LINES: usize = 12;

/// One daemon.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    log: PathBuf,
    record: PathBuf,
    child: Option<Child>,
    id: Option<ProcessId>,
    last_exit: Option<ExitStatus>,
}

impl Process {
    /// Describes a daemon whose log and number are kept in `dir`; takes up one that was started
    /// by an earlier run and still runs.
    pub(super) fn new(name: &str, dir: &Path, program: PathBuf, args: Vec<OsString>) -> Self {
        let record = dir.join(format!("{name}.pid"));
        let known = fs::read(&record).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self {
            name: name.to_owned(),
            program,
            args,
            log: dir.join(format!("{name}.log")),
            record,
            child: None,
            id: known.filter(|id: &ProcessId| id.is_running()),
            last_exit: None,
        }
    }

    /// Returns the daemon's name, such as `c-aws`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the file with its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Returns its number while it runs.
    pub fn pid(&mut self) -> Option<u32> {
        self.is_running().then(|| self.id.map(|id| id.pid)).flatten()
    }

    /// Returns whether it runs; a frozen one does.
    pub fn is_running(&mut self) -> bool {
        if let Some(child) = &mut self.child {
            match child.try_wait() {
                // Whatever /proc says: its first thread may be dead there while others still end.
                Ok(None) => return true,
                Ok(Some(status)) => self.last_exit = Some(status),
                Err(_) => self.last_exit = None,
            }
            self.forget();
            return false;
        }
        let running = self.id.is_some_and(ProcessId::is_running);
        if !running {
            self.forget();
        }
        running
    }

    /// Starts it, unless it runs.
    pub fn start(&mut self) -> Result<(), LocalError> {
        self.start_with(&[])
    }

    /// Starts it with arguments besides its own.
    pub(super) fn start_with(&mut self, more: &[&str]) -> Result<(), LocalError> {
        if self.is_running() {
            return Ok(());
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.map_err(LocalError::io("open", &self.log))?;
        let errors = log.try_clone().map_err(LocalError::io("open", &self.log))?;
        let child = Command::new(&self.program)
            .args(&self.args)
            .args(more)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(LocalError::io("run", &self.program))?;
        // An unreaped child keeps its number and its place in /proc.
        self.id = procfs::stat(child.id()).map(|stat| stat.id);
        self.child = Some(child);
        self.last_exit = None;
        let record = serde_json::to_vec(&self.id).unwrap_or_default();
        fs::write(&self.record, record).map_err(LocalError::io("write", &self.record))
    }

    /// Sends it SIGKILL and waits until it has gone; what it supervises goes on.
    pub async fn kill(&mut self) -> Result<(), LocalError> {
        self.signal(Signal::KILL);
        if self.gone_within(KILL_WAIT).await { Ok(()) } else { Err(self.stays(KILL_WAIT)) }
    }

    /// Asks it to end with SIGTERM; kills it if it has not gone within `limit`, and says so.
    pub async fn stop(&mut self, limit: Duration) -> Result<Stopped, LocalError> {
        self.signal(Signal::TERM);
        if self.gone_within(limit).await {
            return Ok(Stopped::Asked);
        }
        self.kill().await?;
        Ok(Stopped::Killed)
    }

    /// Freezes it with SIGSTOP: it keeps its connections and answers nobody.
    pub fn freeze(&mut self) -> bool {
        self.signal(Signal::STOP)
    }

    /// Lets it go on with SIGCONT.
    pub fn thaw(&mut self) -> bool {
        self.signal(Signal::CONT)
    }

    /// Kills it with SIGKILL and starts it again.
    pub async fn restart(&mut self) -> Result<(), LocalError> {
        self.kill().await?;
        self.start()
    }

    /// Waits until it has ended by itself, at most `limit`; returns how, if that is known.
    pub async fn ended(&mut self, limit: Duration) -> Result<Option<ExitStatus>, LocalError> {
        if self.gone_within(limit).await { Ok(self.last_exit) } else { Err(self.stays(limit)) }
    }

    /// Fails if it does not run, with the end of its log.
    pub(super) fn check(&mut self) -> Result<(), LocalError> {
        if self.is_running() {
            return Ok(());
        }
        let how = match self.last_exit.map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => format!("exit code {code}"),
            Some((None, Some(signal))) => format!("signal {signal}"),
            _ => "nobody knows how".to_owned(),
        };
        Err(LocalError::Ended { name: self.name.clone(), how, log: self.tail() })
    }

    /// Returns the last lines of its log.
    pub fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Sends a signal; returns whether there was somebody to take it.
    pub(super) fn signal(&mut self, signal: Signal) -> bool {
        self.is_running() && self.id.is_some_and(|id| id.signal(signal))
    }

    /// Waits without a runtime, for the last moments of a fleet; returns whether it has gone.
    pub(super) fn gone_by(&mut self, end: Instant) -> bool {
        while self.is_running() {
            if Instant::now() >= end {
                return false;
            }
            super::pause(LOOK_EVERY);
        }
        true
    }

    async fn gone_within(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.is_running() {
            if Instant::now() >= end {
                return false;
            }
            sleep(LOOK_EVERY).await;
        }
        true
    }

    fn stays(&self, limit: Duration) -> LocalError {
        LocalError::TooLong {
            what: format!("the end of {}", self.name),
            seconds: limit.as_secs(),
            seen: self.tail(),
        }
    }

    fn forget(&mut self) {
        self.child = None;
        self.id = None;
        let _ = fs::remove_file(&self.record);
    }
}

/// How a daemon was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It ended when asked, or did not run.
    Asked,
    /// It had to be killed.
    Killed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(dir: &Path, args: &[&str]) -> Process {
        let args = args.iter().map(Into::into).collect();
        Process::new("d", dir, "/bin/sh".into(), args)
    }

    #[tokio::test]
    async fn is_started_once_and_found_again_by_another_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = process(dir.path(), &["-c", "exec sleep 600"]);
        first.start().unwrap();
        let pid = first.pid().unwrap();
        first.start().unwrap();
        assert_eq!(first.pid(), Some(pid), "a second start does nothing");
        let mut second = process(dir.path(), &[]);
        assert_eq!(second.pid(), Some(pid));
        assert!(second.freeze() && second.is_running());
        second.signal(Signal::KILL);
        first.kill().await.unwrap();
        assert_eq!((first.pid(), second.pid()), (None, None));
        assert!(!process(dir.path(), &[]).is_running(), "its number is forgotten");
    }

    #[tokio::test]
    async fn tells_how_it_ended_with_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = process(dir.path(), &["-c", "echo port in use; exit 3"]);
        process.start().unwrap();
        let status = process.ended(Duration::from_secs(20)).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(3));
        let error = process.check().unwrap_err();
        assert_eq!(error.to_string(), "d has ended: exit code 3");
        assert!(matches!(error, LocalError::Ended { log, .. } if log == "port in use"));
    }

    #[tokio::test]
    async fn one_that_does_not_listen_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
        let mut process = process(dir.path(), &["-c", script]);
        process.start().unwrap();
        while process.tail() != "ready" {
            sleep(LOOK_EVERY).await;
        }
        let stopped = process.stop(Duration::from_millis(100)).await.unwrap();
        assert_eq!(stopped, Stopped::Killed);
        assert!(!process.is_running());
    }
}
