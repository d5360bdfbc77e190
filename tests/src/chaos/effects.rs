//! What happened on the nodes, by the service's own account, and whether any of it twice.
//!
//! An action may start each version once. A service that we have killed is started again by its
//! node, so every kill of ours accounts for one repetition on that node, and nothing else does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Name of the file in the working directory that every start is recorded in
/// (ctl/src/demo/service.rs).
const STARTS: &str = "starts.jsonl";

/// One start of the service, as it recorded it before it listened.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Start {
    version: String,
    action: String,
}

/// Starts on every node, and the kills that account for some of them.
#[derive(Debug, Default)]
pub struct Effects {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Default)]
struct Node {
    file: PathBuf,
    kills: usize,
}

impl Effects {
    /// Looks into the working directories of the service on its nodes.
    pub fn new(nodes: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        let node =
            |(name, dir): (String, PathBuf)| (name, Node { file: dir.join(STARTS), kills: 0 });
        Self { nodes: nodes.into_iter().map(node).collect() }
    }

    /// Remembers that we have killed the service of a node.
    pub fn killed(&mut self, node: &str) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.kills += 1;
        }
    }

    /// Returns how many starts there were, and a sentence for each node that has started
    /// something more often than is accounted for.
    pub fn judge(&self) -> (usize, Vec<String>) {
        let mut total = 0;
        let mut wrong = Vec::new();
        for (name, node) in &self.nodes {
            let starts = read(&node.file);
            total += starts.len();
            let repeated = repeated(&starts);
            if repeated > node.kills {
                wrong.push(format!(
                    "effects: {name} has repeated {repeated} starts, of which our {} kills of its \
                     service account for as many: {starts:?}",
                    node.kills
                ));
            }
        }
        (total, wrong)
    }
}

/// Returns how many starts were repetitions of one before.
fn repeated(starts: &[Start]) -> usize {
    let mut counts = BTreeMap::<_, usize>::new();
    for start in starts {
        *counts.entry((&start.action, &start.version)).or_default() += 1;
    }
    counts.values().map(|count| count - 1).sum()
}

/// Returns the starts in a file; a line that was cut off is no start.
fn read(file: &Path) -> Vec<Start> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_needs_a_kill_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let line = |action: &str, version: &str| {
            format!(r#"{{"version":"{version}","action":"{action}","pid":1,"node":"n"}}"#) + "\n"
        };
        let text = [line("a-1", "1.0.0"), line("a-2", "1.1.0"), line("a-2", "1.0.0")].concat();
        fs::write(dir.path().join(STARTS), &text).unwrap();
        let mut effects = Effects::new([("n".to_owned(), dir.path().to_owned())]);
        assert_eq!(effects.judge(), (3, vec![]));
        fs::write(dir.path().join(STARTS), text + &line("a-2", "1.0.0") + "{\"vers").unwrap();
        let (total, wrong) = effects.judge();
        assert_eq!((total, wrong.len()), (4, 1), "{wrong:?}");
        effects.killed("n");
        assert_eq!(effects.judge(), (4, vec![]));
    }
}
