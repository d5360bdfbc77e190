//! Figures as files, so that one version can be compared with the next.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Many simulated histories in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Histories {
    /// How many there were.
    pub seeds: u64,
    /// How many broke a promise.
    pub violations: usize,
    /// Time it took.
    pub seconds: f64,
    /// The first that broke a promise.
    pub first_violation: Option<First>,
}

/// A history that broke a promise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct First {
    /// Its seed.
    pub seed: u64,
    /// The promise.
    pub rule: String,
}

/// Writes `figures` as JSON to `file`, in a directory that need not exist yet.
pub fn write(file: &Path, figures: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(figures)? + "\n";
    let made = file.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(file, text))
        .with_context(|| format!("cannot write {}", file.display()))
}
