//! What happened on the nodes, by the service's own account, and whether any of it twice.
//!
//! An action may start each version once: the target on its way forward, what ran before on its
//! way back. A second start of the same version by the same action on the same node is an effect
//! that was repeated, whoever repeated it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::service::{STARTS, Start};

/// Finds the records of the service on every node.
#[derive(Debug, Clone)]
pub(super) struct Effects {
    files: Vec<PathBuf>,
}

/// How many starts each node had recorded at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark(Vec<usize>);

impl Effects {
    /// Looks into the working directories of the service on its nodes.
    pub(super) fn new(dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { files: dirs.into_iter().map(|dir| dir.join(STARTS)).collect() }
    }

    /// Returns this moment.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.files.iter().map(|file| read(file).len()).collect())
    }

    /// Returns all starts since `mark`.
    pub(super) fn since(&self, mark: &Mark) -> Vec<Start> {
        let each = self.files.iter().zip(&mark.0);
        each.flat_map(|(file, seen)| read(file).into_iter().skip(*seen)).collect()
    }
}

/// Returns how many starts were repetitions of one before.
pub(super) fn repeated(starts: &[Start]) -> u64 {
    let mut counts = BTreeMap::<_, u64>::new();
    for start in starts {
        *counts.entry((&start.node, &start.action, &start.version)).or_default() += 1;
    }
    counts.values().map(|count| count - 1).sum()
}

/// Returns the starts in a file; a line that was cut off by a crash is no start.
fn read(file: &PathBuf) -> Vec<Start> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(node: &str, action: &str, version: &str, restart: u64) -> Start {
        Start {
            version: version.to_owned(),
            pid: 1,
            node: node.to_owned(),
            action: action.to_owned(),
            restart: restart.to_string(),
            time: String::new(),
        }
    }

    #[test]
    fn an_action_may_go_forward_and_back_once_each() {
        let good = [
            start("aws-1", "action-1", "1.2.0", 0),
            start("aws-1", "action-1", "1.1.0", 1),
            start("aws-2", "action-2", "1.2.0", 0),
            start("aws-1", "action-3", "1.2.0", 0),
        ];
        assert_eq!(repeated(&good), 0);
        let again = start("aws-1", "action-1", "1.2.0", 2);
        assert_eq!(repeated(&[&good[..], &[again.clone(), again]].concat()), 2);
    }

    #[test]
    fn starts_are_counted_from_a_mark_and_half_lines_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let effects = Effects::new([dir.path().to_owned()]);
        assert_eq!(effects.since(&effects.mark()), []);
        let line = |start: &Start| serde_json::to_string(start).unwrap();
        let (first, second) =
            (start("aws-1", "action-1", "1.0.0", 0), start("aws-1", "action-2", "1.1.0", 0));
        fs::write(dir.path().join(STARTS), format!("{}\n", line(&first))).unwrap();
        let mark = effects.mark();
        let text = format!("{}\n{}\n{{\"version\":\"1", line(&first), line(&second));
        fs::write(dir.path().join(STARTS), text).unwrap();
        assert_eq!(effects.since(&mark), [second]);
    }
}
