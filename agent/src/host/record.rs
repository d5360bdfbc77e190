//! What is known on disk of a service's process: written before it is started and after.
//!
//! ```text
//!            start                     spawned                stop asked
//!  (nothing) ─────▶ Starting ─────────────────▶ Running ─────────────────▶ Stopping ──▶ Stopped
//!                   may run: looked for          │ ended by itself
//!                   by its instance              ├─ policy: start again ──▶ Starting
//!                                                └─ policy: leave it ─────▶ Exited
//! ```
//!
//! Starting, Running: it should run, also after a reboot. The others: it should not.

use std::fmt;

use serde::{Deserialize, Serialize};
use trireme_proto::digest::Digest;
use trireme_proto::id::{ActionId, Version};
use trireme_proto::model::ProcessDriver;

/// The content of `run.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunRecord {
    /// Digest of the specification that runs or last ran.
    pub(super) spec: Digest,
    /// Version of that, for people.
    pub(super) version: Version,
    /// How it is stopped and restarted, so that this needs no other file.
    pub(super) driver: ProcessDriver,
    /// Action that started it.
    pub(super) action: ActionId,
    /// Attempts to start it since that action's own; never the same twice for one action and
    /// specification.
    pub(super) restart: u64,
    /// `service/random`: in the environment of the process, unique to this attempt.
    pub(super) instance: String,
    /// Boot of the host in which all this holds.
    pub(super) boot: String,
    /// Clock ticks from boot to the moment before the attempt.
    pub(super) since: u64,
    /// How far it came.
    pub(super) stage: Stage,
}

/// How far an attempt to run a service came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Stage {
    /// A process is about to be started, or was and the agent died before it could say so.
    Starting,
    /// This process was started.
    Running(ProcessId),
    /// This process is to end.
    Stopping(ProcessId),
    /// Nothing runs, on request.
    Stopped,
    /// It ended by itself and stays so.
    Exited {
        /// How it ended.
        exit: Exit,
    },
}

/// A process that cannot be mistaken for another within one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    /// Its number, which the host may give to others after it.
    pub(super) pid: u32,
    /// Clock ticks from boot to its start.
    pub(super) ticks: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody told: it was not this agent's child.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::Unknown => f.write_str("ended while no agent watched its exit code"),
        }
    }
}
