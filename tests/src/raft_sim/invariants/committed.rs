//! Committed entries never change, whoever speaks of them.

use std::collections::BTreeMap;

use super::{Look, Moment, Scene};
use crate::raft_sim::scene::Known;

#[derive(Debug, Default)]
pub(super) struct Committed(BTreeMap<u64, Known>);

impl Look for Committed {
    fn look(&mut self, _: &Scene, moment: &Moment) -> Result<(), String> {
        let Moment::Committed(id, entry) = moment else { return Ok(()) };
        let known = self.0.entry(entry.at.index).or_insert_with(|| entry.clone());
        if known == entry {
            return Ok(());
        }
        Err(format!("member {id} calls {:?} committed, but {:?} was", entry.at, known.at))
    }
}
