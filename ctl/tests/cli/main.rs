//! `trictl` as a process, against controllers that say what a test tells them to.
//!
//! Real files, real mTLS on the loopback, real exit codes, stdout and stderr.

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

mod audit;
mod context;
mod fleet;
mod local;
mod next;
mod requests;
mod tree;
mod verbs;
mod watch;
