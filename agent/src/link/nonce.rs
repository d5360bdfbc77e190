//! The nonces of the last heartbeats: by them the age of a controller's view is known.
//!
//! An offer echoes the newest nonce its controller has; how long ago that was sent is measured
//! on this machine's clock alone, so no clock of the fleet has to agree with another. Pure.

use std::collections::VecDeque;

use crate::plan::{Millis, NONCE_AGE_MAX};

/// Bytes of a nonce: too many to guess or to meet by chance.
pub(super) const NONCE_LEN: usize = 16;

/// Most nonces kept: more than are sent while one may be echoed.
const NONCES_MAX: usize = 256;

/// Nonces sent lately, oldest first.
#[derive(Debug, Default)]
pub(super) struct Nonces(VecDeque<([u8; NONCE_LEN], Millis)>);

impl Nonces {
    /// Remembers a nonce that is sent at `now`.
    pub(super) fn sent(&mut self, now: Millis, nonce: [u8; NONCE_LEN]) {
        let old = |(_, at): &([u8; NONCE_LEN], Millis)| now.saturating_sub(*at) > NONCE_AGE_MAX;
        while self.0.len() >= NONCES_MAX || self.0.front().is_some_and(old) {
            self.0.pop_front();
        }
        self.0.push_back((nonce, now));
    }

    /// Returns how long ago `nonce` was sent; `None` if it was not, or too long ago to remember.
    pub(super) fn age(&self, now: Millis, nonce: &[u8]) -> Option<u64> {
        let (_, at) = self.0.iter().rev().find(|(known, _)| known == nonce)?;
        Some(now.saturating_sub(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_as_old_as_its_heartbeat() {
        let mut nonces = Nonces::default();
        nonces.sent(1000, [1; NONCE_LEN]);
        nonces.sent(2000, [2; NONCE_LEN]);
        assert_eq!(nonces.age(2500, &[1; NONCE_LEN]), Some(1500));
        assert_eq!(nonces.age(2500, &[2; NONCE_LEN]), Some(500));
        assert_eq!(nonces.age(2500, &[3; NONCE_LEN]), None);
        assert_eq!(nonces.age(2500, &[]), None);
    }

    #[test]
    fn keeps_what_may_still_be_echoed_and_no_more() {
        let mut nonces = Nonces::default();
        nonces.sent(0, [1; NONCE_LEN]);
        nonces.sent(NONCE_AGE_MAX, [2; NONCE_LEN]);
        assert_eq!(nonces.age(NONCE_AGE_MAX, &[1; NONCE_LEN]), Some(NONCE_AGE_MAX));
        nonces.sent(NONCE_AGE_MAX + 1, [3; NONCE_LEN]);
        assert_eq!(nonces.age(NONCE_AGE_MAX + 1, &[1; NONCE_LEN]), None);
        for n in 0..2 * NONCES_MAX {
            let mut nonce = [9; NONCE_LEN];
            nonce[..8].copy_from_slice(&n.to_le_bytes());
            nonces.sent(NONCE_AGE_MAX + 2, nonce);
        }
        assert_eq!(nonces.0.len(), NONCES_MAX);
    }
}
