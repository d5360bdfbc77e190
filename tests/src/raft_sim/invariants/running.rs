//! A member ends only when its disk fails; anything else would be a bug of ours or the library's.

use super::{Look, Moment, Scene};

#[derive(Debug)]
pub(super) struct Running;

impl Look for Running {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Looked(id) = moment else { return Ok(()) };
        let member = &scene.members[id];
        if member.doomed || member.glance.as_ref().is_none_or(|glance| glance.runs) {
            return Ok(());
        }
        Err(format!("member {id} has ended by itself"))
    }
}
