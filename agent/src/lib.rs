//! The hands of a Trireme fleet on every host: it checks services, performs actions step by
//! step, and keeps a journal so that a crash neither repeats nor forgets one.
//!
//! Deciding is pure ([`plan`]); everything else does what it is told.

mod act;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod host;
pub mod http;
pub mod journal;
pub mod link;
mod observe;
pub mod plan;
pub mod query;
pub mod runtime;
pub mod telemetry;
pub mod untrusted;
