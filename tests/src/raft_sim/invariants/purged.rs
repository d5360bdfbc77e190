//! The log is shortened only as far as a snapshot replaces it, and that one is on disk.

use super::{Look, Moment, Scene};

#[derive(Debug)]
pub(super) struct Purged;

impl Look for Purged {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        let (Moment::Looked(id) | Moment::Started(id)) = moment else { return Ok(()) };
        let member = &scene.members[id];
        let Some(glance) = &member.glance else { return Ok(()) };
        let purged = glance.purged.map(|it| it.index);
        if purged > member.on_disk {
            return Err(format!(
                "member {id} has purged {purged:?}, but its newest snapshot covers {:?}",
                member.on_disk
            ));
        }
        // What it calls its first entry must be there, or be after all that it has.
        let first = purged.map_or(0, |index| index + 1);
        match (glance.last, member.log.keys().next()) {
            (Some(last), found) if last >= first && found != Some(&first) => {
                Err(format!("the log of member {id} begins with {found:?}, not with {first}"))
            }
            _ => Ok(()),
        }
    }
}
