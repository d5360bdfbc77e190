//! Questions to nodes and their answers: what an operator looks at and no fleet state holds.
//!
//! ```text
//!  trictl ──request──▶ any controller ──Question──▶ the controller that the node is connected to
//!     ▲                      │ merges, counts             │ Query, over the node's one stream
//!     └────── events ────────┴──────── pieces ────────────┴─────────────▶ agent
//! ```
//!
//! A question names what is declared, never a path or a command line of the asker's own: the agent
//! looks the rest up in what it was assigned.

mod exec;
mod logs;
mod look;

pub use exec::{
    EXEC_BYTES_MAX, EXEC_LIMIT_MAX, EXEC_LIMIT_USUAL, EXEC_WORDS_MAX, ExecEnd, ExecEvent,
    ExecQuestion, ExecRequest,
};
pub use logs::{
    Cursor, FILES_MAX, Grep, GrepError, LINE_BYTES_MAX, LogEvent, LogLine, LogPiece, LogView,
    LogsQuestion, LogsRequest, PATTERN_LEN_MAX, SERVICES_MAX, TAIL_MAX, TAIL_USUAL,
};
pub use look::{
    CheckStatus, Instance, InstanceUse, LookRequest, NodeUse, PARTS_MAX, ServiceStatus,
    StatusQuestion, UseQuestion,
};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::problem::{Code, Problem};

/// Largest part of an answer, in bytes: far below what is read as one message, and small enough
/// that a heartbeat behind a few of them is not late.
pub const CHUNK_BYTES_MAX: usize = 96 * 1024;

/// Size from which a part of an answer is sent as it is; one more line still fits below
/// [`CHUNK_BYTES_MAX`], whatever is escaped in it.
pub const CHUNK_BYTES_GOOD: usize = 32 * 1024;

/// Parts of one answer that may be on their way: what an answer can take of memory at each hop.
pub const CREDIT: u32 = 4;

/// Largest answer that is one document, in bytes: a status with as much in it as there may be.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// Answers that one node gives at the same time.
pub const NODE_QUERIES_MAX: usize = 8;

/// What a node is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// What a service wrote.
    Logs(LogsQuestion),
    /// How a service stands.
    Status(StatusQuestion),
    /// What services use of their host.
    Use(UseQuestion),
    /// To run a program beside a service, once it is on record that it will.
    Exec(ExecQuestion),
}

/// How an answer ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Why it is not whole, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

impl Ended {
    /// Returns the end of an answer that is not whole.
    pub fn with(problem: Problem) -> Self {
        Self { problem: Some(problem) }
    }
}

/// Who answered and who did not: together everybody who was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Nodes that were asked.
    pub asked: usize,
    /// Nodes that answered.
    pub answered: Vec<NodeId>,
    /// Nodes that did not, or not wholly, with the reason of each.
    pub silent: BTreeMap<NodeId, String>,
}

impl Totals {
    /// Returns the totals of these nodes, each with the reason for which it counts as silent.
    pub fn of(nodes: impl IntoIterator<Item = (NodeId, Option<String>)>) -> Self {
        let mut totals = Self::default();
        for (node, reason) in nodes {
            totals.asked += 1;
            match reason {
                None => totals.answered.push(node),
                Some(reason) => drop(totals.silent.insert(node, reason)),
            }
        }
        totals
    }

    /// Returns the problem of not having heard from everybody, if so.
    pub fn problem(&self) -> Option<Problem> {
        if self.silent.is_empty() {
            return None;
        }
        let (silent, asked) = (self.silent.len(), self.asked);
        let message = format!("{silent} of {asked} {} did not answer", plural(asked, "node"));
        let problem = Problem::new(Code::Unreachable, message);
        let problem = self.silent.iter().fold(problem, |problem, (node, reason)| {
            problem.because(format!("silent: {node}: {reason}"))
        });
        let answered: Vec<_> = self.answered.iter().map(NodeId::as_str).collect();
        let answered = if answered.is_empty() { "nobody".to_owned() } else { answered.join(", ") };
        Some(problem.because(format!("answered: {answered}")))
    }
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    #[test]
    fn totals_sum_and_name_everybody() {
        let gone = Some("not connected to any controller".to_owned());
        let totals =
            Totals::of([(node("aws-1"), None), (node("gcp-1"), gone), (node("gcp-2"), None)]);
        assert_eq!(totals.asked, totals.answered.len() + totals.silent.len());
        let problem = totals.problem().unwrap();
        assert_eq!(problem.code, Code::Unreachable);
        assert_eq!(problem.message, "1 of 3 nodes did not answer");
        assert_eq!(
            problem.why,
            ["silent: gcp-1: not connected to any controller", "answered: aws-1, gcp-2"]
        );
        assert_eq!(Totals::of([(node("aws-1"), None)]).problem(), None);
    }
}
