//! The daemons' programs: where they are, and how one is run for its answer.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::error::LocalError;

/// Time for a program that only reads and writes some files.
const COMMAND_WAIT: Duration = Duration::from_secs(30);

/// The programs of which a fleet consists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// `trireme-controller`.
    pub controller: PathBuf,
    /// `trireme-agent`.
    pub agent: PathBuf,
}

impl Programs {
    /// Finds the programs in a directory.
    pub fn within(dir: &Path) -> Result<Self, LocalError> {
        let find = |name: &str| {
            let path = dir.join(name);
            if path.is_file() { Ok(path) } else { Err(LocalError::NoProgram(path)) }
        };
        Ok(Self { controller: find("trireme-controller")?, agent: find("trireme-agent")? })
    }

    /// Finds the programs beside the running one.
    pub fn beside_this() -> Result<Self, LocalError> {
        let own = std::env::current_exe().map_err(LocalError::io("find", "the running program"))?;
        Self::within(own.parent().unwrap_or(Path::new("/")))
    }
}

/// Runs a program to its end and returns what it printed.
pub(super) async fn run(program: &Path, args: &[&str]) -> Result<String, LocalError> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let what = format!("{name} {}", args.first().unwrap_or(&""));
    let Ok(output) = timeout(COMMAND_WAIT, output).await else {
        let (seconds, seen) = (COMMAND_WAIT.as_secs(), String::new());
        return Err(LocalError::TooLong { what, seconds, seen });
    };
    let output = output.map_err(LocalError::io("run", program))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(LocalError::Command { what, said })
    }
}
