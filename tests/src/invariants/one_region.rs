//! I2: of all grants that are held and cost capacity when they were given, those of one service
//! lie in one region.

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::id::{GrantId, ServiceId};

use super::{Look, Moment, Pair, evidence_of, is_proven_down};
use crate::sim::World;

/// Remembers what each grant cost.
#[derive(Debug, Default)]
pub(super) struct OneRegion {
    cost: BTreeMap<GrantId, BTreeSet<Pair>>,
    held: BTreeSet<Pair>,
}

impl Look for OneRegion {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        let Moment::Committed(committed) = moment else { return Ok(()) };
        let fleet = &world.log.fleet;
        let held: Vec<_> = fleet.grants.iter().filter(|(_, grant)| grant.is_held()).collect();
        if held.is_empty() && self.cost.is_empty() {
            return Ok(());
        }
        let before: BTreeSet<Pair> = self.cost.values().flatten().cloned().collect();
        let known = std::mem::take(&mut self.cost);
        for (id, grant) in held {
            let cost = known.get(id).cloned().unwrap_or_else(|| {
                let evidence = evidence_of(&committed.command.body);
                // What a wider grant takes over costs what it did when it was first taken.
                let free = |pair: &Pair| {
                    !before.contains(pair)
                        && (self.held.contains(pair)
                            || evidence.is_some_and(|e| is_proven_down(e, pair)))
                };
                grant.takes.iter().filter(|pair| !free(pair)).cloned().collect()
            });
            // Removed nodes leave a grant.
            let cost = cost.intersection(&grant.takes).cloned().collect();
            self.cost.insert(*id, cost);
        }
        self.held = super::held_pairs(fleet);
        let mut regions: BTreeMap<&ServiceId, BTreeSet<_>> = BTreeMap::new();
        for (node, service) in self.cost.values().flatten() {
            if let Some(record) = fleet.nodes.get(node) {
                regions.entry(service).or_default().insert(&record.region);
            }
        }
        match regions.iter().find(|(_, regions)| regions.len() > 1) {
            Some((service, regions)) => Err(format!("{service} is taken from {regions:?} at once")),
            None => Ok(()),
        }
    }
}
