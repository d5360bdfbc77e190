//! What /proc tells of processes: who runs, since when, in which group, and whether it is ours.
//!
//! A number alone never identifies a process: the host gives it to others later. Start time and
//! boot do (see `record::ProcessId`), and for processes nobody recorded, evidence: the instance
//! in the environment, or output going to the service's own log. Evidence beside the environment
//! is needed because programs that write their own process title (nginx does) overwrite it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use trireme_proto::time::WallTime;

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

/// Returns the wall time at which a process was started, given that of now.
pub(super) fn started_at(id: ProcessId, now: WallTime) -> WallTime {
    let ago = ticks_now().saturating_sub(id.ticks) * (1000 / TICKS_PER_SEC);
    WallTime(now.0.saturating_sub(ago))
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

/// Returns the processes whose environment has this variable, as `NAME=value`.
pub(super) fn with_variable(variable: &str) -> Vec<ProcessId> {
    let has = |stat: &Stat| {
        fs::read(format!("/proc/{}/environ", stat.id.pid))
            .is_ok_and(|text| text.split(|&byte| byte == 0).any(|var| var == variable.as_bytes()))
    };
    all().filter(|stat| !stat.is_zombie && has(stat)).map(|stat| stat.id).collect()
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

/// A process of the host, with what it has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) stat: Stat,
    /// Process that started it, or looks after it since.
    parent: u32,
    /// Processor time that it has used.
    pub(super) cpu: Duration,
}

/// Returns every process of the host.
pub(super) fn table() -> Vec<Row> {
    let rows = pids()
        .filter_map(|pid| parse_row(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?));
    rows.collect()
}

fn parse_row(pid: u32, text: &str) -> Option<Row> {
    let (_, rest) = text.rsplit_once(')')?;
    let field = |number: usize| rest.split_ascii_whitespace().nth(number)?.parse::<u64>().ok();
    let ticks = field(11)? + field(12)?;
    Some(Row {
        stat: parse_stat(pid, text)?,
        parent: u32::try_from(field(1)?).ok()?,
        cpu: Duration::from_millis(ticks * (1000 / TICKS_PER_SEC)),
    })
}

/// Returns a process with all that it has started: the members of its group, and their children
/// wherever they went.
pub(super) fn family(leader: u32, table: &[Row]) -> Vec<Row> {
    let (mut found, mut rest): (Vec<Row>, Vec<Row>) = table
        .iter()
        .filter(|row| !row.stat.is_zombie)
        .partition(|row| row.stat.id.pid == leader || row.stat.group == leader);
    loop {
        let known: BTreeSet<u32> = found.iter().map(|row| row.stat.id.pid).collect();
        let (more, others): (Vec<Row>, Vec<Row>) =
            rest.into_iter().partition(|row| known.contains(&row.parent));
        if more.is_empty() {
            return found;
        }
        found.extend(more);
        rest = others;
    }
}

/// Memory of one process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Held by it alone, as far as that is known.
    pub(super) own: u64,
    /// Of files and of memory that it shares with others.
    pub(super) shared: u64,
}

/// Returns what memory a process holds.
pub(super) fn memory(pid: u32) -> Option<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let of = |name| kibibytes(&text, name);
    Some(Memory { own: of("RssAnon:")?, shared: of("RssFile:")? + of("RssShmem:")? })
}

/// Returns the memory of the host.
pub(super) fn host_memory() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// Reads a line such as `RssAnon:   120 kB`, as bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(number * 1024)
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(Path::new("/proc")).ok().into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn all() -> impl Iterator<Item = Stat> {
    pids().filter_map(stat)
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
    fn a_family_is_a_group_and_all_that_it_has_started() {
        let row = |pid, parent, group| Row {
            stat: Stat { id: ProcessId { pid, ticks: 1 }, group, is_zombie: false },
            parent,
            cpu: Duration::ZERO,
        };
        // A child that leads a group of its own and has a child is of the family; one whose parent
        // is gone is known by the group alone; others are not.
        let table = [row(7, 1, 7), row(8, 7, 8), row(9, 8, 8), row(10, 1, 7), row(11, 1, 11)];
        let family = family(7, &table);
        let pids: BTreeSet<u32> = family.iter().map(|row| row.stat.id.pid).collect();
        assert_eq!(pids, [7, 8, 9, 10].into());
        let text = "7 (a) S 1 5 5 0 -1 4 0 0 0 0 12 30 0 0 20 0 1 0 4711 0 0 18446744073709";
        let row = parse_row(7, text).unwrap();
        assert_eq!((row.parent, row.cpu), (1, Duration::from_millis(420)));
    }

    #[test]
    fn memory_is_told_in_bytes() {
        assert_eq!(kibibytes("Name:\tx\nRssAnon:\t     12 kB\n", "RssAnon:"), Some(12 * 1024));
        assert_eq!(kibibytes("Name:\tx\n", "RssAnon:"), None);
        let own = memory(std::process::id()).unwrap();
        assert!(own.own > 0 && own.own + own.shared < host_memory().unwrap());
    }

    #[test]
    fn this_process_started_before_now_in_this_boot() {
        let own = stat(std::process::id()).unwrap();
        assert!(own.id.ticks > 0 && own.id.ticks <= ticks_now(), "{own:?} {}", ticks_now());
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
