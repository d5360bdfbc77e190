//! One history from beginning to end: rough weather, then calm, then a fleet that must come to
//! rest and must still be able to do its work.

use std::collections::BTreeSet;

use trireme_controller::state::Outcome;
use trireme_controller::state::fleet::{Stage, Upgrade};
use trireme_proto::id::{Place, ServiceId, UpgradeId};
use trireme_proto::plan::{Operation, Scope};
use trireme_proto::view::{Reason, UpgradePhase};

use super::config::Config;
use super::coverage::{Counter, Coverage};
use super::message::Wish;
use super::operator::is_settled;
use super::story::Story;
use super::world::{Violation, World};
use crate::invariants::{self, Moment};

/// Longest that things may take to come to rest once faults have stopped, beyond an upgrade's own
/// deadline: every node may be waited for once more, there and back.
const REST_MS: u64 = 240_000;
/// Time for the last observations to arrive.
const SETTLE_MS: u64 = 12_000;

/// Times that a person looks after the fleet once faults have stopped.
const ROUNDS_MAX: usize = 20;

/// What became of a history.
#[derive(Debug)]
pub struct Told {
    /// The promise that was broken, if one was.
    pub violation: Option<Violation>,
    /// What it has been through.
    pub coverage: Coverage,
    /// Its last lines, if they were kept.
    pub lines: Vec<String>,
    /// Events in it.
    pub events: u64,
    /// Digest of all its lines, if they were told.
    pub digest: u64,
    /// Time it took in its own world.
    pub lasted: u64,
}

/// Tells the history of a configuration.
pub fn tell(config: Config, story: Story) -> Told {
    let mut world = World::new(config, story);
    if world.config.first_start {
        for service in world.config.services.clone() {
            if let Ok(wish) = world.plan_of(&service, super::catalogue::FIRST) {
                world.ask_and_wait(0, wish);
            }
        }
    }
    let rough = world.config.rough_ms;
    world.run(rough, |_| false);
    come_to_rest(&mut world);
    if world.violation.is_none() {
        still_works(&mut world);
    }
    count_ends(&mut world);
    Told {
        violation: world.violation.take(),
        coverage: std::mem::take(&mut world.coverage),
        lines: world.story.lines().map(str::to_owned).collect(),
        events: world.events(),
        digest: world.story.digest(),
        lasted: world.now,
    }
}

/// Faults stop; everything must end, or say which person it waits for.
fn come_to_rest(world: &mut World) {
    world.heal();
    let paused: Vec<_> = world
        .log
        .fleet
        .upgrades
        .iter()
        .filter(|(_, upgrade)| upgrade.paused.is_some() && !upgrade.phase.is_final())
        .map(|(id, _)| *id)
        .collect();
    for id in paused {
        let wish = if id.0.is_multiple_of(2) { Wish::Resume(id) } else { Wish::Abort(id) };
        world.ask_and_wait(0, wish);
    }
    put_back(world);
    let until = world.now + world.config.fleet_ms + REST_MS;
    world.run(until, |world| {
        world.nodes.iter().all(|node| node.agent.up || node.dead)
            && world.controllers.iter().all(|c| c.up)
    });
    // What waits for a person may go on a while after that person has spoken, and wait again.
    for _ in 0..ROUNDS_MAX {
        world.run(until, all_settled);
        world.pass(SETTLE_MS);
        let waiting: Vec<UpgradeId> = open_upgrades(world).map(|(id, _)| id).collect();
        if waiting.is_empty() {
            break;
        }
        if all_settled(world) {
            for id in waiting {
                world.ask_and_wait(0, Wish::Abort(id));
            }
        }
    }
    start_again(world, until);
    if world.violation.is_none() && open_upgrades(world).next().is_some() {
        let why = stuck(world);
        world.fail("progress", why);
    }
    world.pass(SETTLE_MS);
    world.note(&Moment::Ended);
}

/// Operators take back what they have put aside: the freeze, drains, cordons.
fn put_back(world: &mut World) {
    if world.log.fleet.freeze.is_some() {
        world.ask_and_wait(0, Wish::Thaw);
    }
    let fleet = &world.log.fleet;
    let cordoned = fleet.cordons.keys().cloned().map(Place::Node);
    let aside: BTreeSet<Place> = fleet.drains.keys().cloned().chain(cordoned).collect();
    for place in aside {
        world.ask_and_wait(0, Wish::Return(place));
    }
}

/// Operators start what they had stopped, once nothing else is under way; then all of it must
/// serve again.
fn start_again(world: &mut World, until: u64) {
    let fleet = &world.log.fleet;
    let live = fleet.nodes.values().filter(|node| !node.removed);
    let stopped: BTreeSet<ServiceId> = live.flat_map(|node| node.stopped.clone()).collect();
    for service in stopped {
        world.ask_and_wait(0, Wish::Operate(service, Operation::Start, Scope::default()));
        world.run(until, all_settled);
    }
}

fn open_upgrades(world: &World) -> impl Iterator<Item = (UpgradeId, &Upgrade)> {
    let upgrades = world.log.fleet.upgrades.iter();
    upgrades.filter(|(_, upgrade)| !upgrade.phase.is_final()).map(|(id, upgrade)| (*id, upgrade))
}

fn all_settled(world: &World) -> bool {
    open_upgrades(world).all(|(id, upgrade)| {
        is_settled(upgrade.phase, upgrade.paused.is_some()) || needs_a_person(world, id, upgrade)
    })
}

