//! What goes wrong: one thing after another, chosen by the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use trireme_controller::raft::{ChangeError, Group, Member as Listed, Raft};

use super::config::MEMBERS;
use super::coverage::Counter;
use super::disk::End;
use super::member::Running;
use super::net::Way;
use super::registers::Registers;
use super::watch::{Violation, Watcher};
use super::world::{World, spawn};
use crate::sim::rng::Rng;

/// Longest time that a change of members is waited for.
const CHANGE_LIMIT: Duration = Duration::from_secs(3);

/// Time between two looks at whether a newcomer has caught up.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The source of faults.
#[derive(Debug)]
pub struct Faults {
    world: Arc<World>,
    rng: Rng,
    listed: BTreeMap<u64, Listed>,
    next: u64,
    heal_at: u64,
    calm_at: u64,
    quick_at: BTreeMap<u64, u64>,
    restart_at: BTreeMap<u64, u64>,
    changing: Arc<AtomicBool>,
    over: bool,
}

impl Faults {
    /// Returns a source that has done nothing yet; `listed` is how members know each other.
    pub fn new(world: Arc<World>, listed: BTreeMap<u64, Listed>) -> Self {
        let rng = Rng::new(world.config.seed ^ 0x6661_756c_7473_2121);
        Self {
            world,
            rng,
            listed,
            next: 0,
            heal_at: u64::MAX,
            calm_at: u64::MAX,
            quick_at: BTreeMap::new(),
            restart_at: BTreeMap::new(),
            changing: Arc::default(),
            over: false,
        }
    }

    /// Does what is due.
    pub async fn turn(&mut self, watcher: &mut Watcher) -> Result<(), Violation> {
        let now = self.world.now();
        self.reap(now);
        if now >= self.heal_at {
            self.heal_at = u64::MAX;
            self.world.net.cut(BTreeSet::new());
            self.world.say("network", || "all ways are open".to_owned());
        }
        if now >= self.calm_at {
            self.calm_at = u64::MAX;
            let config = &self.world.config;
            self.world.net.weather(config.delay, config.jitter, config.loss, config.twice);
        }
        let quick: Vec<u64> = due(&mut self.quick_at, now);
        for id in quick {
            self.world.slow(id, None);
        }
        for id in due(&mut self.restart_at, now) {
            self.start(id, watcher).await?;
        }
        if !self.over && now >= self.next {
            self.next = now + self.rng.between(100, self.world.config.fault_pause);
            self.fault(now);
        }
        Ok(())
    }

    /// Ends all faults: everything works from now on.
    pub fn stop(&mut self) {
        self.over = true;
        self.world.say("network", || "faults end".to_owned());
        self.world.net.cut(BTreeSet::new());
        self.world.net.weather(self.world.config.delay, 1, 0, 0);
        (self.heal_at, self.calm_at) = (u64::MAX, u64::MAX);
        for (id, member) in &mut *self.world.members() {
            self.world.slow(*id, None);
            if member.disk.ending().is_some() && member.running.as_ref().is_some_and(is_well) {
                member.disk.heal();
                member.doomed = false;
            }
        }
        let now = self.world.now();
        self.restart_at.values_mut().for_each(|at| *at = now);
    }

    /// Notices which members have ended, by a fault of their disk.
    fn reap(&mut self, now: u64) {
        for id in 1..=MEMBERS {
            let running = self.world.members()[&id].running.clone();
            let Some(running) = running else { continue };
            let struck = running.power.is_cancelled();
            let ended = self.world.members()[&id].doomed && !running.raft.glance().runs;
            let ending = self.world.members()[&id].disk.ending();
            if struck || ended {
                self.world.count(match ending {
                    _ if struck => Counter::CrashesInSync,
                    Some(End::Full) => Counter::DiskFull,
                    _ => Counter::DiskErrors,
                });
                let after = self.rng.between(50, 1500);
                self.crash(id, now + after);
            }
        }
    }

    async fn start(&mut self, id: u64, watcher: &mut Watcher) -> Result<(), Violation> {
        let Some(mut member) = self.world.members().remove(&id) else { return Ok(()) };
        let started = member.start(&self.world.config, &self.world.net).await;
        self.world.members().insert(id, member);
        if let Err(error) = started {
            let sentence = "a member starts on whatever a crash left of its disk";
            return Err(Violation { rule: "start", sentence, what: format!("{error:#}") });
        }
        self.world.count(Counter::Restarts);
        self.world.say(&format!("member {id}"), || "is up again".to_owned());
        watcher.started(id).await
    }

