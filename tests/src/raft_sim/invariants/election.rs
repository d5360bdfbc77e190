//! Election safety: a vote is granted to one candidate, and only that one leads by it.

use std::collections::BTreeMap;

use super::{Look, Moment, Scene};

#[derive(Debug, Default)]
pub(super) struct Election(BTreeMap<(u64, u64), u64>);

impl Look for Election {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Looked(id) = moment else { return Ok(()) };
        let Some(glance) = scene.members[id].glance.as_ref().filter(|it| it.leads) else {
            return Ok(());
        };
        let (term, node, granted) = glance.vote;
        if node != *id || !granted {
            return Err(format!("member {id} leads by the vote {:?}", glance.vote));
        }
        match self.0.insert((term, node), *id) {
            Some(other) if other != *id => {
                Err(format!("members {other} and {id} both lead by the vote {term}-{node}"))
            }
            _ => Ok(()),
        }
    }
}
