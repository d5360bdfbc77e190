//! Drivers on the real thing: what an agent does to a host, through the engine that is there.
//!
//! Everything is on this machine and made by the tests; see [`trireme_tests::docker`] and
//! [`trireme_tests::systemd`].

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

mod compose;
mod systemd;
