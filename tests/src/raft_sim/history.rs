//! One history: a group begins, lives through faults with clients at work, and then, when faults
//! have ended, has to elect, answer everybody and agree within a bound.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trireme_controller::raft::simulation;

use super::client::Client;
use super::config::{Config, MEMBERS};
use super::coverage::Coverage;
use super::faults::Faults;
use super::scene::Told;
use super::watch::{Violation, Watcher};
use super::world::World;
use crate::sim::story::Story;

/// Time between two looks.
const STEP: u64 = 5;

/// When faults begin: the first leader is there.
const BEGIN: u64 = 1_500;

/// How long it may take, once faults have ended, until every client is served again and all agree.
/// An election after the slowest back-off takes two to three seconds, a second one as long.
const BOUND: u64 = 12_000;

/// Where files are fastest, if it is there.
const MEMORY: &str = "/dev/shm";

/// How one history went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Its story.
    pub lines: Vec<String>,
    /// The promise that was broken, if one was.
    pub violation: Option<Violation>,
    /// What happened in it.
    pub coverage: Coverage,
    /// Its length in simulated milliseconds.
    pub simulated: u64,
}

/// Lives through one history, on a thread of its own: nothing that an earlier one left behind in
/// a thread may have a part in it.
pub fn tell(config: &Config, story: Story) -> History {
    let live = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without drivers")
            .block_on(Box::pin(live(config.clone(), story)))
    };
    std::thread::scope(|scope| scope.spawn(live).join()).expect("histories do not panic")
}

async fn live(config: Config, story: Story) -> History {
    let memory = Path::new(MEMORY);
    let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let root = tempfile::Builder::new().prefix("trireme-raft-").tempdir_in(root);
    let root = root.expect("a directory can be made");
    let world = Arc::new(World::new(config, root.path(), story));
    simulation::simulate(world.config.seed, world.syncing());
    let mut watcher = Watcher::new(Arc::clone(&world));
    let violation = match Box::pin(begin(&world, &mut watcher)).await {
        Ok(faults) => Box::pin(go_on(&world, &mut watcher, faults)).await.err(),
        Err(error) => Some(unable("begin", format!("{error:#}"))),
    };
    for (_, running) in world.all_running() {
        drop(tokio::time::timeout(Duration::from_secs(5), running.raft.shutdown()).await);
    }
    let (lines, coverage, simulated) = (world.lines(), world.coverage(), world.now());
    History { lines, violation, coverage, simulated }
}

fn unable(rule: &'static str, what: String) -> Violation {
    Violation { rule, sentence: "without faults the group makes progress within a bound", what }
}

async fn begin(world: &Arc<World>, watcher: &mut Watcher) -> Result<Faults> {
    let mut listed = BTreeMap::new();
    for id in 1..=MEMBERS {
        let mut member = world.members().remove(&id).context("all are there")?;
        member.start(&world.config, &world.net).await?;
        listed.insert(id, member.listed().context("it runs")?);
        world.members().insert(id, member);
        watcher.started(id).await.map_err(|broken| anyhow::anyhow!("{broken:?}"))?;
    }
    let voters = listed.values().filter(|it| it.id <= world.config.voters).cloned().collect();
    let first = world.running(1).context("it runs")?;
    first.raft.initialize(voters).await?;
    Ok(Faults::new(Arc::clone(world), listed))
}

async fn go_on(
    world: &Arc<World>,
    watcher: &mut Watcher,
    mut faults: Faults,
) -> Result<(), Violation> {
    let stop = CancellationToken::new();
    let mut clients = JoinSet::new();
    for id in 1..=world.config.clients {
        clients.spawn(Client::new(id, Arc::clone(world)).work(stop.clone()));
    }
    let until = BEGIN + world.config.faulty;
    while world.now() < until {
        watcher.turn().await?;
        if world.now() >= BEGIN {
            faults.turn(watcher).await?;
        }
        world.until(world.now() + STEP).await;
    }
    faults.stop();
    let before = watcher.scene.told.len();
    let late = world.now() + BOUND;
    while !are_served(world, &watcher.scene.told[before..]) {
        in_time(world, late, || "not every client is served".to_owned())?;
        step(world, watcher, &mut faults).await?;
    }
    stop.cancel();
    while !clients.is_empty() {
        in_time(world, late, || "a client waits for ever".to_owned())?;
        step(world, watcher, &mut faults).await?;
        while clients.try_join_next().is_some() {}
    }
    while let Some(why) = disagreement(world, watcher) {
        in_time(world, late, || why)?;
        step(world, watcher, &mut faults).await?;
    }
    // Followers learn with the next heartbeat what the last to be committed was.
    watcher.turn().await?;
    watcher.end()
}

async fn step(world: &World, watcher: &mut Watcher, faults: &mut Faults) -> Result<(), Violation> {
    watcher.turn().await?;
    faults.turn(watcher).await?;
    world.until(world.now() + STEP).await;
    Ok(())
}

fn in_time(world: &World, late: u64, why: impl FnOnce() -> String) -> Result<(), Violation> {
    if world.now() < late { Ok(()) } else { Err(unable("alive", why())) }
}

/// Returns whether every client has written twice and read once.
fn are_served(world: &World, told: &[Told]) -> bool {
    (1..=world.config.clients).all(|id| {
        let written =
            |it: &&Told| matches!(it, Told::Written { written, .. } if written.client == id);
        let read = |it: &Told| matches!(it, Told::Read { client, .. } if *client == id);
        told.iter().filter(written).count() >= 2 && told.iter().any(read)
    })
}

/// Says what keeps the group from being one, if anything does.
fn disagreement(world: &World, watcher: &Watcher) -> Option<String> {
    let said = &watcher.scene.members;
    let Some(leader) = watcher.scene.leader() else { return Some("nobody leads".to_owned()) };
    let glance = said[&leader].glance.as_ref()?;
    if glance.applied.map(|at| at.index) != glance.last {
        return Some(format!("the leader has applied {:?} of {:?}", glance.applied, glance.last));
    }
    let behind = |id: &&u64| said[id].glance.as_ref().and_then(|it| it.applied) != glance.applied;
    let behind: Vec<&u64> = glance.voters.iter().flatten().filter(behind).collect();
    let down = behind.iter().filter(|id| world.running(***id).is_none()).count();
    (!behind.is_empty()).then(|| format!("{behind:?} are behind, {down} of them down"))
}
