//! What /proc tells of processes: who runs, since when, in which group, and whether it is ours.
//!
//! A number alone never identifies a process: the host gives it to others later. Start time and
//! boot do (see `record::ProcessId`), and for processes nobody recorded, evidence: the instance
//! in the environment, or output going to the service's own log. Evidence beside the environment
//! is needed because programs that write their own process title (nginx does) overwrite it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::record::ProcessId;

/// Name of the variable by which a process is known to belong to an attempt to run a service.
pub(super) const INSTANCE: &str = "TRIREME_INSTANCE";

/// Clock ticks in a second as /proc counts them: 100 on every architecture Linux runs on.
const TICKS_PER_SEC: u64 = 100;

/// Returns the id of this boot of the host.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Returns the clock ticks since boot, in the unit of start times.
pub(super) fn ticks_now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let secs = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    secs * TICKS_PER_SEC + nanos / (1_000_000_000 / TICKS_PER_SEC)
}

/// What /proc/PID/stat says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// Number and start time.
    pub(super) id: ProcessId,
    /// Process group.
    pub(super) group: u32,
    /// Whether it has ended, with all its threads, and only waits to be reaped.
    pub(super) is_zombie: bool,
}

/// Returns what is known of process `pid`; `None` if there is none.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(pid: u32, text: &str) -> Option<Stat> {
    // The name stands in parentheses and may hold spaces and parentheses itself.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let state = *fields.first()?;
    Some(Stat {
        id: ProcessId { pid, ticks: fields.get(19)?.parse().ok()? },
        group: fields.get(2)?.parse().ok()?,
        // The state is that of its first thread; the process goes on while others do.
        is_zombie: matches!(state, "Z" | "X") && fields.get(17)?.parse::<u32>().ok()? <= 1,
    })
}

/// By what processes of a service are known.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    /// `service/random` of the attempt.
    pub(super) instance: String,
    /// Device and inode of the service's log.
    pub(super) log: Option<(u64, u64)>,
    /// Working directory of the service.
    pub(super) data: PathBuf,
}

impl Evidence {
    fn has_instance(&self, pid: u32) -> bool {
        let expected = format!("{INSTANCE}={}", self.instance);
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|text| text.split(|&byte| byte == 0).any(|var| var == expected.as_bytes()))
    }

    fn writes_to_log(&self, pid: u32) -> bool {
        [1, 2].iter().any(|fd| {
            fs::metadata(format!("/proc/{pid}/fd/{fd}"))
                .is_ok_and(|file| Some((file.dev(), file.ino())) == self.log)
        })
    }

    fn works_in_data(&self, pid: u32) -> bool {
        fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == self.data)
    }
}

/// Returns the process of an attempt that was begun at `since` and perhaps not recorded.
pub(super) fn find_started(evidence: &Evidence, since: u64) -> Option<ProcessId> {
    all()
        .filter(|stat| !stat.is_zombie && stat.group == stat.id.pid && stat.id.ticks >= since)
        .filter(|stat| evidence.has_instance(stat.id.pid) || evidence.writes_to_log(stat.id.pid))
        .map(|stat| stat.id)
        .min_by_key(|id| (id.ticks, id.pid))
}

/// Returns the living members of process group `group`, if the group is the service's.
///
/// One member with evidence is enough: while a group has members, its number names no other.
pub(super) fn group_members(group: u32, evidence: &Evidence) -> Vec<u32> {
    let members: Vec<u32> = all()
        .filter(|stat| stat.group == group && !stat.is_zombie)
        .map(|stat| stat.id.pid)
        .collect();
    let ours = members.iter().any(|&pid| {
        evidence.has_instance(pid) || evidence.writes_to_log(pid) || evidence.works_in_data(pid)
    });
    if ours { members } else { Vec::new() }
}

fn all() -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir(Path::new("/proc")).ok().into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(stat)
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
    fn this_process_started_before_now_in_this_boot() {
        let own = stat(std::process::id()).unwrap();
        assert!(own.id.ticks > 0 && own.id.ticks <= ticks_now(), "{own:?} {}", ticks_now());
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
