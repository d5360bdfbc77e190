//! How long to wait before the next try: growing, bounded, and different on every node.
//!
//! Decorrelated jitter: each pause is drawn between the base and three times the last one, so
//! that a fleet which lost its controllers in one moment does not come back in one moment. Pure.

use std::time::Duration;

/// Shortest pause: a controller that restarts is back within a few of these.
pub const BASE: Duration = Duration::from_millis(200);
/// Longest pause: nobody waits longer for a node once the controllers are back. A controller does
/// no handshake with who has given up, so many who try so often cost it little.
pub const LIMIT: Duration = Duration::from_secs(5);

/// Returns the pause after `last`, drawn by `random`.
pub fn next(last: Duration, random: u32) -> Duration {
    let (base, limit) = (millis(BASE), millis(LIMIT));
    let most = millis(last).saturating_mul(3).clamp(base, limit);
    Duration::from_millis(base + u64::from(random) % (most - base + 1))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_pause_is_between_base_and_limit(last in 0..u64::MAX, random: u32) {
            let pause = next(Duration::from_millis(last), random);
            prop_assert!((BASE..=LIMIT).contains(&pause), "{pause:?}");
        }
    }

    #[test]
    fn pauses_grow_to_the_limit_at_most_threefold() {
        let mut pause = BASE;
        for _ in 0..20 {
            // The largest draw there is.
            let most = (pause * 3).min(LIMIT);
            let draw = u32::try_from(most.checked_sub(BASE).unwrap().as_millis()).unwrap();
            assert_eq!(next(pause, draw), most);
            pause = most;
        }
        assert_eq!(pause, LIMIT);
        assert_eq!(next(LIMIT, 0), BASE);
    }

    #[test]
    fn nodes_that_fail_together_try_apart() {
        let pauses: std::collections::BTreeSet<_> =
            (0..100).map(|n| next(Duration::from_secs(2), n * 37)).collect();
        assert!(pauses.len() > 90, "{}", pauses.len());
    }
}
