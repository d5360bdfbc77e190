//! Committed means that a quorum holds it: of the voters at that entry, or of those that a later
//! entry of the same log has named, for they count as soon as they are named.

use std::collections::BTreeSet;

use super::{Look, Moment, Scene};

#[derive(Debug)]
pub(super) struct Quorum;

impl Look for Quorum {
    fn look(&mut self, scene: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Committed(id, entry) = moment else { return Ok(()) };
        if entry.at.index + 1 < scene.truth.next() {
            // Looked at when it was first heard of.
            return Ok(());
        }
        let holds = |voter: &u64| scene.members.get(voter).is_some_and(|it| it.holds(entry.at));
        let majority = |voters: &BTreeSet<u64>| {
            voters.iter().filter(|voter| holds(voter)).count() * 2 > voters.len()
        };
        let logs = scene.members.values().flat_map(|member| {
            let first = member.log.range(..=entry.at.index).rev().find(|it| it.1.voters.is_some());
            let later = member.log.range(entry.at.index..).map(|it| it.1);
            first.map(|it| it.1).into_iter().chain(later).filter_map(|it| it.voters.clone())
        });
        let said = scene.members.values().filter_map(|it| Some(it.glance.as_ref()?.voters.clone()));
        let mut sets = logs.chain(said);
        if sets.any(|voters| !voters.is_empty() && voters.iter().all(majority)) {
            return Ok(());
        }
        let holders: Vec<_> = scene.members.keys().filter(|it| holds(it)).collect();
        Err(format!("member {id} calls {:?} committed, held by {holders:?} alone", entry.at))
    }
}