/// Returns whether an upgrade rightly waits for a person: what it would take is truly needed, or a
/// node must be repaired, and it says so.
fn needs_a_person(world: &World, id: UpgradeId, upgrade: &Upgrade) -> bool {
    let lead = world.log.leader.and_then(|leader| world.controllers[leader].lead.as_ref());
    let Some(reasons) = lead.and_then(|lead| lead.decision.waiting.get(&id)) else { return false };
    let names_one = |reason: &Reason| reason.unblock.contains("trictl");
    let mut stages = upgrade.waves.iter().flat_map(|wave| wave.nodes.values());
    let dirty = stages.any(|stage| matches!(stage, Stage::Dirty { .. }));
    let failed = |holder| {
        let holder = world.log.fleet.upgrades.get(&holder);
        holder.is_some_and(|upgrade| upgrade.phase == UpgradePhase::RollbackFailed)
    };
    let mut held = world.log.fleet.grants.values().filter(|grant| grant.is_held());
    let dirty = dirty || held.any(|grant| grant.holder.upgrade().is_some_and(failed));
    let needed = !invariants::has_region_to_spare(world, &upgrade.plan.service);
    !reasons.is_empty() && reasons.iter().all(names_one) && (dirty || needed)
}

/// Says what does not end, and what its leader says of it.
fn stuck(world: &World) -> String {
    let lead = world.log.leader.and_then(|leader| world.controllers[leader].lead.as_ref());
    let Some(lead) = lead else { return "nobody leads long after faults have stopped".to_owned() };
    let open = world.log.fleet.upgrades.iter().filter(|(_, upgrade)| !upgrade.phase.is_final());
    let open: Vec<String> = open
        .map(|(id, upgrade)| {
            let stages: Vec<_> = upgrade.waves.iter().map(|wave| &wave.nodes).collect();
            format!(
                "{id} {:?} {stages:?}, waits for {:?}",
                upgrade.phase,
                lead.decision.waiting.get(id)
            )
        })
        .collect();
    open.join("; ")
}

/// A fleet in which all is well can be upgraded, whatever it has been through.
fn still_works(world: &mut World) {
    for service in world.config.services.clone() {
        world.pass(SETTLE_MS);
        let name = super::catalogue::name(&service);
        let fleet = &world.log.fleet;
        let healthy = world.nodes.iter().all(|node| {
            let removed = fleet.nodes.get(&node.id).is_none_or(|node| node.removed);
            removed
                || node.dead
                || node.host.units.get(&name).is_some_and(|unit| unit.serves(world.now))
        });
        let known = fleet.nodes.iter().filter(|(_, node)| !node.removed).all(|(id, node)| {
            let place = world.place_of(id);
            let unit = place.and_then(|n| world.nodes[n].host.units.get(&name));
            let dead = place.is_some_and(|n| world.nodes[n].dead);
            let installed = node.installed.get(&name).map(trireme_proto::action::RunSpec::digest);
            dead || unit.is_some_and(|unit| unit.digest() == installed)
        });
        let failed = fleet.upgrades.values().any(|upgrade| {
            upgrade.phase == UpgradePhase::RollbackFailed && upgrade.plan.service == name
        });
        // A region of which nothing is left that runs is waited for, and rightly.
        let empty = (0..world.config.nodes.len()).any(|region| {
            let mut left = world.nodes.iter().filter(|node| {
                node.region == region && fleet.nodes.get(&node.id).is_some_and(|n| !n.removed)
            });
            left.clone().next().is_some() && left.all(|node| node.dead)
        });
        // Nodes that a person must look at first are excused.
        let spare = invariants::has_region_to_spare(world, &name);
        if empty || !healthy || !known || !spare || failed || fleet.active_upgrade(&name).is_some()
        {
            continue;
        }
        let next = if world.config.seed.is_multiple_of(2) { "1.1.0" } else { "1.2.0" };
        let Ok(wish) = world.plan_of(&service, next) else { continue };
        let Some(answer) = world.ask_and_wait(0, wish) else {
            world.fail("progress", "a request in calm weather is not answered".to_owned());
            return;
        };
        let Outcome::Upgrade(id) = *answer else {
            world.fail("progress", format!("a healthy fleet cannot be upgraded: {answer:?}"));
            return;
        };
        let ended = |world: &World| world.log.fleet.upgrades[&id].phase.is_final();
        world.run(world.now + world.config.fleet_ms, ended);
        let phase = world.log.fleet.upgrades[&id].phase;
        if phase != UpgradePhase::Succeeded {
            let why = format!("a healthy fleet was not upgraded: {phase:?}; {}", stuck(world));
            world.fail("progress", why);
        }
    }
}

fn count_ends(world: &mut World) {
    let phases: Vec<UpgradePhase> = world.log.fleet.upgrades.values().map(|u| u.phase).collect();
    for phase in phases {
        let counter = match phase {
            UpgradePhase::Succeeded => Counter::Succeeded,
            UpgradePhase::RolledBack => Counter::RolledBack,
            UpgradePhase::Aborted => Counter::Aborted,
            UpgradePhase::RollbackFailed => Counter::RollbackFailed,
            UpgradePhase::Running | UpgradePhase::Aborting | UpgradePhase::RollingBack => continue,
        };
        world.coverage.count(counter);
    }
}
