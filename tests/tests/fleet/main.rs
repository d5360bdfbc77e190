//! Whole fleets of real processes: controllers, agents, services, and `trictl` beside them.
//!
//! ```text
//!  rig      a fleet on the loopback, started, reached and taken down
//!  web      the service that is upgraded, and what it recorded of its starts
//!  app      a service that is looked at: what it writes is up to the test
//!  traffic  requests that find it through the fleet's DNS, and who answers
//!  people   certificates of every kind, and people who log in
//!  receiver whom alerts are sent to
//! ```
//!
//! Each test has a fleet of its own and at most a minute, those with containers somewhat more. They
//! assert order and outcome, never time; a fleet that a failing test leaves is ended, and the ends of
//! its logs are printed.

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

mod alerts;
mod app;
mod approval;
mod attacks;
mod audit;
mod checklists;
mod completion;
mod compose;
mod controllers;
mod crash;
mod dns;
mod dry_run;
mod fleet_status;
mod identity;
mod join;
mod login;
mod machine;
mod nginx;
mod operate;
mod orphaned;
mod people;
mod receiver;
mod refused;
mod rig;
mod service_exec;
mod service_logs;
mod service_look;
mod steer;
mod systemd;
mod telemetry;
mod traffic;
mod upgrade;
mod web;
