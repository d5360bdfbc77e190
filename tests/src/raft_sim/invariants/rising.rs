//! What a running member says of itself only moves forward.

use super::{Look, Moment, Scene};

#[derive(Debug)]
pub(super) struct Rising;

impl Look for Rising {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Looked(id) = moment else { return Ok(()) };
        let member = &scene.members[id];
        let (Some(before), Some(now)) = (&member.before, &member.glance) else { return Ok(()) };
        let fell = [
            ("vote", before.vote > now.vote),
            ("committed", before.committed > now.committed),
            ("applied", before.applied > now.applied),
            ("snapshot", before.snapshot > now.snapshot),
            ("purged", before.purged > now.purged),
        ];
        match fell.iter().find(|(_, fell)| *fell) {
            Some((what, _)) => Err(format!("member {id}: {what} fell from {before:?} to {now:?}")),
            None => Ok(()),
        }
    }
}
