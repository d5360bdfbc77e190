//! What every daemon tells of itself: its version, its certificates, its disk, and what the system
//! tells of its process, under the names that every client uses.

use std::fs;
use std::path::Path;
use std::time::Duration;

use trireme_proto::time::WallTime;

use crate::metric::{Metric, Page};

const MEMORY: Metric =
    Metric::gauge("process_resident_memory_bytes", &[], "Resident memory of this process");
const FILES: Metric = Metric::gauge("process_open_fds", &[], "Files that this process has open");
const FILES_MAX: Metric =
    Metric::gauge("process_max_fds", &[], "Files that this process may have open");
const THREADS: Metric = Metric::gauge("process_threads", &[], "Threads of this process");
const STARTED: Metric = Metric::gauge(
    "process_start_time_seconds",
    &[],
    "When this process was started, in seconds since 1970",
);
const USED: Metric =
    Metric::counter("process_cpu_seconds_total", &[], "Processor time that this process has used");

const FREE: Metric =
    Metric::gauge("fleet_disk_free_bytes", &[], "Space left for this daemon's data directory");
const SIZE: Metric =
    Metric::gauge("fleet_disk_size_bytes", &[], "Size of the disk with the data directory");

const BUILD: Metric = Metric::info("fleet_build_info", &["version"], "Version that runs");
const EXPIRY: Metric = Metric::gauge(
    "fleet_cert_expiry_timestamp_seconds",
    &["kind"],
    "When a certificate of this daemon ends",
);

/// What every daemon tells of itself.
pub const COMMON: [Metric; 10] =
    [BUILD, EXPIRY, FREE, SIZE, USED, MEMORY, FILES, FILES_MAX, THREADS, STARTED];

/// Clock ticks in a second as /proc counts them: 100 on every architecture Linux runs on.
const TICKS_PER_SEC: u64 = 100;

/// Adds what every daemon tells of itself; `ends` are its certificates by kind, `data` is its
/// directory. What the system does not tell is left out.
pub fn common(
    page: &mut Page,
    version: &str,
    ends: impl IntoIterator<Item = (&'static str, Option<WallTime>)>,
    data: &Path,
) {
    page.gauge(&BUILD, &[version], 1.0);
    for (kind, end) in ends {
        if let Some(end) = end {
            page.gauge(&EXPIRY, &[kind], seconds(end));
        }
    }
    disk(page, data);
    process(page);
}

/// Returns a time in seconds since 1970.
pub fn seconds(at: WallTime) -> f64 {
    Duration::from_millis(at.0).as_secs_f64()
}

fn process(page: &mut Page) {
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return };
    // The name stands in parentheses and may hold spaces and parentheses itself.
    let Some((_, rest)) = stat.rsplit_once(')') else { return };
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok());
    if let (Some(user), Some(system)) = (field(11), field(12)) {
        let ticks = Duration::from_millis((user + system) * 1000 / TICKS_PER_SEC);
        page.seconds(&USED, &[], ticks.as_secs_f64());
    }
    if let Some(threads) = field(17) {
        page.number(&THREADS, &[], threads);
    }
    if let (Some(ticks), Some(boot)) = (field(19), booted()) {
        page.number(&STARTED, &[], boot + ticks / TICKS_PER_SEC);
    }
    if let Some(kib) = resident() {
        page.number(&MEMORY, &[], kib * 1024);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The directory that is being read is open as well.
        page.number(&FILES, &[], open.count().saturating_sub(1));
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    page.number(&FILES_MAX, &[], limit.unwrap_or(u64::MAX));
}

/// Returns when the host was booted, in seconds since 1970.
fn booted() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// Returns the resident memory of this process in KiB.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn disk(page: &mut Page, directory: &Path) {
    if let Ok(disk) = rustix::fs::statvfs(directory) {
        page.number(&FREE, &[], disk.f_bavail.saturating_mul(disk.f_frsize));
        page.number(&SIZE, &[], disk.f_blocks.saturating_mul(disk.f_frsize));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_declared_is_told() {
        let mut page = Page::default();
        common(&mut page, "1.2.3", [("own", Some(WallTime(1500))), ("no", None)], Path::new("/"));
        let mut declared: Vec<_> = COMMON.iter().map(|metric| metric.name).collect();
        declared.sort_unstable();
        assert_eq!(page.names().collect::<Vec<_>>(), declared);
        let text = page.text(crate::Format::OpenMetrics);
        assert!(text.contains("fleet_cert_expiry_timestamp_seconds{kind=\"own\"} 1.5\n"), "{text}");
        assert!(!text.contains("kind=\"no\""));
    }
}
