//! `trictl`, the operator's voice in a Trireme fleet: it parses, asks a controller, and prints.
//!
//! ```text
//! argv ──cli──▶ commands/<noun>/<verb> ──client──▶ whichever controller answers
//!                        └──▶ output, the only door to stdout and stderr
//! ```
//!
//! Nothing is decided about the fleet here: rules, plans and refusals are the controllers'. Every
//! failure ends as a [`Problem`](trireme_proto::problem::Problem), printed once, in one place.

mod app;
pub mod cli;
pub mod client;
pub mod commands;
mod complete;
pub mod context;
pub mod demo;
pub mod error;
pub mod examples;
pub mod lang;
pub mod load;
pub mod local;
mod login;
mod manifest;
pub mod output;
mod terminal;

pub use app::{App, main};
