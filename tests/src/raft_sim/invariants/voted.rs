//! A vote is on disk before it is told, or one term could have two leaders.

use super::{Look, Moment, Scene};

#[derive(Debug)]
pub(super) struct Voted;

impl Look for Voted {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Started(id) = moment else { return Ok(()) };
        let member = &scene.members[id];
        let Some(glance) = &member.glance else { return Ok(()) };
        let (term, node, _) = glance.vote;
        if (term, node) >= member.voted {
            return Ok(());
        }
        Err(format!(
            "member {id} had voted {:?}, and after a crash knows only of {:?}",
            member.voted, glance.vote
        ))
    }
}
