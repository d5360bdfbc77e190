//! Messages and services as generated from `proto/fleet/v1/*.proto`; nothing is written by hand.

#![allow(
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::large_futures,
    missing_debug_implementations,
    unreachable_pub,
    reason = "generated code is not ours to shape"
)]

tonic::include_proto!("fleet.v1");

/// Every RPC of the descriptor set, as service and method.
pub const RPCS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/rpcs.rs"));

/// Those of [`RPCS`] whose request can be judged without being done.
pub const DRY_RUNS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/dry_runs.rs"));
