//! What became of each request, and the numbers over a range of time.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Different failures that are kept apart in a summary; more would not be read.
const FAILURES_MAX: usize = 20;

/// One request.
#[derive(Debug)]
struct Sample {
    due: Instant,
    ended: Option<(Duration, Option<String>)>,
}

/// All requests of a load, in the order they were due.
#[derive(Debug, Default)]
pub(super) struct Samples(Mutex<Vec<Sample>>);

/// What became of the requests of a range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Requests that were due in it.
    pub sent: u64,
    /// Those that failed.
    pub failed: u64,
    /// Time that 99 of 100 requests took at most, failed ones included.
    pub p99: Duration,
    /// Longest time.
    pub max: Duration,
    /// Reasons of failures, each with how often it was met.
    pub failures: BTreeMap<String, u64>,
}

impl Samples {
    fn lock(&self) -> MutexGuard<'_, Vec<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that a request was sent; returns its number.
    pub(super) fn sent(&self, due: Instant) -> usize {
        let mut samples = self.lock();
        samples.push(Sample { due, ended: None });
        samples.len() - 1
    }

    /// Remembers how it ended.
    pub(super) fn ended(&self, number: usize, took: Duration, failure: Option<String>) {
        if let Some(sample) = self.lock().get_mut(number) {
            sample.ended = Some((took, failure));
        }
    }

    /// Returns whether some request of the range has not ended.
    pub(super) fn open(&self, from: Instant, until: Instant) -> bool {
        range(&self.lock(), from, until).iter().any(|sample| sample.ended.is_none())
    }

    /// Returns how many were sent since `from`, and how many of them have failed.
    pub(super) fn so_far(&self, from: Instant) -> (u64, u64) {
        let samples = self.lock();
        let range = range(&samples, from, Instant::now());
        let failed = range.iter().filter(|s| matches!(s.ended, Some((_, Some(_))))).count();
        (range.len() as u64, failed as u64)
    }

    /// Returns the numbers of a range whose requests have all ended.
    pub(super) fn numbers(&self, from: Instant, until: Instant) -> Numbers {
        let samples = self.lock();
        let range = range(&samples, from, until);
        let mut numbers = Numbers { sent: range.len() as u64, ..Numbers::default() };
        let mut times = Vec::with_capacity(range.len());
        for (took, failure) in range.iter().filter_map(|sample| sample.ended.as_ref()) {
            times.push(*took);
            if let Some(failure) = failure {
                numbers.failed += 1;
                let known = numbers.failures.contains_key(failure);
                let text = if known || numbers.failures.len() < FAILURES_MAX {
                    failure.as_str()
                } else {
                    "others"
                };
                *numbers.failures.entry(text.to_owned()).or_default() += 1;
            }
        }
        times.sort_unstable();
        numbers.p99 = percentile(&times, 99);
        numbers.max = times.last().copied().unwrap_or_default();
        numbers
    }
}

/// Returns the samples due from `from` and before `until`; they are in order.
fn range(samples: &[Sample], from: Instant, until: Instant) -> &[Sample] {
    let first = samples.partition_point(|sample| sample.due < from);
    let last = samples.partition_point(|sample| sample.due < until);
    &samples[first.min(last)..last]
}

/// Returns the smallest time that `percent` of all sorted times do not exceed.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let rank = (times.len() * percent).div_ceil(100);
    rank.checked_sub(1).and_then(|index| times.get(index)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_of_the_requests_that_were_due_in_the_range() {
        let samples = Samples::default();
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        for number in 0..200_u64 {
            let sent = samples.sent(at(number * 10));
            let failure = (number == 150).then(|| "status 500".to_owned());
            samples.ended(sent, Duration::from_millis(number), failure);
        }
        let numbers = samples.numbers(at(0), at(1000));
        assert_eq!((numbers.sent, numbers.failed), (100, 0));
        assert_eq!(numbers.p99, Duration::from_millis(98));
        assert_eq!(numbers.max, Duration::from_millis(99));
        let later = samples.numbers(at(1000), at(5000));
        assert_eq!((later.sent, later.failed), (100, 1));
        assert_eq!(later.failures["status 500"], 1);
        assert_eq!(samples.numbers(at(9000), at(8000)), Numbers::default());
    }

    #[test]
    fn a_request_under_way_keeps_its_range_open() {
        let samples = Samples::default();
        let begin = Instant::now();
        let end = begin + Duration::from_secs(1);
        let number = samples.sent(begin);
        assert!(samples.open(begin, end));
        assert!(!samples.open(end, end + Duration::from_secs(1)));
        samples.ended(number, Duration::ZERO, None);
        assert!(!samples.open(begin, end));
    }
}
