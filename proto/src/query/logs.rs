//! What services wrote: who is asked for which lines, and the lines.

use std::collections::BTreeMap;
use std::fmt;

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::Totals;
use crate::id::{NodeId, RegionId, ServiceId};
use crate::time::WallTime;

/// Bytes of a line that are searched and shown; of longer ones the rest is left out.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// Newest lines of each source that may be asked for.
pub const TAIL_MAX: u32 = 100_000;

/// Newest lines of each source that are shown where nobody says how many.
pub const TAIL_USUAL: u32 = 100;

/// Services of one request.
pub const SERVICES_MAX: usize = 16;

/// Files of one request.
pub const FILES_MAX: usize = 16;

/// Longest pattern, in bytes.
pub const PATTERN_LEN_MAX: usize = 1000;

/// Memory that a compiled pattern may take, in bytes: what thousands of alternatives need.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Memory that a search may take besides, in bytes.
const SEARCH_BYTES_MAX: usize = 2 << 20;

/// What an operator asks of several services and nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsRequest {
    /// Services; all of them are read together.
    pub services: Vec<ServiceId>,
    /// Only nodes of this region.
    #[serde(default)]
    pub region: Option<RegionId>,
    /// Only these nodes; empty for every node of the services.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Files that manifests declare under `logs`, to be read too.
    #[serde(default)]
    pub files: Vec<String>,
    /// Whether the services' own output is left out.
    #[serde(default)]
    pub files_only: bool,
    /// Newest lines of each source; all there are if `None`.
    #[serde(default)]
    pub tail: Option<u32>,
    /// Only lines from this time on.
    #[serde(default)]
    pub since: Option<WallTime>,
    /// Only lines that match.
    #[serde(default)]
    pub grep: Option<Grep>,
    /// Whether to go on with what is written from now on.
    #[serde(default)]
    pub follow: bool,
    /// Where each source was left off, by [`LogView::source`]; the request goes on from there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub from: BTreeMap<String, Cursor>,
}

/// What a node is asked of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsQuestion {
    /// Service.
    pub service: ServiceId,
    /// File that its manifest declares under `logs`; its own output if `None`.
    pub file: Option<String>,
    /// Newest lines wanted; all there are if `None`.
    pub tail: Option<u32>,
    /// Only lines from this time on.
    pub since: Option<WallTime>,
    /// Only lines that match.
    pub grep: Option<Grep>,
    /// Whether to go on with what is written from now on.
    pub follow: bool,
    /// Where an earlier answer was left off; then only what comes after it is wanted.
    pub from: Option<Cursor>,
}

/// Which lines are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grep {
    /// Regular expression, in the grammar of Rust's `regex`: every search takes linear time.
    pub pattern: String,
    /// Whether upper and lower case are the same.
    pub ignore_case: bool,
}

/// Tells why a pattern cannot be searched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrepError {
    /// Longer than any pattern a person writes.
    #[error("a pattern of {0} bytes is longer than {PATTERN_LEN_MAX}")]
    TooLong(usize),
    /// It is no regular expression, or one that takes too much memory.
    #[error("`{pattern}` cannot be searched for: {why}")]
    Invalid {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Grep {
    /// Returns what searches for it.
    pub fn compile(&self) -> Result<Regex, GrepError> {
        if self.pattern.len() > PATTERN_LEN_MAX {
            return Err(GrepError::TooLong(self.pattern.len()));
        }
        RegexBuilder::new(&self.pattern)
            .case_insensitive(self.ignore_case)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(SEARCH_BYTES_MAX)
            .build()
            .map_err(|error| GrepError::Invalid {
                pattern: self.pattern.clone(),
                why: last_line(&error.to_string()),
            })
    }
}

/// Returns what is wrong, without the drawing of where.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// A place in a source, as the node that made it understands it; others keep it and give it back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One line of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written, if it says so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<WallTime>,
    /// What it says; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// Whether more of it was left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Where the source goes on after it.
    pub cursor: Cursor,
}

/// A part of what a source has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPiece {
    /// Lines, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LogLine>,
    /// Where the source goes on after this, also where none of its lines was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Cursor>,
    /// Whether there was nothing more when this was sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub caught_up: bool,
    /// What a reader should know, such as that lines were lost in a rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// What an operator sees of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogView {
    /// Node that has it.
    pub node: NodeId,
    /// Service that wrote it.
    pub service: ServiceId,
    /// Declared file it is from; the service's own output if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line.
    #[serde(flatten)]
    pub line: LogLine,
}

impl LogView {
    /// Returns the name of the source: `node/service` or `node/service/file`.
    pub fn source(&self) -> String {
        source_name(&self.node, &self.service, self.file.as_deref())
    }
}

/// Returns the name of a source.
pub(crate) fn source_name(node: &NodeId, service: &ServiceId, file: Option<&str>) -> String {
    match file {
        Some(file) => format!("{node}/{service}/{file}"),
        None => format!("{node}/{service}"),
    }
}

impl LogsQuestion {
    /// Returns the name of the source on `node`, as [`LogView::source`] has it.
    pub fn source(&self, node: &NodeId) -> String {
        source_name(node, &self.service, self.file.as_deref())
    }
}

/// What an operator is told while lines come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum LogEvent {
    /// Lines, in the order of time as far as they have times.
    Lines {
        /// The lines.
        lines: Vec<LogView>,
    },
    /// Something about one source.
    Notice {
        /// Source, as [`LogView::source`] has it.
        source: String,
        /// What.
        text: String,
    },
    /// There is no more.
    End {
        /// Who answered.
        totals: Totals,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grep(pattern: &str) -> Grep {
        Grep { pattern: pattern.to_owned(), ignore_case: false }
    }

    #[test]
    fn a_pattern_is_bounded_in_length_and_memory() {
        assert!(grep("err(or)?").compile().unwrap().is_match(b"an error"));
        assert!(!grep("error").compile().unwrap().is_match(b"ERROR"));
        let loose = Grep { ignore_case: true, ..grep("error") };
        assert!(loose.compile().unwrap().is_match(b"\xff ERROR"));
        let long = "a".repeat(PATTERN_LEN_MAX + 1);
        assert_eq!(grep(&long).compile().unwrap_err(), GrepError::TooLong(PATTERN_LEN_MAX + 1));
        let error = grep("(").compile().unwrap_err().to_string();
        assert_eq!(error, "`(` cannot be searched for: unclosed group");
        let huge = grep("((a{100}){100}){100}").compile().unwrap_err().to_string();
        assert!(huge.contains("size limit"), "{huge}");
    }

    #[test]
    fn a_source_has_one_name_on_both_sides() {
        let question = LogsQuestion {
            service: "web".parse().unwrap(),
            file: Some("access".to_owned()),
            tail: None,
            since: None,
            grep: None,
            follow: false,
            from: None,
        };
        let node: NodeId = "aws-1".parse().unwrap();
        let line =
            LogLine { time: None, text: String::new(), cut: false, cursor: Cursor::default() };
        let view = LogView {
            node: node.clone(),
            service: question.service.clone(),
            file: question.file.clone(),
            line,
        };
        assert_eq!(question.source(&node), "aws-1/web/access");
        assert_eq!(view.source(), question.source(&node));
    }
}
