//! Log matching: the identity of an entry fixes its content and, link by link, all before it.

use std::collections::BTreeMap;

use trireme_controller::raft::Position;

use super::{Look, Moment, Scene};

#[derive(Debug, Default)]
pub(super) struct Matching(BTreeMap<Position, (u64, Option<Position>)>);

impl Look for Matching {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Entry(id, entry) = moment else { return Ok(()) };
        let log = &scene.members[id].log;
        let before = entry.at.index.checked_sub(1).and_then(|i| log.get(&i)).map(|it| it.at);
        let known = self.0.entry(entry.at).or_insert((entry.digest, before));
        if known.0 != entry.digest {
            return Err(format!("{:?} says something else at member {id}", entry.at));
        }
        match (known.1, before) {
            (Some(a), Some(b)) if a != b => {
                Err(format!("{:?} follows {a:?}, but {b:?} at member {id}", entry.at))
            }
            (None, Some(_)) => {
                known.1 = before;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
