//! What went wrong, in the one shape that every program prints and every exit code comes from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A refusal or failure: what, where, why, and the next command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Class of the problem; decides the exit code.
    pub code: Code,
    /// What happened, naming the thing: one sentence without a full stop.
    pub message: String,
    /// Why, piece by piece: predicate and evidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// Safety rule that refused, such as `serving.at_least`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Next command, or who can unblock it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Request it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Whether the same request may be sent again unchanged.
    #[serde(default)]
    pub retryable: bool,
}

/// Class of a problem; the numbers are the exit codes of DESIGN section 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// It was tried and failed.
    Failed,
    /// The request itself is wrong.
    Usage,
    /// The caller may not do this.
    Denied,
    /// Somebody else holds it, or the plan is stale.
    Conflict,
    /// No answer, or not from everyone asked.
    Unreachable,
    /// Nothing of that name.
    NotFound,
    /// A safety rule says no.
    Refused,
    /// Other people must approve it first.
    Waiting,
}

impl Code {
    /// Returns the exit code of `trictl`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Denied => 4,
            Self::Conflict => 5,
            Self::Unreachable => 6,
            Self::Waiting => 8,
            Self::NotFound => 9,
            Self::Refused => 10,
        }
    }
}

impl Problem {
    /// Returns a problem with a message alone.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            why: Vec::new(),
            rule: None,
            hint: None,
            request_id: None,
            retryable: false,
        }
    }

    /// Returns a refusal by the safety rule `rule`.
    pub fn refused(rule: &str, message: impl Into<String>) -> Self {
        Self { rule: Some(rule.to_owned()), ..Self::new(Code::Refused, message) }
    }

    /// Returns it with a piece of evidence more.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    /// Returns it with the next command.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}
