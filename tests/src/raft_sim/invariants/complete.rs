//! Leader completeness: an election never loses what was committed.

use std::collections::BTreeSet;

use super::{Look, Moment, Scene};

#[derive(Debug, Default)]
pub(super) struct Complete(BTreeSet<(u64, u64)>);

impl Look for Complete {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Looked(id) = moment else { return Ok(()) };
        let member = &scene.members[id];
        let Some(glance) = member.glance.as_ref().filter(|it| it.leads) else { return Ok(()) };
        let (term, node, _) = glance.vote;
        if !self.0.insert((term, node)) {
            return Ok(());
        }
        // What later leaders have committed is not its business: it will hear of them.
        let earlier =
            scene.truth.log.values().filter(|it| (it.at.term, it.at.leader) < (term, node));
        match earlier.map(|it| it.at).find(|at| !member.holds(*at)) {
            Some(at) => {
                Err(format!("member {id} leads in term {term} without the committed {at:?}"))
            }
            None => Ok(()),
        }
    }
}
