//! Exactly once: however often a client repeats a write, it happens once, and it is told where.

use std::collections::BTreeMap;

use super::{Look, Moment, Scene};
use crate::raft_sim::registers::Written;
use crate::raft_sim::scene::Told;

#[derive(Debug, Default)]
pub(super) struct Once(BTreeMap<(u64, u64), u64>, Vec<Written>);

impl Look for Once {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Told(Told::Written { written, .. }) => {
                let id = (written.client, written.number);
                let index = *self.0.entry(id).or_insert(written.index);
                self.1.push(*written);
                if index == written.index {
                    return Ok(());
                }
                Err(format!(
                    "the write {id:?} was told to stand at {index} and at {}",
                    written.index
                ))
            }
            Moment::Looked(_) => {
                let due = |written: &mut Written| written.index < scene.truth.next();
                for written in self.1.extract_if(.., due) {
                    let id = (written.client, written.number);
                    let stands = scene.truth.writes.get(&id);
                    if stands != Some(&written.index) {
                        return Err(format!(
                            "{written:?} was acknowledged, but stands at {stands:?}"
                        ));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
