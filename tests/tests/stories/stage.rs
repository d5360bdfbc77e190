//! What every story needs: a quiet fleet, somebody who upgrades it, and eyes on what serves.

use std::collections::BTreeMap;
use std::rc::Rc;

use trireme_controller::state::Outcome;
use trireme_controller::state::fleet::{Stage, Upgrade, WaveRecord};
use trireme_proto::id::{NodeId, ServiceId, UpgradeId};
use trireme_proto::view::UpgradePhase;
use trireme_tests::sim::message::Wish;
use trireme_tests::sim::story::Story;
use trireme_tests::sim::{Config, World};

/// The one service, the version that runs, and the next.
pub(crate) const SERVICE: &str = "web";
pub(crate) const OLD: &str = "1.0.0";
pub(crate) const NEW: &str = "1.1.0";

/// Time for agents to connect, and for news to arrive.
pub(crate) const NEWS_MS: u64 = 9000;
/// Time in which an upgrade of a healthy fleet has long ended.
pub(crate) const LONG_MS: u64 = 200_000;

/// Returns three regions of two nodes, connected and serving.
pub(crate) fn fleet() -> World {
    fleet_of(Config::quiet(7))
}

/// Returns the fleet of a configuration, connected.
pub(crate) fn fleet_of(config: Config) -> World {
    let mut world = World::new(config, Story::of_last(80));
    pass(&mut world, NEWS_MS);
    world
}

/// Lets `millis` pass; no promise may be broken.
pub(crate) fn pass(world: &mut World, millis: u64) {
    world.pass(millis);
    unbroken(world);
}

/// Lets time pass until `done` says so, and fails the test if it does not.
pub(crate) fn until(world: &mut World, what: &str, mut done: impl FnMut(&World) -> bool) {
    let limit = world.now + LONG_MS;
    let came = world.run(limit, &mut done);
    unbroken(world);
    assert!(came, "{what} did not come; {}", told(world));
}

/// Fails the test if a promise was broken.
pub(crate) fn unbroken(world: &World) {
    assert_eq!(world.violation, None, "{}", told(world));
}

/// Has an operator ask, and returns the answer.
pub(crate) fn ask(world: &mut World, wish: Wish) -> Rc<Outcome> {
    let answer = world.ask_and_wait(0, wish);
    unbroken(world);
    answer.expect("a request in calm weather is answered")
}

/// Starts an upgrade.
pub(crate) fn start(world: &mut World, version: &str) -> UpgradeId {
    let wish = world.plan_of(SERVICE, version).expect("there is such a release");
    match *ask(world, wish) {
        Outcome::Upgrade(id) => id,
        ref other => panic!("not started: {other:?}; {}", told(world)),
    }
}

/// Upgrades, and waits until that has succeeded.
pub(crate) fn upgrade(world: &mut World, version: &str) -> UpgradeId {
    let id = start(world, version);
    until(world, "the end of an upgrade", |world| record(world, id).phase.is_final());
    assert_eq!(record(world, id).phase, UpgradePhase::Succeeded, "{}", told(world));
    id
}

/// Returns an upgrade as the controllers know it.
pub(crate) fn record(world: &World, id: UpgradeId) -> &Upgrade {
    &world.log.fleet.upgrades[&id]
}

/// Returns whether the first `count` waves of an upgrade have passed.
pub(crate) fn has_passed(world: &World, id: UpgradeId, count: usize) -> bool {
    record(world, id).waves.iter().take(count).all(WaveRecord::has_passed)
}

/// Returns where a node stands in an upgrade.
pub(crate) fn stage_of<'a>(world: &'a World, id: UpgradeId, node: &str) -> &'a Stage {
    let node: NodeId = node.parse().expect("a name");
    record(world, id).waves.iter().find_map(|wave| wave.nodes.get(&node)).expect("it is placed")
}

/// Returns the place of a node.
pub(crate) fn place(world: &World, node: &str) -> usize {
    world.place_of(&node.parse().expect("a name")).expect("it is in the fleet")
}

/// Returns the name of the one service.
pub(crate) fn service() -> ServiceId {
    SERVICE.parse().expect("a name")
}

/// Returns the version that each node truly runs, by name; nothing where nothing runs.
pub(crate) fn running(world: &World) -> BTreeMap<String, String> {
    let version = |node: &trireme_tests::sim::Node| {
        let process = node.host.units[&service()].process.as_ref();
        process.map_or_else(String::new, |p| p.spec.spec.release.version.to_string())
    };
    world.nodes.iter().map(|node| (node.id.to_string(), version(node))).collect()
}

/// Returns how often steps of actions have started a process on a node.
pub(crate) fn starts(world: &World, node: &str) -> u32 {
    let node = &world.nodes[place(world, node)];
    node.host.units[&service()].starts.values().sum()
}

/// Returns the regions in which a node truly serves and clients are sent to it.
pub(crate) fn regions_serving(world: &World) -> usize {
    let serves = |region: usize| {
        world.nodes.iter().filter(|node| node.region == region).any(|node| {
            let drained = world.log.fleet.nodes[&node.id].drained.contains(&service());
            !drained && node.host.units[&service()].serves(world.now)
        })
    };
    (0..world.config.nodes.len()).filter(|region| serves(*region)).count()
}

/// Returns the regions that held grants touch.
pub(crate) fn regions_taken(world: &World) -> usize {
    let held = world.log.fleet.grants.values().filter(|grant| grant.is_held());
    let regions: std::collections::BTreeSet<usize> = held
        .flat_map(|grant| &grant.takes)
        .filter_map(|(node, _)| world.place_of(node))
        .map(|n| world.nodes[n].region)
        .collect();
    regions.len()
}

/// Returns what the leader says an upgrade waits for, in one text.
pub(crate) fn why(world: &World, id: UpgradeId) -> String {
    let lead = world.log.leader.and_then(|leader| world.controllers[leader].lead.as_ref());
    let waiting = lead.and_then(|lead| lead.decision.waiting.get(&id)).cloned().unwrap_or_default();
    let lines = waiting.iter().map(|r| format!("{}: {}; {}", r.predicate, r.evidence, r.unblock));
    lines.collect::<Vec<String>>().join("\n")
}

/// Returns the end of the history, for whoever reads a failure.
pub(crate) fn told(world: &World) -> String {
    let lines: Vec<&str> = world.story.lines().collect();
    format!("the story ends:\n{}", lines.join("\n"))
}
