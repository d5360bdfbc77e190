//! Histories that once broke a promise: `tests/regressions/`, one file each, replayed by every run
//! of the tests, each with one line of why.
//!
//! A file holds the whole configuration, so that it keeps its meaning when seeds come to draw other
//! ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::Config;
use super::history::{Told, tell};
use super::story::Story;

/// A history that must break no promise again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regression {
    /// What was wrong, in one line.
    pub why: String,
    /// The promise it broke.
    pub broke: String,
    /// The history.
    pub config: Config,
}

impl Regression {
    /// Tells it again, and keeps its last lines.
    pub fn replay(&self, lines: usize) -> Told {
        tell(self.config.clone(), Story::of_last(lines))
    }

    /// Writes it into `directory` under a name of its own, for somebody to say why.
    pub fn propose(&self, directory: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(directory)?;
        let name = format!("{}-{}.json", self.broke.to_lowercase(), self.config.seed);
        let path = directory.join(name);
        let mut text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        text.push('\n');
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// Reads every file of `directory`, by name.
pub fn all(directory: &Path) -> io::Result<Vec<(PathBuf, Regression)>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path)?;
        let regression = serde_json::from_str(&text)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        Ok((path, regression))
    };
    paths.into_iter().map(read).collect()
}
