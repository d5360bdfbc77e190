//! Members change one safe step at a time: from one set of voters to both, and on to the other.

use std::collections::BTreeMap;

use trireme_controller::raft::simulation::Voters;

use super::{Look, Moment, Scene};

#[derive(Debug, Default)]
pub(super) struct Overlap(BTreeMap<u64, Voters>);

impl Look for Overlap {
    fn look(&mut self, _: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Committed(_, entry) = moment else { return Ok(()) };
        let Some(now) = &entry.voters else { return Ok(()) };
        let before = self.0.range(..entry.at.index).next_back().map(|it| it.1.clone());
        self.0.insert(entry.at.index, now.clone());
        let Some(before) = before else { return Ok(()) };
        // They share a quorum if they share a set.
        if before.iter().any(|voters| now.contains(voters)) {
            return Ok(());
        }
        Err(format!("the voters {now:?} follow {before:?}"))
    }
}
