//! How a command ends: well, with something to say, or with a problem.
//!
//! Every refusal is a [`Problem`], whose class is the exit code. Three endings are no problems and
//! still have codes of their own: changes found, rolled back, interrupted.

use std::fmt;
use std::io;

use serde::Serialize;
use trireme_proto::problem::{Code, Problem};

/// How a command ended that did what it could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, or there was nothing to do.
    Done,
    /// It went as it should, and callers may want to tell it apart.
    Ended(Ending),
}

/// An ending with an exit code of its own and one line that says why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// Which ending.
    pub code: EndingCode,
    /// What happened, in one line.
    pub message: String,
    /// Next command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Class of an ending; with [`Code`] these are the exit codes of DESIGN section 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndingCode {
    /// There are differences, or the plan would change something.
    Changes,
    /// The upgrade went back to what ran before.
    RolledBack,
    /// The person at the terminal left.
    Interrupted,
}

impl EndingCode {
    /// Returns the exit code of `trictl`.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Changes => 3,
            Self::RolledBack => 7,
            Self::Interrupted => 130,
        }
    }
}

impl Ending {
    /// Returns an ending with a message alone.
    pub fn new(code: EndingCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Returns it with the next command.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Outcome {
    /// Returns the exit code of `trictl`.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Ended(ending) => ending.code.exit_code(),
        }
    }
}

impl From<Ending> for Outcome {
    fn from(ending: Ending) -> Self {
        Self::Ended(ending)
    }
}

/// Why a command could not go on.
#[derive(Debug)]
pub enum Failure {
    /// To be printed, and the exit code is its class.
    Problem(Box<Problem>),
    /// Whoever read our output has enough of it, as `head` has; that is no failure to report.
    Closed,
}

impl Failure {
    /// Returns the exit code of `trictl`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Problem(problem) => problem.code.exit_code(),
            Self::Closed => 0,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(problem) => problem.fmt(f),
            Self::Closed => f.write_str("output was closed"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Closed
        } else {
            failed("cannot write the output", &error).into()
        }
    }
}

/// Returns a problem of class failed whose reasons are the error and its causes.
pub fn failed(message: impl Into<String>, error: &dyn std::error::Error) -> Problem {
    caused(Problem::new(Code::Failed, message), error)
}

/// Returns the problem with an error and its causes as reasons, each said once.
pub fn caused(mut problem: Problem, error: &dyn std::error::Error) -> Problem {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if problem.why.last() != Some(&text) && problem.message != text {
            problem = problem.because(text);
        }
        cause = error.source();
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let problems = [
            (Code::Failed, 1),
            (Code::Usage, 2),
            (Code::Denied, 4),
            (Code::Conflict, 5),
            (Code::Unreachable, 6),
            (Code::NotFound, 9),
            (Code::Refused, 10),
            (Code::Waiting, 8),
        ];
        for (code, exit) in problems {
            assert_eq!(Failure::from(Problem::new(code, "x")).exit_code(), exit, "{code:?}");
        }
        let endings =
            [(EndingCode::Changes, 3), (EndingCode::RolledBack, 7), (EndingCode::Interrupted, 130)];
        for (code, exit) in endings {
            assert_eq!(Outcome::from(Ending::new(code, "x")).exit_code(), exit, "{code:?}");
        }
        assert_eq!(Outcome::Done.exit_code(), 0);
        assert_eq!(Failure::Closed.exit_code(), 0);
    }

    #[test]
    fn a_closed_pipe_is_no_problem() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::from(closed), Failure::Closed));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Failure::from(full).exit_code(), 1);
    }

    #[test]
    fn causes_are_said_once_each() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("inner"));
        let problem = failed("cannot do it", &error);
        assert_eq!(problem.why, ["outer", "inner"]);
    }
}
