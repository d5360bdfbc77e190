//! Where faults are inflicted: the fleet, the network between its parts, and its disks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use trireme_ctl::client::Client;
use trireme_ctl::load::Probe;
use trireme_ctl::local::{Fleet, Process};
use trireme_proto::id::RegionId;
use trireme_proto::view::ServiceView;
use trireme_proto::wire::{Consistency, ControllersRequest};

use super::disk::Disk;
use super::effects::Effects;
use super::faults::{Fault, Planned};
use super::network::{Flow, Network, Site};
use super::timeline::Timeline;
use super::upgrades;
use crate::sim::rng::Rng;

/// Longest wait for somebody to lead, or for upgrades to make room, before a fault is left out.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Longest wait for nobody to write on a disk any more.
const QUIET_MAX: Duration = Duration::from_secs(3);
/// Longest a daemon whose disk failed goes on running: it first lets go of those it serves. Whoever
/// met the end of the space ends after there is some again, and wants to be started then.
const END_MAX: Duration = Duration::from_secs(5);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A link that is cut again and again is so for this long, and works for as long again.
const FLAP: Duration = Duration::from_millis(400);
/// How much slower a slow controller is, in percent.
const SLOW_PERCENT: u32 = 300;
/// Agents that one fault of agents hits.
const SOME_AGENTS: usize = 4;

/// A fleet that faults are inflicted on.
#[derive(Debug)]
pub struct Field {
    /// Its processes.
    pub fleet: Mutex<Fleet>,
    /// What is between them.
    pub network: Arc<Network>,
    /// Disks of their own, by the names of those who have them.
    pub disks: BTreeMap<String, Disk>,
    /// What happened on the nodes.
    pub effects: StdMutex<Effects>,
    /// A client that goes around the proxy.
    pub client: Client,
    /// Which regions serve.
    pub probe: Arc<Probe>,
    /// Held by whoever upgrades.
    pub turn: Arc<Mutex<()>>,
    /// What is done, aloud.
    pub timeline: Arc<Timeline>,
    /// How often each fault was inflicted.
    pub inflicted: StdMutex<BTreeMap<Fault, u64>>,
}

/// How a fault is undone.
#[derive(Debug, Default)]
struct Undo {
    /// Links that are opened again.
    links: Vec<(Vec<Site>, Vec<Site>)>,
    /// Whether these links work half of the time.
    is_flapping: bool,
    slow: Option<Site>,
    thaw: Vec<Site>,
    /// Whose disk is freed and unprotected.
    disk: Option<String>,
    start: Vec<Site>,
}

/// What was done to whom, and how it is undone.
type Begun = (String, Undo);

impl Field {
    /// Inflicts faults one after the other until they are done or it is told to stop.
    pub async fn lane(&self, planned: &[Planned], stop: &CancellationToken) -> Result<()> {
        for one in planned {
            stop.run_until_cancelled(sleep(one.after)).await;
            if stop.is_cancelled() {
                return Ok(());
            }
            let begun = match Box::pin(self.begin(one)).await {
                Ok(begun) => begun,
                Err(error) => {
                    self.timeline.say(format!("left out: {}: {error:#}", one.fault));
                    continue;
                }
            };
            let (whom, undo) = begun;
            self.timeline.say(format!("{} {whom} for {:?}", one.fault, one.lasting));
            *lock(&self.inflicted).entry(one.fault).or_default() += 1;
            self.wait(&undo, one.lasting).await;
            self.undo(undo).await?;
            self.timeline.say(format!("{} {whom} is over", one.fault));
        }
        Ok(())
    }

    /// Makes everything work and run again.
    pub async fn heal(&self) -> Result<()> {
        self.network.heal();
        for disk in self.disks.values() {
            disk.unprotect()?;
            disk.free()?;
        }
        let mut fleet = self.fleet.lock().await;
        for site in sites(&fleet) {
            process(&mut fleet, site).thaw();
        }
        fleet.start_all()?;
        Ok(())
    }

