//! State machine safety: what is applied is what is committed, in order, and gives one state.

use std::collections::BTreeMap;

use trireme_controller::raft::Position;
use trireme_controller::raft::simulation::Content;

use super::{Look, Moment, Scene};
use crate::raft_sim::registers::Fact;

#[derive(Debug, Default)]
pub(super) struct Applied {
    last: BTreeMap<u64, u64>,
    /// Applied, but not yet known to be committed: a member is looked at a moment later.
    early: BTreeMap<(u64, u64), (Position, bytes::Bytes, u64)>,
}

impl Applied {
    fn check(
        scene: &Scene,
        id: u64,
        (at, command, digest): &(Position, bytes::Bytes, u64),
    ) -> Result<(), String> {
        let entry = &scene.truth.log[&at.index];
        if entry.at != *at || entry.content != Content::Command(command.clone()) {
            return Err(format!("member {id} has applied {at:?}, but {:?} is committed", entry.at));
        }
        if scene.truth.digests.get(&at.index) != Some(digest) {
            return Err(format!("the state of member {id} after {} is another one", at.index));
        }
        Ok(())
    }
}

impl Look for Applied {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Started(id) => {
                self.last.remove(id);
                Ok(())
            }
            Moment::Done(id, Fact::Restored { last, .. }) => {
                self.last.insert(*id, *last);
                Ok(())
            }
            Moment::Done(id, Fact::Applied { at, command, digest }) => {
                if self.last.insert(*id, at.index).is_some_and(|last| last >= at.index) {
                    return Err(format!("member {id} has applied {} out of order", at.index));
                }
                self.early.insert((at.index, *id), (*at, command.clone(), *digest));
                Ok(())
            }
            Moment::Looked(_) => {
                while let Some(first) = self.early.first_entry() {
                    let (index, id) = *first.key();
                    if index >= scene.truth.next() {
                        break;
                    }
                    Self::check(scene, id, &first.remove())?;
                }
                Ok(())
            }
            Moment::Ended => match self.early.keys().next() {
                Some((index, id)) => {
                    Err(format!("member {id} has applied {index}, which was never committed"))
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
