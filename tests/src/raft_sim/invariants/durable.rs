//! An entry is on disk before it counts: leaders commit on this word, and clients are answered.

use super::{Look, Moment, Scene};

#[derive(Debug)]
pub(super) struct Durable;

impl Look for Durable {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Started(id) = moment else { return Ok(()) };
        let member = &scene.members[id];
        let log = || member.log.iter().next().zip(member.log.iter().next_back());
        if let Some(((first, _), (last, _))) = log()
            && usize::try_from(last - first + 1).ok() != Some(member.log.len())
        {
            return Err(format!("the log of member {id} has a hole after a crash"));
        }
        match member.held.filter(|at| !member.holds(*at)) {
            Some(at) => Err(format!(
                "member {id} told that it holds {at:?}, and after a crash ends with {:?}",
                member.log.values().next_back().map(|it| it.at)
            )),
            None => Ok(()),
        }
    }
}
