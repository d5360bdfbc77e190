//! Processes of this machine by number and start time, so that no signal reaches another one.
//!
//! A number alone names nobody: the system gives it to others later. Within one boot, number and
//! start time do.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process that cannot be mistaken for another within one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ProcessId {
    /// Its number.
    pub(super) pid: u32,
    /// Clock ticks from boot to its start.
    pub(super) ticks: u64,
}

/// What the system says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) id: ProcessId,
    /// Process group.
    pub(super) group: u32,
    /// Whether it has ended, with all its threads, and only waits for its parent to notice.
    pub(super) is_zombie: bool,
}

impl ProcessId {
    /// Returns whether it runs.
    pub(super) fn is_running(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.id == self && !stat.is_zombie)
    }

    /// Sends it a signal; returns whether it was there to take it.
    pub(super) fn signal(self, signal: Signal) -> bool {
        let number = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(Ok(held)) = number.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
            return false;
        };
        // Looked at after it is held: whoever has the number now keeps it while we hold it.
        self.is_running() && pidfd_send_signal(&held, signal).is_ok()
    }
}

/// Returns what is known of process `pid`; `None` if there is none.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(pid: u32, text: &str) -> Option<Stat> {
    // The name stands in parentheses and may hold spaces and parentheses itself.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Stat {
        id: ProcessId { pid, ticks: fields.get(19)?.parse().ok()? },
        group: fields.get(2)?.parse().ok()?,
        // The state is that of its first thread; others may still hold its ports and files.
        is_zombie: matches!(*fields.first()?, "Z" | "X")
            && fields.get(17)?.parse::<u32>().ok()? <= 1,
    })
}

/// Returns all processes that we may look at and that run.
pub(super) fn all() -> Vec<Stat> {
    let entries = fs::read_dir("/proc").ok().into_iter().flatten();
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter_map(stat).filter(|stat| !stat.is_zombie).collect()
}

/// Returns whether the process was started with the environment variable, whatever its value.
pub(super) fn has_variable(pid: u32, name: &str) -> bool {
    let prefix = format!("{name}=");
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|text| {
        text.split(|&byte| byte == 0).any(|variable| variable.starts_with(prefix.as_bytes()))
    })
}

/// Returns whether the process works in `dir` or below, or writes its output there.
pub(super) fn lives_in(pid: u32, dir: &Path) -> bool {
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}"));
    ["cwd", "fd/1", "fd/2"]
        .iter()
        .any(|name| link(name).is_ok_and(|path: PathBuf| path.starts_with(dir)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_name_with_parentheses_and_spaces() {
        let text = "7 (a) b (c) Z 1 5 5 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0 18446744073709";
        let id = ProcessId { pid: 7, ticks: 4711 };
        assert_eq!(parse_stat(7, text), Some(Stat { id, group: 5, is_zombie: true }));
        let ending = text.replace("20 0 1 0", "20 0 3 0");
        assert_eq!(parse_stat(7, &ending), Some(Stat { id, group: 5, is_zombie: false }));
        assert_eq!(parse_stat(7, "7 (a"), None);
        assert_eq!(parse_stat(7, "7 (a) S 1"), None);
    }

    #[test]
    fn a_number_with_another_start_time_is_nobody() {
        let own = stat(std::process::id()).unwrap().id;
        assert!(own.is_running());
        let other = ProcessId { ticks: own.ticks + 1, ..own };
        assert!(!other.is_running());
        assert!(!other.signal(Signal::KILL), "it would have been us");
    }
}
