//! Where to look first: what makes applying a report cost the same in a large wave as in a small.

use std::collections::BTreeMap;

use trireme_proto::id::NodeId;

use super::fleet::Stage;

/// Where looking at the nodes of a wave ended last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// At one that had not come through.
    pub(super) coming: Hint,
    /// At one that was not at rest.
    pub(super) resting: Hint,
    /// At one that had not passed.
    pub(super) passing: Hint,
}

/// Remembers the node that stood in the way when all nodes of a wave were last looked at, so that
/// a report does not have every node looked at again. It decides nothing: without it the answer
/// is the same and takes longer. So it is no part of what is replicated, nor compared.
#[derive(Debug, Clone, Default)]
pub struct Hint(Option<NodeId>);

impl PartialEq for Hint {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Hint {}

impl Hint {
    /// Returns whether `holds` is true of every node, looking first where it was not.
    pub(super) fn all(
        &mut self,
        nodes: &BTreeMap<NodeId, Stage>,
        holds: impl Fn((&NodeId, &Stage)) -> bool,
    ) -> bool {
        let fails = |pair: &(&NodeId, &Stage)| !holds(*pair);
        let from_there = self.0.as_ref().and_then(|node| nodes.range(node..).find(fails));
        let in_the_way = from_there.or_else(|| nodes.iter().find(fails));
        let changed = in_the_way.map(|(node, _)| node) != self.0.as_ref();
        if changed {
            self.0 = in_the_way.map(|(node, _)| node.clone());
        }
        in_the_way.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the hint remembers, the answer is that of looking at every node.
    #[test]
    fn a_hint_never_changes_the_answer() {
        let name = |number: usize| format!("n-{number}").parse::<NodeId>().unwrap();
        let mut nodes: BTreeMap<_, _> = (0..5).map(|n| (name(n), Stage::Staged)).collect();
        let mut hint = Hint::default();
        let holds = |(_, stage): (&NodeId, &Stage)| *stage == Stage::Staged;
        assert!(hint.all(&nodes, holds));
        // Forward, backward, and one that was remembered and is gone.
        for changes in [vec![3], vec![3, 1], vec![1], vec![0, 4], vec![4], vec![]] {
            for (number, node) in (0..5).map(|n| (n, name(n))) {
                let stage = if changes.contains(&number) { Stage::Waiting } else { Stage::Staged };
                nodes.insert(node, stage);
            }
            assert_eq!(hint.all(&nodes, holds), changes.is_empty(), "{changes:?}");
        }
        nodes.insert(name(2), Stage::Waiting);
        assert!(!hint.all(&nodes, holds));
        nodes.remove(&name(2));
        assert!(hint.all(&nodes, holds));
    }
}
