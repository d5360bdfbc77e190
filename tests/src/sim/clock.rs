//! Clocks that run too fast or too slow: each machine counts its own milliseconds.

/// Most that a clock may drift, in parts per million: 5 %.
pub(super) const DRIFT_MAX: u64 = 50_000;

const MILLION: u64 = 1_000_000;

/// A clock that counts from when its machine was booted.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// True time at which it showed zero.
    pub booted: u64,
    /// Local parts that pass while a million true ones do.
    pub rate: u64,
}

impl Clock {
    /// Returns what the clock shows at true time `now`.
    pub fn read(&self, now: u64) -> u64 {
        now.saturating_sub(self.booted) * self.rate / MILLION
    }

    /// Returns how long `local` milliseconds of this clock truly take, rounded up.
    pub fn lasts(&self, local: u64) -> u64 {
        (local * MILLION).div_ceil(self.rate)
    }
}
