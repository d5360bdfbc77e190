//! The clocks: one that goes on while the machine sleeps, for deciding; the wall, for people and
//! certificates.

use rustix::time::{ClockId, clock_gettime};
use trireme_proto::time::WallTime;

use crate::plan::Millis;

/// Returns the milliseconds since the machine was booted, sleep included.
pub fn boottime() -> Millis {
    millis(ClockId::Boottime)
}

/// Returns the wall time.
pub fn wall() -> WallTime {
    WallTime(millis(ClockId::Realtime))
}

fn millis(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1000 + u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(0)
}
