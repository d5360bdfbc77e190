//! The controller's clocks: fleet time, which decides, and wall time, which is for people.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use trireme_proto::time::{FleetTime, WallTime};

/// A moment by the clock that counts while the machine sleeps. The standard library's stands still
/// then: a heartbeat from before a suspension would look fresh after it, and count as evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    /// Returns the present moment.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Self(Duration::new(seconds, nanos))
    }

    /// Returns the time since then, sleep included.
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

/// Fleet time by this machine's clock, going on from what the leader last told.
#[derive(Debug)]
pub struct FleetClock(Mutex<(FleetTime, Instant)>);

impl Default for FleetClock {
    fn default() -> Self {
        Self(Mutex::new((FleetTime(0), Instant::now())))
    }
}

impl FleetClock {
    /// Returns fleet time as this controller reckons it.
    pub fn now(&self) -> FleetTime {
        let (base, since) = *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let elapsed = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        FleetTime(base.0.saturating_add(elapsed))
    }

    /// Takes over what the leader told.
    pub fn set(&self, told: FleetTime) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = (told, Instant::now());
    }

    /// Goes on from `seen` where that is later: fleet time never runs backwards.
    pub fn at_least(&self, seen: FleetTime) {
        if self.now() < seen {
            self.set(seen);
        }
    }
}

/// Returns wall time.
pub fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
