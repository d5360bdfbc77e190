//! Programs that an admin runs beside a service: what is asked, what comes back, and its limits.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, ServiceId};
use crate::time::Span;

/// Longest that a program may run.
pub const EXEC_LIMIT_MAX: Span = Span::secs(600);

/// How long a program may run where nobody says.
pub const EXEC_LIMIT_USUAL: Span = Span::secs(30);

/// Output that is shown of one program, in bytes; what is beyond is thrown away and counted.
pub const EXEC_BYTES_MAX: u64 = 4 << 20;

/// What a command line and its reason may take in the audit, in bytes: all of it is recorded, so
/// that nothing can hide behind a cut.
pub const EXEC_WORDS_MAX: usize = 1500;

/// What an admin asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Service beside which it runs.
    pub service: ServiceId,
    /// Node on which it runs.
    pub node: NodeId,
    /// Program and arguments; nothing is read by a shell. Empty only for a debug run, which then
    /// starts what the release says.
    pub argv: Vec<String>,
    /// Why.
    pub reason: String,
    /// Longest that it may run.
    pub limit: Span,
    /// Which of the service's containers, by their service in the project; needed if there are
    /// several.
    #[serde(default)]
    pub container: Option<String>,
    /// Whether it runs in a container or directory made for it, that goes with it.
    #[serde(default)]
    pub debug: bool,
    /// Whether to judge and answer only.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a node is asked, once it is on record that it will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecQuestion {
    /// Names this run; a node begins one of that name once and never again.
    pub id: String,
    /// Service beside which it runs.
    pub service: ServiceId,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Longest that it may run.
    pub limit: Span,
    /// Which container.
    pub container: Option<String>,
    /// Whether it runs in a container or directory made for it.
    pub debug: bool,
}

/// What a node tells of a run besides its output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ExecEvent {
    /// It runs.
    Begun {
        /// Names the run in the audit.
        id: String,
        /// Process or container that it runs in or as.
        instance: String,
    },
    /// It has ended.
    Ended {
        /// How.
        end: ExecEnd,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecEnd {
    /// Its exit code, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why it was ended, or why nobody knows how it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How long it ran.
    pub lasted: Span,
    /// Bytes of its output that were shown.
    pub shown_bytes: u64,
    /// Bytes that were thrown away.
    pub dropped_bytes: u64,
}

impl fmt::Display for ExecEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.exit_code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}")?,
            (None, Some(signal)) => write!(f, "ended by signal {signal}")?,
            (None, None) => f.write_str("exit code unknown")?,
        }
        if let Some(why) = &self.why {
            write!(f, ", {why}")?;
        }
        write!(f, ", after {}, {} bytes shown", self.lasted, self.shown_bytes)?;
        if self.dropped_bytes > 0 {
            write!(f, ", {} thrown away", self.dropped_bytes)?;
        }
        Ok(())
    }
}

impl ExecEnd {
    /// Returns whether it ended by itself and well.
    pub fn is_good(&self) -> bool {
        self.exit_code == Some(0) && self.why.is_none()
    }
}

impl ExecRequest {
    /// Returns what is wrong with it, if anything; where it may run is another question.
    pub fn fault(&self) -> Option<String> {
        let empty = self.argv.first().is_none_or(String::is_empty);
        let words =
            self.argv.iter().chain([&self.reason]).map(|word| recorded(word)).sum::<usize>();
        if empty && !(self.debug && self.argv.is_empty()) {
            Some("no program is named: write it behind `--`".to_owned())
        } else if self.reason.trim().is_empty() {
            Some("a reason is needed: --reason TEXT".to_owned())
        } else if self.limit.0 == 0 || self.limit > EXEC_LIMIT_MAX {
            Some(format!("a limit of {} is not one of 1ms to {EXEC_LIMIT_MAX}", self.limit))
        } else if self.argv.iter().any(|word| word.contains('\0')) {
            Some("a word of a command line cannot hold a zero byte".to_owned())
        } else if words > EXEC_WORDS_MAX {
            let most = EXEC_WORDS_MAX;
            Some(format!("command and reason take {words} bytes of the audit, more than {most}"))
        } else {
            None
        }
    }
}

/// Returns the bytes that a word takes in the audit at most: what is not plain is written out.
fn recorded(word: &str) -> usize {
    let each = word.chars().map(|c| match c {
        ' '..='!' | '#'..='[' | ']'..='~' => 1,
        '"' | '\\' => 2,
        _ => 10,
    });
    each.sum::<usize>() + 3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(argv: &[&str], reason: &str) -> ExecRequest {
        ExecRequest {
            service: "web".parse().unwrap(),
            node: "aws-1".parse().unwrap(),
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            reason: reason.to_owned(),
            limit: EXEC_LIMIT_USUAL,
            container: None,
            debug: false,
            dry_run: false,
        }
    }

    /// DVN-05: a program, a reason and a limit; nothing that would not stand in the audit whole.
    #[test]
    fn dvn_05_what_cannot_be_recorded_whole_is_not_asked() {
        assert_eq!(request(&["ls", "-l"], "look").fault(), None);
        let fault = |argv: &[&str], reason| request(argv, reason).fault().unwrap();
        assert!(fault(&[], "look").starts_with("no program"));
        assert!(fault(&["", "x"], "look").starts_with("no program"));
        assert!(fault(&["ls"], " ").starts_with("a reason"));
        assert!(fault(&["a\0b"], "look").contains("zero byte"));
        assert!(fault(&["sh", &"x".repeat(EXEC_WORDS_MAX)], "look").contains("more than"));
        assert!(fault(&["sh", &"\u{202e}".repeat(160)], "look").contains("more than"));
        let long = ExecRequest { limit: Span(EXEC_LIMIT_MAX.0 + 1), ..request(&["ls"], "look") };
        assert!(long.fault().is_some());
        let own = ExecRequest { debug: true, ..request(&[], "look") };
        assert_eq!(own.fault(), None);
    }

    #[test]
    fn an_end_is_told_in_one_line() {
        let end = ExecEnd { exit_code: Some(3), lasted: Span(1200), ..ExecEnd::default() };
        assert_eq!(end.to_string(), "exit code 3, after 1s200ms, 0 bytes shown");
        let why = Some("its time was up".to_owned());
        let late = ExecEnd { signal: Some(9), why, dropped_bytes: 7, ..ExecEnd::default() };
        let text = "ended by signal 9, its time was up, after 0s, 0 bytes shown, 7 thrown away";
        assert_eq!(late.to_string(), text);
    }
}
