//! When faults are over the group becomes one again.

use std::collections::BTreeMap;

use super::{Look, Moment, Scene};

#[derive(Debug)]
pub(super) struct Ended;

impl Look for Ended {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Ended = moment else { return Ok(()) };
        let said = |id: &u64| scene.members[id].glance.as_ref();
        let leader = scene.leader().ok_or("nobody leads")?;
        let glance = said(&leader).ok_or("the leader says nothing")?;
        let applied: BTreeMap<_, _> = glance
            .voters
            .iter()
            .flatten()
            .map(|voter| (voter, said(voter).and_then(|it| it.applied)))
            .collect();
        if applied.values().all(|at| *at == glance.applied) {
            return Ok(());
        }
        Err(format!("voters have applied {applied:?}"))
    }
}