    async fn begin(&self, planned: &Planned) -> Result<Begun> {
        let mut rng = Rng::new(planned.seed);
        match planned.fault {
            Fault::KillLeader | Fault::KillFollower | Fault::KillAllControllers => {
                let targets = self.controllers(planned.fault, &mut rng).await?;
                self.kill(targets).await
            }
            Fault::FreezeLeader | Fault::FreezeFollower => {
                let targets = self.controllers(planned.fault, &mut rng).await?;
                Ok(self.freeze(targets).await)
            }
            Fault::IsolateLeader | Fault::HalfOpenLeader => {
                self.isolate_leader(planned.fault, &mut rng).await
            }
            Fault::BreakPair | Fault::CutController | Fault::SlowController => {
                Ok(self.disturb(planned.fault, &mut rng).await)
            }
            Fault::FillControllerDisk | Fault::FillAgentDisk => {
                self.fill(planned.fault, &mut rng).await
            }
            Fault::ProtectControllerDisk | Fault::ProtectAgentDisk => {
                self.protect(planned.fault, &mut rng).await
            }
            Fault::KillAgents => {
                let agents = self.some_agents(&mut rng, SOME_AGENTS).await;
                self.kill(agents).await
            }
            Fault::KillNode => {
                let agents = self.some_agents(&mut rng, 1).await;
                let begun = self.kill(agents.clone()).await?;
                self.kill_services(&agents).await?;
                Ok(begun)
            }
            Fault::FreezeRegion => {
                let (_, agents) = self.region(&mut rng).await;
                Ok(self.freeze(agents).await)
            }
            Fault::IsolateRegion | Fault::CutAgents => {
                Ok(self.isolate_agents(planned.fault, &mut rng).await)
            }
            Fault::CutPower => Box::pin(self.cut_power(&mut rng)).await,
        }
    }

    async fn wait(&self, undo: &Undo, lasting: Duration) {
        if !undo.is_flapping {
            sleep(lasting).await;
            return;
        }
        let end = Instant::now() + lasting;
        while Instant::now() < end {
            self.set(&undo.links, Flow::Cut);
            sleep(FLAP).await;
            self.set(&undo.links, Flow::Open);
            sleep(FLAP).await;
        }
    }

