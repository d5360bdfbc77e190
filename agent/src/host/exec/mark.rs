//! Programs of a run, known by a mark in their environment wherever they went: into groups of
//! their own, out of the sight of their parents, inside a container.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::KILL_WAIT;
use crate::host::pidfd::Process;
use crate::host::{blocking, procfs};

/// Variable that names the run.
pub(super) const MARK: &str = "TRIREME_EXEC";
/// Time between looks at them.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Kills every process with the mark of a run and waits until none is left; returns whether none
/// is. A process that has taken the mark from its environment and left its group is not found.
pub(super) async fn kill_all(id: &str) -> bool {
    let until = Instant::now() + KILL_WAIT;
    loop {
        let mark = format!("{MARK}={id}");
        let found = blocking(move || procfs::with_variable(&mark)).await;
        if found.is_empty() {
            return true;
        }
        for process in found {
            // Held by a descriptor first, and known again by its start: no other is hit.
            if let Ok(Some(held)) = Process::adopt(process) {
                let _ = held.signal(Signal::KILL);
            }
        }
        if Instant::now() >= until {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
}
