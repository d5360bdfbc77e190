//! Programs that admins run beside services: on record before they run, and once they have ended.
//!
//! The fleet's state keeps nothing of them. What counts is the audit, and that of two requests
//! with one origin only the first may go on: the answer names whom it was given to.

use serde::{Deserialize, Serialize};
use trireme_proto::id::{NodeId, ServiceId};
use trireme_proto::time::Span;

use super::command::Outcome;

/// What is recorded of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum ExecStep {
    /// It is about to begin.
    Begin {
        /// Random name of the run, of this one attempt to begin it.
        id: String,
        /// Service beside which it runs.
        service: ServiceId,
        /// Node on which it runs.
        node: NodeId,
        /// Program and arguments, whole.
        argv: Vec<String>,
        /// Why.
        reason: String,
        /// Longest that it may run.
        limit: Span,
        /// Whether it runs in a container or directory of its own.
        debug: bool,
    },
    /// It has ended, as far as is known.
    End {
        /// Its name.
        id: String,
        /// Service beside which it ran.
        service: ServiceId,
        /// Node on which it ran.
        node: NodeId,
        /// How, in one line.
        end: String,
    },
}

impl ExecStep {
    /// Returns the verb and the object for the audit.
    pub fn describe(&self) -> (&'static str, String) {
        let (Self::Begin { id, service, node, .. } | Self::End { id, service, node, .. }) = self;
        ("service.exec", format!("node/{node}/service/{service} exec/{id}"))
    }

    /// Returns what the audit says became of it.
    pub fn result(&self) -> String {
        match self {
            Self::Begin { argv, reason, limit, debug, .. } => {
                let what = if *debug { "a debug run of " } else { "" };
                format!("done: begins {what}{argv:?} for at most {limit}, because {reason}")
            }
            Self::End { end, .. } => format!("done: {end}"),
        }
    }

    /// Returns what is answered.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Begin { id, .. } => Outcome::Begun { id: id.clone() },
            Self::End { .. } => Outcome::Done,
        }
    }
}
