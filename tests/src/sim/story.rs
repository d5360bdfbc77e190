//! What happened, line by line, for people; written only when somebody will read it.
//!
//! A sweep runs without it. A seed that fails is run again with it: one seed is one history.

use std::collections::VecDeque;
use std::fmt::{Display, Write as _};

/// Lines of a failing story that are printed: what led to the violation, and little else.
pub const LINES_SHOWN: usize = 60;

/// A recorder of lines.
#[derive(Debug, Default)]
pub struct Story {
    keep: Option<usize>,
    lines: VecDeque<String>,
}

impl Story {
    /// Returns a recorder that writes nothing down.
    pub fn silent() -> Self {
        Self::default()
    }

    /// Returns a recorder that keeps the last `lines` lines.
    pub fn of_last(lines: usize) -> Self {
        Self { keep: Some(lines), lines: VecDeque::new() }
    }

    /// Writes down that `who` did `what` at `at`.
    pub fn say(&mut self, at: u64, who: impl Display, what: impl FnOnce() -> String) {
        let Some(keep) = self.keep else { return };
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = write!(line, "{:>5}.{:03}  {who:<10} {}", at / 1000, at % 1000, what());
        self.lines.push_back(line);
        if self.lines.len() > keep {
            self.lines.pop_front();
        }
    }

    /// Returns the lines kept, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Returns whether anything is written down.
    pub fn is_kept(&self) -> bool {
        self.keep.is_some()
    }
}
