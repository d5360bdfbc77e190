//! Rows of the benchmark: what is measured, on what, and how it is reported.
//!
//! A row that has a peer runs both in turn, ours and theirs and ours again, in one run: machines are
//! shared, and a figure of one run says nothing beside a figure of another. What is reported of a
//! cell is the median of its rounds, and beside the ratio its spread.

pub mod agents;
pub mod demo;
pub mod etcd;
pub mod idle;
pub mod kill;
pub mod load;
pub mod ours;
pub mod planning;
pub mod sessions;
pub mod stats;
mod stream;
pub mod throughput;
pub mod transfer;
pub mod writers;

use std::collections::BTreeMap;

use serde::Serialize;

/// Everything that was measured, as `--json` writes it; parts that were left out are absent.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    /// Committed commands, by the number of clients.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub writes: BTreeMap<usize, throughput::Row>,
    /// Linearizable reads, by the number of clients.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reads: BTreeMap<usize, throughput::Row>,
    /// Reads under the leader's lease; they have no counterpart and are not counted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lease_reads: BTreeMap<usize, throughput::Row>,
    /// From SIGKILL of the leader to the next successful write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader_kill_ms: Option<stats::Versus>,
    /// Longest time without a successful write while the lead is handed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_gap_ms: Option<transfer::Gaps>,
    /// A fleet with nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<idle::Idle>,
    /// Agents on one controller, by their number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<sessions::Row>,
    /// Deciding and applying an upgrade, by the number of nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub planning: Vec<planning::Row>,
    /// The upgrades of the demo.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub demo: Vec<demo::Phase>,
}
