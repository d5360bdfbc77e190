//! The contract between Trireme's programs: what is said, by whom, and what the words mean.
//!
//! Messages and services come from `proto/fleet/v1/*.proto` ([`wire`]); the values inside them
//! are the types here. Only [`keyfile`] touches files, and only [`channel`] opens sockets.

pub mod access;
pub mod action;
pub mod audit;
pub mod channel;
pub mod codec;
pub mod decimal;
pub mod destination;
pub mod digest;
pub mod id;
pub mod identity;
pub mod key;
pub mod keyfile;
pub mod manifest;
pub mod model;
pub mod pki;
pub mod placeholders;
pub mod plan;
pub mod problem;
pub mod query;
pub mod request;
pub mod schedule;
pub mod source;
pub mod time;
pub mod tls;
pub mod token;
pub mod untrusted;
pub mod view;
pub mod wire;
