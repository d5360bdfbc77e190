//! What happened, line by line, for people; written only when somebody will read it.
//!
//! A sweep runs without it. A seed that fails is run again with it: one seed is one history. The
//! digest of all lines tells whether two histories are the same without keeping them.

use std::collections::VecDeque;
use std::fmt::{Display, Write as _};

/// Lines of a failing story that are printed: what led to the violation, and little else.
pub const LINES_SHOWN: usize = 60;

/// The number that an empty digest begins with, and what each byte is multiplied in with (FNV-1a).
const FNV: (u64, u64) = (0xcbf2_9ce4_8422_2325, 0x0100_0000_01b3);

/// A recorder of lines.
#[derive(Debug, Default)]
pub struct Story {
    keep: Option<usize>,
    lines: VecDeque<String>,
    digest: u64,
}

impl Story {
    /// Returns a recorder that writes nothing down.
    pub fn silent() -> Self {
        Self::default()
    }

    /// Returns a recorder that keeps the last `lines` lines, and the digest of all.
    pub fn of_last(lines: usize) -> Self {
        Self { keep: Some(lines), lines: VecDeque::new(), digest: FNV.0 }
    }

    /// Writes down that `who` did `what` at `at`.
    pub fn say(&mut self, at: u64, who: impl Display, what: impl FnOnce() -> String) {
        let Some(keep) = self.keep else { return };
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = write!(line, "{:>5}.{:03}  {who:<10} {}", at / 1000, at % 1000, what());
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(FNV.1);
        }
        self.lines.push_back(line);
        if self.lines.len() > keep {
            self.lines.pop_front();
        }
    }

    /// Returns the lines kept, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Returns the digest of all lines, kept or not.
    pub fn digest(&self) -> u64 {
        self.digest
    }
}