    async fn undo(&self, undo: Undo) -> Result<()> {
        self.set(&undo.links, Flow::Open);
        if let Some(site) = undo.slow {
            self.network.slow_down(&[site], 100);
        }
        let disk = undo.disk.and_then(|name| self.disks.get(&name));
        if let Some(disk) = disk {
            disk.unprotect()?;
            disk.free()?;
        }
        for site in undo.thaw {
            process(&mut *self.fleet.lock().await, site).thaw();
        }
        let end = Instant::now() + if disk.is_some() { END_MAX } else { Duration::ZERO };
        loop {
            for site in &undo.start {
                process(&mut *self.fleet.lock().await, *site).start()?;
            }
            if Instant::now() >= end {
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn set(&self, links: &[(Vec<Site>, Vec<Site>)], flow: Flow) {
        for (from, to) in links {
            self.network.set(from, to, flow);
        }
    }
}

/// Whom it hits.
impl Field {
    /// Returns the position of the one that leads.
    async fn leader(&self) -> Result<usize> {
        let end = Instant::now() + WAIT_MAX;
        loop {
            let consistency = Consistency::Lease.into();
            let reply = self.client.controllers(ControllersRequest { consistency }).await;
            if let Ok(reply) = reply
                && let Some(leader) = reply.value.leader
            {
                let fleet = self.fleet.lock().await;
                let found = fleet.controllers().iter().position(|one| one.name == leader);
                if let Some(position) = found {
                    return Ok(position);
                }
            }
            ensure!(Instant::now() < end, "nobody leads");
            sleep(LOOK_EVERY).await;
        }
    }

    /// Returns the controllers that a fault hits.
    async fn controllers(&self, fault: Fault, rng: &mut Rng) -> Result<Vec<Site>> {
        let count = self.fleet.lock().await.controllers().len();
        Ok(match fault {
            Fault::KillAllControllers => (0..count).map(Site::Controller).collect(),
            Fault::KillLeader | Fault::FreezeLeader => {
                vec![Site::Controller(self.leader().await?)]
            }
            _ => {
                let leader = self.leader().await?;
                vec![Site::Controller((leader + 1 + rng.below(count - 1)) % count)]
            }
        })
    }

    async fn some_agents(&self, rng: &mut Rng, count: usize) -> Vec<Site> {
        let mut all: Vec<usize> = (0..self.fleet.lock().await.agents().len()).collect();
        let count = count.min(all.len());
        (0..count).map(|_| Site::Agent(all.swap_remove(rng.below(all.len())))).collect()
    }

    /// Returns a region and its agents.
    async fn region(&self, rng: &mut Rng) -> (RegionId, Vec<Site>) {
        let fleet = self.fleet.lock().await;
        let agents = fleet.agents();
        let region = agents[rng.below(agents.len())].region.clone();
        let here = agents.iter().enumerate().filter(|(_, one)| one.region == region);
        let here = here.map(|(position, _)| Site::Agent(position)).collect();
        (region, here)
    }

    /// Returns somebody who has a disk of their own.
    async fn with_disk(&self, fault: Fault, rng: &mut Rng) -> Result<(Site, String)> {
        let is_agent = matches!(fault, Fault::FillAgentDisk | Fault::ProtectAgentDisk);
        let mut fleet = self.fleet.lock().await;
        let mut found = Vec::new();
        for site in sites(&fleet) {
            let name = process(&mut fleet, site).name().to_owned();
            if self.disks.contains_key(&name) && matches!(site, Site::Agent(_)) == is_agent {
                found.push((site, name));
            }
        }
        ensure!(!found.is_empty(), "nobody has a disk of their own");
        Ok(found.swap_remove(rng.below(found.len())))
    }

    async fn names(&self, sites: &[Site]) -> String {
        let mut fleet = self.fleet.lock().await;
        let names = sites.iter().map(|site| process(&mut fleet, *site).name().to_owned());
        names.collect::<Vec<_>>().join(" ")
    }
}

/// What is done to them.
impl Field {
    async fn kill(&self, targets: Vec<Site>) -> Result<Begun> {
        let names = self.names(&targets).await;
        let mut fleet = self.fleet.lock().await;
        for site in &targets {
            process(&mut fleet, *site).kill().await?;
        }
        Ok((names, Undo { start: targets, ..Undo::default() }))
    }

    async fn freeze(&self, targets: Vec<Site>) -> Begun {
        let names = self.names(&targets).await;
        let mut fleet = self.fleet.lock().await;
        for site in &targets {
            process(&mut fleet, *site).freeze();
        }
        (names, Undo { thaw: targets, ..Undo::default() })
    }

    /// Kills the services of nodes whose agents do not run.
    async fn kill_services(&self, agents: &[Site]) -> Result<()> {
        let fleet = self.fleet.lock().await;
        for site in agents {
            let Site::Agent(position) = site else { continue };
            let node = fleet.agents()[*position].node.clone();
            let left = tokio::task::block_in_place(|| fleet.kill_services_of(&node));
            ensure!(left == 0, "{left} processes of {node} could not be ended");
            lock(&self.effects).killed(node.as_str());
        }
        Ok(())
    }

    async fn isolate_leader(&self, fault: Fault, rng: &mut Rng) -> Result<Begun> {
        let leader = self.leader().await?;
        let count = self.fleet.lock().await.controllers().len();
        // As many on its side as leave it in the minority.
        let others: Vec<usize> = (1..count).map(|step| (leader + step) % count).collect();
        let (near, far) = others.split_at((count - 1) / 2 - 1);
        let near: Vec<Site> =
            near.iter().chain([&leader]).map(|position| Site::Controller(*position)).collect();
        let far: Vec<Site> = far.iter().map(|position| Site::Controller(*position)).collect();
        let flow = if rng.chance(500) { Flow::Held } else { Flow::Lost };
        let mut links = vec![(near.clone(), far.clone())];
        if fault == Fault::IsolateLeader {
            links.push((far.clone(), near.clone()));
        }
        self.set(&links, flow);
        let whom = format!("{} from {}, {flow:?}", self.names(&near).await, self.names(&far).await);
        Ok((whom, Undo { links, ..Undo::default() }))
    }

    /// Disturbs links of any controllers.
    async fn disturb(&self, fault: Fault, rng: &mut Rng) -> Begun {
        let (all, agents) = {
            let fleet = self.fleet.lock().await;
            let all: Vec<Site> = (0..fleet.controllers().len()).map(Site::Controller).collect();
            (all, (0..fleet.agents().len()).map(Site::Agent).collect::<Vec<_>>())
        };
        let first = rng.below(all.len());
        let one = vec![all[first]];
        if fault == Fault::SlowController {
            self.network.slow_down(&one, SLOW_PERCENT);
            let slow = Some(one[0]);
            return (self.names(&one).await, Undo { slow, ..Undo::default() });
        }
        if fault == Fault::BreakPair {
            let other = vec![all[(first + 1 + rng.below(all.len() - 1)) % all.len()]];
            let whom = format!("{} {}", self.names(&one).await, self.names(&other).await);
            let links = vec![(one.clone(), other.clone()), (other, one)];
            self.set(&links, if rng.chance(500) { Flow::Held } else { Flow::Lost });
            return (whom, Undo { links, ..Undo::default() });
        }
        let mut rest: Vec<Site> = all.into_iter().filter(|site| *site != one[0]).collect();
        rest.extend(agents);
        rest.push(Site::Operators);
        let whom = self.names(&one).await;
        let links = vec![(one.clone(), rest.clone()), (rest, one)];
        (whom, Undo { links, is_flapping: true, ..Undo::default() })
    }

    async fn isolate_agents(&self, fault: Fault, rng: &mut Rng) -> Begun {
        let count = self.fleet.lock().await.controllers().len();
        let controllers: Vec<Site> = (0..count).map(Site::Controller).collect();
        let is_flapping = fault == Fault::CutAgents;
        let (whom, agents) = if is_flapping {
            let agents = self.some_agents(rng, SOME_AGENTS).await;
            (self.names(&agents).await, agents)
        } else {
            let (region, agents) = self.region(rng).await;
            (region.to_string(), agents)
        };
        let links = vec![(agents.clone(), controllers.clone()), (controllers, agents)];
        if !is_flapping {
            self.set(&links, if rng.chance(500) { Flow::Held } else { Flow::Lost });
        }
        (whom, Undo { links, is_flapping, ..Undo::default() })
    }

    async fn fill(&self, fault: Fault, rng: &mut Rng) -> Result<Begun> {
        let (site, name) = self.with_disk(fault, rng).await?;
        self.disks[&name].fill()?;
        let undo = Undo { disk: Some(name.clone()), start: vec![site], ..Undo::default() };
        Ok((name, undo))
    }

    async fn protect(&self, fault: Fault, rng: &mut Rng) -> Result<Begun> {
        let (site, name) = self.with_disk(fault, rng).await?;
        // A disk that somebody writes on cannot be protected: they come back to it protected.
        self.kill(vec![site]).await?;
        if fault == Fault::ProtectAgentDisk {
            self.kill_services(&[site]).await?;
        }
        let end = Instant::now() + QUIET_MAX;
        let protected = loop {
            match self.disks[&name].protect() {
                // The last threads of what was killed may hold its files for a moment.
                Err(_) if Instant::now() < end => sleep(LOOK_EVERY).await,
                result => break result,
            }
        };
        process(&mut *self.fleet.lock().await, site).start()?;
        protected?;
        let undo = Undo { disk: Some(name.clone()), start: vec![site], ..Undo::default() };
        Ok((name, undo))
    }

    /// Kills everything in a region, when every region serves and no upgrade has taken one away:
    /// else two regions would be gone by our doing, and nobody could keep the promise.
    async fn cut_power(&self, rng: &mut Rng) -> Result<Begun> {
        let (region, agents) = self.region(rng).await;
        let turn = timeout(WAIT_MAX, self.turn.lock()).await;
        let _turn = turn.map_err(|_| anyhow::anyhow!("an upgrade is under way"))?;
        let view = upgrades::service(&self.client).await?;
        ensure!(view.upgrade.is_none(), "an upgrade is under way that nobody told us of");
        let serving = self.probe.newest();
        ensure!(serving == self.probe.regions(), "only {serving} regions serve");
        let (_, undo) = self.kill(agents.clone()).await?;
        self.kill_services(&agents).await?;
        // Nor could anybody who has not heard of it yet.
        let end = Instant::now() + WAIT_MAX;
        loop {
            let view = upgrades::service(&self.client).await;
            let is_down = |view: ServiceView| view.regions.get(&region).is_some_and(|r| !r.serving);
            let known = view.is_ok_and(is_down);
            if known || Instant::now() >= end {
                let how = if known { "noticed" } else { "not noticed" };
                return Ok((format!("{region}, {how}"), undo));
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Returns everybody.
pub fn sites(fleet: &Fleet) -> Vec<Site> {
    let controllers = (0..fleet.controllers().len()).map(Site::Controller);
    controllers.chain((0..fleet.agents().len()).map(Site::Agent)).collect()
}

/// Returns the process of a site.
pub fn process(fleet: &mut Fleet, site: Site) -> &mut Process {
    match site {
        Site::Controller(position) => &mut fleet.controllers_mut()[position].process,
        Site::Agent(position) => &mut fleet.agents_mut()[position].process,
        Site::Operators => unreachable!("people are no processes"),
    }
}

/// Locks; what a panic left behind is still good to be looked at.
pub fn lock<T>(mutex: &StdMutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
