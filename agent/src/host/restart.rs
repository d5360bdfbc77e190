//! Whether and when a service that ended by itself is started again; pure.
//!
//! | policy     | exit 0 | other exit or signal | nobody saw the exit code |
//! |------------|--------|----------------------|--------------------------|
//! | always     | again  | again                | again                    |
//! | on-failure | stays  | again                | again                    |
//! | never      | stays  | stays                | stays                    |
//!
//! Pauses are decorrelated: each is drawn between the shortest and three times the one before, so
//! that services which fall together do not rise together.

use std::time::Duration;

use trireme_proto::model::Restart;

use super::record::Exit;

/// Shortest pause: one crash costs the service next to nothing.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(200);
/// Longest pause: a service whose cause of failure went away is back within this.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A run this long was a good one: the pauses begin at the shortest again.
pub(super) const STABLE_RUN: Duration = Duration::from_secs(30);

/// Returns whether the policy starts a service again after such an end.
pub(super) fn is_restarted(policy: Restart, exit: Exit) -> bool {
    match policy {
        Restart::Always => true,
        Restart::OnFailure => exit != Exit::Code(0),
        Restart::Never => false,
    }
}

/// Returns the pause before the next start, given the pause before this run, how long this run
/// was, and a random number.
pub(super) fn pause(previous: Option<Duration>, ran: Duration, random: u64) -> Duration {
    let Some(previous) = previous.filter(|_| ran < STABLE_RUN) else {
        return PAUSE_MIN;
    };
    let ceiling = (previous * 3).clamp(PAUSE_MIN, PAUSE_MAX);
    let width = ceiling.saturating_sub(PAUSE_MIN).as_millis();
    let width = u64::try_from(width).unwrap_or(u64::MAX);
    PAUSE_MIN + Duration::from_millis(random % width.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CRASHED_AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn the_policy_decides_by_the_exit() {
        let ends = [Exit::Code(0), Exit::Code(1), Exit::Signal(9), Exit::Unknown];
        for (policy, expected) in [
            (Restart::Always, [true, true, true, true]),
            (Restart::OnFailure, [false, true, true, true]),
            (Restart::Never, [false, false, false, false]),
        ] {
            assert_eq!(ends.map(|exit| is_restarted(policy, exit)), expected, "{policy:?}");
        }
    }

    #[test]
    fn pauses_grow_to_the_longest_and_begin_anew_after_a_stable_run() {
        let mut last = None;
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            // Drawn so that each is the longest possible: one below the width.
            let ceiling = last.map_or(PAUSE_MIN, |pause: Duration| (pause * 3).min(PAUSE_MAX));
            let width = ceiling.saturating_sub(PAUSE_MIN).as_millis();
            last = Some(pause(last, CRASHED_AT_ONCE, width.try_into().unwrap()));
            longest = longest.max(last.unwrap());
        }
        assert_eq!(longest, PAUSE_MAX);
        assert_eq!(pause(last, STABLE_RUN, 7), PAUSE_MIN);
    }

    proptest! {
        #[test]
        fn no_pause_is_outside_the_limits(
            previous in proptest::option::of(0_u64..100_000), ran in 0_u64..100_000, random: u64,
        ) {
            let pause = pause(
                previous.map(Duration::from_millis), Duration::from_millis(ran), random,
            );
            prop_assert!((PAUSE_MIN..=PAUSE_MAX).contains(&pause));
        }
    }
}
