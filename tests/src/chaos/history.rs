//! What clients did and what they were told, with the moments between which it happened.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// One request of one client that has ended for it, whether or not it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Who asked. A client that was not answered never asks again: a new one goes on.
    pub client: u64,
    /// When it asked, in nanoseconds since the beginning.
    pub call: u64,
    /// When it was answered or gave up.
    pub end: u64,
    /// Controller that it asked.
    pub through: String,
    /// What it asked and was told.
    pub what: What,
}

/// What was asked and answered; reads without an answer say nothing and are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// One register was read.
    Read {
        /// Number of the register.
        key: usize,
        /// What it held.
        found: Option<u64>,
    },
    /// Everything was read at once.
    ReadAll {
        /// Revision of it all.
        revision: u64,
        /// What the registers held.
        found: Vec<Option<u64>>,
    },
    /// One register was written.
    Write {
        /// Number of the register.
        key: usize,
        /// What was written; nobody else writes the same.
        value: u64,
        /// Revision on which it depended, if it did.
        base: Option<u64>,
        /// What became of it.
        written: Written,
    },
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Written {
    /// It was done and is this revision.
    At(u64),
    /// It was not and will not be done: this was the revision.
    Conflict(u64),
    /// Nobody knows: it may be done, or may yet be.
    Unknown,
}

/// All requests of one run.
#[derive(Debug)]
pub struct History {
    begun: Instant,
    events: Mutex<Vec<Event>>,
}

impl Default for History {
    fn default() -> Self {
        Self { begun: Instant::now(), events: Mutex::default() }
    }
}

impl History {
    /// Returns the time since the beginning, in nanoseconds.
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Keeps what has ended.
    pub fn push(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Returns everything that has ended so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
