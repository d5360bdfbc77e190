//! The part of `base2histogram` that openraft calls, without the histograms.
//!
//! openraft keeps statistics of its own batches, which can be read only with a feature that is off
//! here. The real crate makes tables for all of its sixteen resolutions at the first use of one: 26
//! MB of resident memory in every controller, two thirds of all it takes. Here nothing is kept. The
//! build fails if a later openraft calls for more.

use std::fmt;
use std::marker::PhantomData;

/// Takes values and forgets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    /// Returns an empty histogram, which it stays.
    #[expect(clippy::new_without_default, reason = "openraft calls only this")]
    pub fn new() -> Self {
        Self(PhantomData)
    }

    /// Forgets a value.
    pub fn record(&mut self, _value: u64) {}

    /// Forgets a value that was seen several times.
    pub fn record_n(&mut self, _value: u64, _count: u64) {}

    /// Returns the statistics of no samples.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

/// Statistics of no samples: fields as in the real crate, and always zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[samples: 0]")
    }
}

/// A chart of nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AsciiChart;

impl AsciiChart {
    /// Returns an empty chart, which it stays.
    pub fn new() -> Self {
        Self
    }

    /// Leaves a histogram out.
    #[must_use]
    pub fn add<T>(self, _name: impl Into<String>, _histogram: Histogram<T>) -> Self {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}
