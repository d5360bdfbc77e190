//! Which runs were begun here: on disk before the program is started, so that none begins twice,
//! whoever asks again and whenever this agent was killed.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::host::{HostError, blocking, durable};

/// Runs that are remembered: their names are random, and a question does not outlive the stream it
/// came over, so this is far more than could ever be asked again.
const KEPT: usize = 256;

/// The runs begun on this host.
#[derive(Debug)]
pub(in crate::host) struct Once {
    path: PathBuf,
    runs: Arc<Mutex<Runs>>,
}

/// The content of `exec.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Runs {
    /// Oldest first.
    begun: VecDeque<Begun>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) id: String,
    /// What was made for it and goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) made: Option<Made>,
    /// Whether it is known to have ended with all that it started.
    pub(super) ended: bool,
}

/// What is made for a debug run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Made {
    /// A directory to run in.
    Dir(PathBuf),
    /// A container to run in.
    Container(String),
}

impl Once {
    /// Reads what was begun before.
    pub(in crate::host) fn open(root: &Path) -> Result<Self, HostError> {
        let path = root.join("exec.json");
        let runs = durable::read_json(&path)?.unwrap_or_default();
        Ok(Self { path, runs: Arc::new(Mutex::new(runs)) })
    }

    /// Records that a run begins; `false` if one of that name was begun before.
    pub(super) async fn begin(&self, id: &str, made: Option<Made>) -> Result<bool, HostError> {
        let mut runs = self.runs.lock().await;
        if runs.begun.iter().any(|one| one.id == id) {
            return Ok(false);
        }
        let mut next = runs.clone();
        next.begun.push_back(Begun { id: id.to_owned(), made, ended: false });
        while next.begun.len() > KEPT {
            next.begun.pop_front();
        }
        *runs = self.write(next).await?;
        Ok(true)
    }

    /// Records that nothing of a run is left.
    pub(super) async fn end(&self, id: &str) -> Result<(), HostError> {
        let mut runs = self.runs.lock().await;
        let mut next = runs.clone();
        for one in next.begun.iter_mut().filter(|one| one.id == id) {
            one.ended = true;
        }
        *runs = self.write(next).await?;
        Ok(())
    }

    /// Returns the runs of which something may be left.
    pub(super) async fn open_runs(&self) -> Vec<Begun> {
        let runs = self.runs.lock().await;
        runs.begun.iter().filter(|one| !one.ended).cloned().collect()
    }

    async fn write(&self, runs: Runs) -> Result<Runs, HostError> {
        let path = self.path.clone();
        blocking(move || durable::write_json(&path, &runs).map(|()| runs)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DVN-05: no run begins twice, not even where the agent was killed in between.
    #[tokio::test]
    async fn dvn_05_a_run_begins_once_over_any_restart_of_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let once = Once::open(dir.path()).unwrap();
        assert!(once.begin("a", None).await.unwrap());
        assert!(!once.begin("a", None).await.unwrap());
        let again = Once::open(dir.path()).unwrap();
        assert!(!again.begin("a", None).await.unwrap());
        assert_eq!(again.open_runs().await.len(), 1);
        again.end("a").await.unwrap();
        assert!(!again.begin("a", None).await.unwrap(), "it has ended, and is not forgotten");
        assert_eq!(Once::open(dir.path()).unwrap().open_runs().await, []);
        for number in 0..KEPT {
            assert!(again.begin(&number.to_string(), None).await.unwrap());
        }
        assert_eq!(again.open_runs().await.len(), KEPT);
    }
}
