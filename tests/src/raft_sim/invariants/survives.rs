//! Nothing that was acknowledged is ever lost.

use super::{Look, Moment, Scene};
use crate::raft_sim::scene::Told;

#[derive(Debug)]
pub(super) struct Survives;

impl Look for Survives {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Ended = moment else { return Ok(()) };
        let truth = &scene.truth;
        if truth.log.last_key_value().is_some_and(|(last, _)| last + 1 != truth.next()) {
            return Err(format!("nobody knows what was committed at {}", truth.next()));
        }
        let lost = scene.told.iter().find_map(|told| match told {
            Told::Written { written, .. } => {
                let id = (written.client, written.number);
                (truth.writes.get(&id) != Some(&written.index)).then_some(written)
            }
            Told::Read { .. } => None,
        });
        match lost {
            Some(written) => Err(format!("{written:?} was acknowledged and is gone")),
            None => Ok(()),
        }
    }
}
