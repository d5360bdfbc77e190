//! Runs a program of the host's that does something to it, one at a time for each service.
//!
//! A run that changes something holds a lock through its standard input, which it does not read:
//! should the agent die meanwhile, the next one waits for the program it left behind instead of
//! working against it.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

/// Longest wait for a program that an agent left behind: as long as any may run that holds a lock.
const LOCK_WAIT: Duration = Duration::from_mins(5);
/// Time between tries for the lock.
const LOCK_EVERY: Duration = Duration::from_millis(50);
/// What is kept of a program's output: its last lines say what went wrong.
const OUTPUT_BYTES_MAX: usize = 16 << 10;
/// What is told of a failed program's output, in characters.
const SAID_MAX: usize = 600;

/// Tells why a program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// None of those that could do it is installed.
    #[error("neither {0} is installed")]
    Missing(&'static str),
    /// The program does not run.
    #[error("{program} does not run")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended badly.
    #[error("{command} ended with {status}: {said}")]
    Failed {
        /// Its words.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it said.
        said: String,
    },
    /// It did not end.
    #[error("{command} did not end within {} s", .after.as_secs())]
    Late {
        /// Its words.
        command: String,
        /// Its limit.
        after: Duration,
    },
    /// One that another agent left behind does not end.
    #[error("a program that was begun before does not end: its lock is {path}", path = .0.display())]
    Locked(PathBuf),
    /// The lock cannot be taken.
    #[error("lock {path} cannot be taken", path = .path.display())]
    Lock {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// One run of a program.
#[derive(Debug)]
pub(super) struct Tool<'a> {
    /// Program and arguments.
    pub(super) argv: &'a [String],
    /// Its whole environment.
    pub(super) env: &'a BTreeMap<String, String>,
    /// Longest it may take.
    pub(super) limit: Duration,
    /// What it holds while it runs, if it changes anything.
    pub(super) lock: Option<&'a Path>,
}

impl Tool<'_> {
    /// Runs it to its end and returns what it said; killed when this is dropped.
    pub(super) async fn run(&self) -> Result<String, ToolError> {
        let stdin = match self.lock {
            Some(path) => Stdio::from(hold(path).await?),
            None => Stdio::null(),
        };
        let command = || self.argv.join(" ");
        let program = self.argv.first().cloned().unwrap_or_default();
        let failed = |source| ToolError::Spawn { program: program.clone(), source };
        let mut child = Command::new(&program)
            .args(&self.argv[1..])
            .env_clear()
            .envs(self.env)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let ended = async { tokio::join!(child.wait(), tail(out), tail(err)) };
        let Ok((status, out, err)) = timeout(self.limit, ended).await else {
            return Err(ToolError::Late { command: command(), after: self.limit });
        };
        let status = status.map_err(failed)?;
        if status.success() {
            return Ok(out);
        }
        Err(ToolError::Failed { command: command(), status, said: said(&err, &out) })
    }
}

/// Takes the lock, waiting for a program that was left behind.
async fn hold(path: &Path) -> Result<File, ToolError> {
    let failed = |source| ToolError::Lock { path: path.to_owned(), source };
    let file = File::options().read(true).append(true).create(true).open(path).map_err(failed)?;
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(LOCK_EVERY).await,
            Err(TryLockError::WouldBlock) => return Err(ToolError::Locked(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

/// Reads to the end and returns the last of it.
async fn tail(from: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut from) = from else { return String::new() };
    let (mut kept, mut buffer) = (Vec::new(), vec![0; OUTPUT_BYTES_MAX]);
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        kept.drain(..kept.len().saturating_sub(OUTPUT_BYTES_MAX));
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Returns the end of what a failed program said, in one line.
fn said(err: &str, out: &str) -> String {
    let text = if err.trim().is_empty() { out } else { err };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let skip = line.chars().count().saturating_sub(SAID_MAX);
    line.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_was_left_behind_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        // As an agent that died in the middle of a run: the program holds the lock on its own.
        let held = hold(&lock).await.unwrap();
        let mut left =
            std::process::Command::new("/bin/sleep").arg("600").stdin(held).spawn().unwrap();
        let waiting = timeout(LOCK_EVERY * 3, hold(&lock)).await;
        assert!(waiting.is_err(), "the lock was not held");
        left.kill().unwrap();
        left.wait().unwrap();
        hold(&lock).await.unwrap();
    }

    #[tokio::test]
    async fn a_program_tells_what_it_said_and_does_not_run_for_ever() {
        let run = async |words: &[&str], limit| {
            let argv: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            Tool { argv: &argv, env: &BTreeMap::new(), limit, lock: None }.run().await
        };
        assert_eq!(run(&["/bin/echo", "hi"], LOCK_WAIT).await.unwrap(), "hi\n");
        let error = run(&["/bin/ls", "/no/such/file"], LOCK_WAIT).await.unwrap_err().to_string();
        assert!(error.starts_with("/bin/ls /no/such/file ended with exit status: 2: "), "{error}");
        let late = run(&["/bin/sleep", "600"], LOCK_EVERY).await.unwrap_err();
        assert!(matches!(late, ToolError::Late { .. }), "{late:?}");
    }
}