    fn crash(&mut self, id: u64, back_at: u64) {
        let mut members = self.world.members();
        let Some(member) = members.get_mut(&id).filter(|member| member.running.is_some()) else {
            return;
        };
        let leads = member.running.as_ref().is_some_and(|it| it.raft.glance().leads);
        let loss = member.crash(&self.world.net, &mut self.rng).expect("files can be copied");
        drop(members);
        self.world.say(&format!("member {id}"), || format!("crashes with {loss:?}"));
        self.world.count(Counter::Crashes);
        if leads {
            self.world.count(Counter::LeaderCrashes);
        }
        if loss.lost > 0 {
            self.world.count(Counter::UnsyncedLost);
        }
        if loss.torn > 0 {
            self.world.count(Counter::TornWrites);
        }
        self.restart_at.insert(id, back_at);
    }

    fn leader(&self) -> Option<(u64, Running)> {
        let running = self.world.all_running().into_iter();
        let leaders = running.filter(|(_, it)| it.raft.glance().leads);
        leaders.max_by_key(|(_, it)| it.raft.glance().vote)
    }

    fn somebody(&mut self) -> Option<(u64, Running)> {
        let running = self.world.all_running();
        self.rng.pick(&running).cloned()
    }

    fn fault(&mut self, now: u64) {
        match self.rng.below(100) {
            0..24 => self.partition(now),
            24..38 => self.crash_one(now),
            38..41 => self.crash_many(now),
            41..54 => self.spoil(),
            54..62 => self.slow(now),
            62..68 => self.storm(now),
            68..75 => self.transfer(),
            75..83 => self.elect(),
            83..88 => self.snapshot(),
            _ => self.change(),
        }
    }

    fn partition(&mut self, now: u64) {
        let all: Vec<u64> = (1..=MEMBERS).collect();
        let leader = self.leader();
        let mut cuts = BTreeSet::new();
        let shape = self.rng.below(6);
        match (shape, &leader) {
            // The leader, alone or with one more, against the rest.
            (0 | 1, Some((id, running))) => {
                let mut side = BTreeSet::from([*id]);
                let voters = running.raft.glance().voters;
                let others: Vec<u64> = all.iter().copied().filter(|it| it != id).collect();
                let more = self.rng.pick(&others).copied();
                side.extend(more.filter(|_| shape == 1));
                let minority =
                    |set: &BTreeSet<u64>| set.intersection(&side).count() * 2 < set.len();
                if voters.iter().all(minority) {
                    self.world.count(Counter::LeaderInMinority);
                }
                cuts = between(&side, &all);
            }
            // One way alone, mostly the leader's.
            (2, _) => {
                let from = leader.map_or(1, |(id, _)| id);
                let from = if self.rng.chance(600) { from } else { self.rng.between(1, MEMBERS) };
                let to = |to: &u64| *to != from && self.rng.chance(600);
                let to: Vec<u64> = all.iter().copied().filter(to).collect();
                let outward = self.rng.chance(500);
                let way = |to: u64| if outward { (from, to) } else { (to, from) };
                cuts.extend(to.into_iter().map(way));
                self.world.count(Counter::OneWayCuts);
            }
            // Two halves and one who reaches both.
            (3, _) => {
                let bridge = self.rng.between(1, MEMBERS);
                let others: Vec<u64> = all.iter().copied().filter(|it| *it != bridge).collect();
                let half = BTreeSet::from([others[0], others[1 + self.rng.below(3)]]);
                cuts = between(&half, &others);
                self.world.count(Counter::Bridges);
            }
            _ => {
                let side = |_: &u64| self.rng.chance(400);
                let side: BTreeSet<u64> = all.iter().copied().filter(side).collect();
                cuts = between(&side, &all);
            }
        }
        if cuts.is_empty() {
            return;
        }
        self.world.count(Counter::Partitions);
        self.world.say("network", || format!("cuts {cuts:?}"));
        self.world.net.cut(cuts);
        self.heal_at = now + self.rng.between(200, 3000);
    }

    fn crash_one(&mut self, now: u64) {
        let leader = if self.rng.chance(400) { self.leader() } else { None };
        let Some((id, _)) = leader.or_else(|| self.somebody()) else { return };
        // Long enough that it needs a snapshot when it is back, or not.
        let long = self.rng.chance(300);
        let away = if long { self.rng.between(2500, 6000) } else { self.rng.between(20, 800) };
        self.crash(id, now + away);
    }

    fn crash_many(&mut self, now: u64) {
        let all = self.rng.chance(700);
        if all {
            self.world.count(Counter::Blackouts);
        }
        for id in 1..=MEMBERS {
            if all || self.rng.chance(500) {
                let away = self.rng.between(50, 1200);
                self.crash(id, now + away);
            }
        }
    }

    /// Lets a disk end badly at some later sync.
    fn spoil(&mut self) {
        let Some((id, _)) = self.somebody() else { return };
        let syncs = self.rng.between(0, 12);
        let end = match self.rng.below(5) {
            0 => End::Error,
            1 => End::Full,
            _ => End::PowerLoss,
        };
        let mut members = self.world.members();
        let Some(member) = members.get_mut(&id) else { return };
        member.disk.end_after(syncs, end);
        member.doomed = true;
        drop(members);
        self.world.say(&format!("member {id}"), || format!("has a disk that ends: {end:?}"));
    }

