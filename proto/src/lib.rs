//! The contract between Trireme's programs: what is said, by whom, and what the words mean.
//!
//! Messages and services come from `proto/fleet/v1/*.proto` ([`wire`]); the values inside them
//! are the types here. Nothing in this crate opens a file or a socket by itself.

pub mod action;
pub mod digest;
pub mod id;
pub mod model;
pub mod plan;
pub mod problem;
pub mod time;
pub mod view;
pub mod wire;
