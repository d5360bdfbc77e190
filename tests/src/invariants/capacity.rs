//! I1: the promise itself, judged twice: by the evidence a command carries, and by the truth.
//!
//! Faults of the simulation's own making are no violation, as nobody can know of them at once. A
//! decision must not rest on a region that has been down for longer than news takes to arrive.

use std::collections::BTreeSet;

use trireme_controller::state::{Evidence, Fleet};
use trireme_proto::action::ServiceState;
use trireme_proto::id::ServiceId;
use trireme_proto::model::Service;

use super::{FRESH_MS, Look, Moment, Pair, evidence_of, held_pairs, is_proven_down};
use crate::sim::World;
use crate::sim::net::SLOW_MAX;
use crate::sim::raft::Committed;

/// Longest that a leader may not know of a fault when it proposes: two failed checks, a heartbeat,
/// the slowest delivery, and evidence as old as it may be on a slow clock.
const NEWS_MS: u64 = 1000 + 1000 + SLOW_MAX + FRESH_MS * 105 / 100 + 1000;
/// Longest from a fault to the last acceptance of a switch that was judged before it: news, the
/// word that calls it back, a controller's contact with the leader, a nonce's age.
const ACCEPT_MS: u64 = NEWS_MS + 2 * SLOW_MAX + 2000 + 5000 + 3000;

/// Remembers what was held before.
#[derive(Debug, Default)]
pub(super) struct Capacity {
    held: BTreeSet<Pair>,
}

impl Look for Capacity {
    fn look(&mut self, world: &World, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Committed(committed) => self.committed(world, committed),
            Moment::Accepted { node, action } if action.kind.takes_capacity() => {
                accepted(world, *node, &action.service)
            }
            _ => Ok(()),
        }
    }
}

impl Capacity {
    fn committed(&mut self, world: &World, committed: &Committed) -> Result<(), String> {
        let fleet = &world.log.fleet;
        let held = held_pairs(fleet);
        let new: BTreeSet<Pair> = held.difference(&self.held).cloned().collect();
        self.held = held;
        if new.is_empty() {
            return Ok(());
        }
        let Some(evidence) = evidence_of(&committed.command.body) else {
            return Err("a grant was given without evidence".to_owned());
        };
        let lost: Vec<&Pair> = new.iter().filter(|pair| !is_proven_down(evidence, pair)).collect();
        let services: BTreeSet<&ServiceId> = lost.iter().map(|(_, service)| service).collect();
        for name in services {
            let Some(record) = fleet.services.get(name) else { continue };
            let service = &record.manifest;
            let must = promised(fleet, service);
            let said =
                regions(world, service, &self.held, |pair| says_it_serves(fleet, evidence, pair));
            if said < must {
                return Err(format!(
                    "by the evidence {said} regions would serve {name}, {must} must ({new:?} was taken)"
                ));
            }
            let since = committed.proposed.saturating_sub(NEWS_MS);
            let true_count =
                regions(world, service, &self.held, |pair| served_since(world, pair, since));
            if true_count < must {
                return Err(format!(
                    "in truth {true_count} regions would serve {name}, {must} must ({new:?} was taken)"
                ));
            }
        }
        Ok(())
    }
}

/// Judges the beginning of a switch: late ones must have been called back.
fn accepted(world: &World, n: usize, name: &ServiceId) -> Result<(), String> {
    let node = &world.nodes[n];
    // What has only just come back may still be known as down, and then costs nothing.
    let since = node.host.units.get(name).and_then(|unit| unit.serving_since(world.now));
    let serves = since.is_some_and(|since| since + NEWS_MS < world.now);
    let fleet = &world.log.fleet;
    let held = held_pairs(fleet);
    let covered = held.contains(&(node.id.clone(), name.clone()));
    let Some(record) = fleet.services.get(name).filter(|_| serves && covered) else {
        return Ok(());
    };
    let must = promised(fleet, &record.manifest);
    let since = world.now.saturating_sub(ACCEPT_MS);
    let others = regions(world, &record.manifest, &held, |pair| served_since(world, pair, since));
    if others < must {
        return Err(format!(
            "{} begins to switch while {others} other regions have served {name} lately, {must} must",
            node.id
        ));
    }
    Ok(())
}

/// Returns whether more regions truly serve than must, so that one of them could go.
pub fn has_region_to_spare(world: &World, name: &ServiceId) -> bool {
    let fleet = &world.log.fleet;
    let Some(record) = fleet.services.get(name) else { return false };
    let serving = regions(world, &record.manifest, &held_pairs(fleet), |pair| {
        served_since(world, pair, world.now)
    });
    serving > promised(fleet, &record.manifest)
}

/// Returns the regions of a service that must serve.
fn promised(fleet: &Fleet, service: &Service) -> usize {
    let placed: BTreeSet<_> = fleet
        .nodes
        .values()
        .filter(|node| !node.removed && service.nodes.matches(&node.labels))
        .map(|node| &node.region)
        .collect();
    let by_default = placed.len().saturating_sub(1).max(1);
    service.serving.at_least.map_or(by_default, |number| number as usize)
}

/// Counts the regions with enough nodes that nothing holds and that are `up`.
fn regions(
    world: &World,
    service: &Service,
    held: &BTreeSet<Pair>,
    up: impl Fn(&Pair) -> bool,
) -> usize {
    let mut counts = std::collections::BTreeMap::new();
    for (id, node) in &world.log.fleet.nodes {
        let pair = (id.clone(), service.name.clone());
        let placed = !node.removed && service.nodes.matches(&node.labels);
        if placed && !held.contains(&pair) && up(&pair) {
            *counts.entry(&node.region).or_insert(0_u32) += 1;
        }
    }
    counts.values().filter(|count| **count >= service.serving.nodes).count()
}

fn says_it_serves(fleet: &Fleet, evidence: &Evidence, pair: &Pair) -> bool {
    let (node, service) = pair;
    let Some(record) = fleet.nodes.get(node) else { return false };
    // What a person has ended needs no acknowledgement.
    let newest = record.action.as_ref().map_or(0, |action| action.action.fence.generation);
    let acknowledged = evidence.nodes.get(node).is_some_and(|seen| seen.generation >= newest);
    acknowledged
        && !record.drained.contains(service)
        && super::fresh_state(evidence, pair) == Some(ServiceState::Serving)
}

fn served_since(world: &World, (node, service): &Pair, since: u64) -> bool {
    let unit = world.place_of(node).and_then(|n| world.nodes[n].host.units.get(service));
    unit.is_some_and(|unit| unit.last_served(world.now) >= since)
}