    fn slow(&mut self, now: u64) {
        let Some((id, _)) = self.somebody() else { return };
        let most = self.rng.between(20, 300);
        self.world.slow(id, Some(most));
        self.world.count(Counter::SlowDisks);
        self.world.say(&format!("member {id}"), || format!("syncs in {most} ms"));
        self.quick_at.insert(id, now + self.rng.between(300, 3000));
    }

    fn storm(&mut self, now: u64) {
        let (delay, jitter) = (self.rng.between(1, 40), self.rng.between(0, 120));
        let (loss, twice) = (self.rng.between(0, 250), self.rng.between(0, 250));
        self.world.net.weather(delay, jitter, loss, twice);
        self.world
            .say("network", || format!("is {delay} ms + {jitter}, {loss} lost, {twice} twice"));
        self.calm_at = now + self.rng.between(300, 2500);
    }

    fn transfer(&mut self) {
        let Some((id, running)) = self.leader() else { return };
        let voters: Vec<u64> = running.raft.glance().voters.into_iter().flatten().collect();
        let Some(to) = self.rng.pick(&voters).copied().filter(|to| *to != id) else { return };
        self.world.say(&format!("member {id}"), || format!("is to hand over to {to}"));
        let world = Arc::clone(&self.world);
        spawn(async move {
            if running.raft.transfer(to).await.is_ok() {
                world.count(Counter::Transfers);
            }
        });
    }

    fn elect(&mut self) {
        let Some((id, running)) = self.somebody() else { return };
        let asks = self.rng.chance(500);
        self.world.count(if asks { Counter::PreVotes } else { Counter::ForcedElections });
        self.world.say(&format!("member {id}"), || format!("stands for election: {asks}"));
        spawn(async move { running.raft.elect(asks).await });
    }

    fn snapshot(&mut self) {
        let Some((_, running)) = self.somebody() else { return };
        spawn(async move { running.raft.snapshot().await });
    }

    /// Makes other members vote: more of them, fewer, or others.
    fn change(&mut self) {
        let Some((id, running)) = self.leader() else { return };
        if self.changing.swap(true, Ordering::Relaxed) {
            return;
        }
        let voters: BTreeSet<u64> = running.raft.glance().voters.into_iter().flatten().collect();
        let mut wanted: BTreeSet<u64> = (1..=MEMBERS).collect();
        if voters.len() > 3 || self.rng.chance(300) {
            while wanted.len() > 3 {
                let gone = self.rng.between(1, MEMBERS);
                wanted.remove(&gone);
            }
        }
        self.world.say(&format!("member {id}"), || format!("changes {voters:?} to {wanted:?}"));
        let new: Vec<Listed> =
            wanted.difference(&voters).map(|id| self.listed[id].clone()).collect();
        let (changing, world) = (Arc::clone(&self.changing), Arc::clone(&self.world));
        spawn(async move {
            let change = regroup(&running.raft, new, wanted);
            let changed = tokio::select! {
                biased;
                () = running.power.cancelled() => None,
                changed = tokio::time::timeout(CHANGE_LIMIT, change) => changed.ok(),
            };
            if !matches!(changed, Some(Ok(()))) {
                world.count(Counter::ChangesFailed);
            }
            changing.store(false, Ordering::Relaxed);
        });
    }
}

/// Changes members as a controller does: newcomers copy first, then all votes change at once, and
/// who votes no more is sent away.
async fn regroup(
    raft: &Raft<Registers>,
    new: Vec<Listed>,
    wanted: BTreeSet<u64>,
) -> Result<(), ChangeError> {
    for member in new {
        let id = member.id;
        raft.admit(member, &raft.group()).await?;
        let behind = |group: &Group| {
            let found = group.members.iter().find(|one| one.member.id == id);
            found.is_none_or(|one| one.matched.is_none() || one.matched < group.last)
        };
        while behind(&raft.group()) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    raft.vote_in(wanted.clone(), &raft.group()).await?;
    let group = raft.group();
    for gone in group.members.iter().filter(|one| !one.votes && !one.will_vote) {
        raft.dismiss(gone.member.id, &raft.group()).await?;
    }
    Ok(())
}

fn is_well(running: &Running) -> bool {
    !running.power.is_cancelled() && running.raft.glance().runs
}

/// Returns the ways, both directions, between one side and all others.
fn between(side: &BTreeSet<u64>, all: &[u64]) -> BTreeSet<Way> {
    let others = all.iter().filter(|id| !side.contains(id));
    others.flat_map(|other| side.iter().flat_map(|id| [(*id, *other), (*other, *id)])).collect()
}

/// Takes out what is due.
fn due(times: &mut BTreeMap<u64, u64>, now: u64) -> Vec<u64> {
    times.extract_if(.., |_, at| *at <= now).map(|(id, _)| id).collect()
}
