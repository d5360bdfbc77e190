//! A simulated machine: what its services are pointed at, which processes run, and whether they
//! truly serve. Only an agent's steps, its supervision and the faults change it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use trireme_agent::plan::{Key, Probed, Work};
use trireme_proto::action::RunSpec;
use trireme_proto::digest::Digest;
use trireme_proto::id::{ServiceId, UpgradeId};

use super::catalogue::{Truth, truth};
use super::rng::Rng;

/// A time that never comes.
pub const NEVER: u64 = u64::MAX;

/// A run specification with its digest, computed once.
#[derive(Debug, PartialEq, Eq)]
pub struct Spec {
    /// What runs.
    pub spec: RunSpec,
    /// Its digest.
    pub digest: Digest,
}

impl Spec {
    /// Wraps a specification.
    pub fn new(spec: RunSpec) -> Rc<Self> {
        let digest = spec.digest();
        Rc::new(Self { spec, digest })
    }
}

/// A running process.
#[derive(Debug, Clone)]
pub struct Process {
    /// What it runs.
    pub spec: Rc<Spec>,
    /// From when it serves.
    pub ready_at: u64,
    /// From when it serves no longer.
    pub fails_at: u64,
}

/// A service on a machine.
#[derive(Debug, Clone, Default)]
pub struct Unit {
    /// What it is pointed at; survives boots.
    pub pointed: Option<Rc<Spec>>,
    /// Whether a process ought to run; survives boots.
    pub wanted: bool,
    /// Its process.
    pub process: Option<Process>,
    /// Until when it is ill for reasons of its own.
    pub ill_until: u64,
    /// Last time it was seen to serve when that ended.
    served_until: u64,
    /// Upgrades whose switches have begun to change it.
    pub touched: BTreeSet<UpgradeId>,
    /// Starts by each execution of a step, those after a death not of our making left out.
    pub starts: BTreeMap<Key, u32>,
}

impl Unit {
    /// Returns whether it truly serves.
    pub fn serves(&self, now: u64) -> bool {
        now >= self.ill_until
            && self.process.as_ref().is_some_and(|p| p.ready_at <= now && now < p.fails_at)
    }

    /// Returns since when it has truly served without a break, if it does.
    pub fn serving_since(&self, now: u64) -> Option<u64> {
        let process = self.process.as_ref().filter(|_| self.serves(now))?;
        Some(process.ready_at.max(self.ill_until))
    }

    /// Returns the last time, up to now, at which it truly served.
    pub fn last_served(&self, now: u64) -> u64 {
        if self.serves(now) {
            return now;
        }
        let failed = self.process.as_ref().map(|process| process.fails_at);
        failed.filter(|at| *at <= now).unwrap_or_default().max(self.served_until)
    }

    /// Returns the digest of what it is pointed at.
    pub fn digest(&self) -> Option<Digest> {
        self.pointed.as_ref().map(|spec| spec.digest)
    }

    /// Ends its process; returns whether there was one.
    pub fn kill(&mut self, now: u64) -> bool {
        self.served_until = self.last_served(now);
        self.process.take().is_some()
    }

    /// Makes it ill until `until`.
    pub fn sicken(&mut self, now: u64, until: u64) {
        self.served_until = self.last_served(now);
        self.ill_until = self.ill_until.max(until);
    }

    /// Starts what it is pointed at, unless it runs.
    pub fn start(&mut self, now: u64, last_of_region: bool, rng: &mut Rng) -> bool {
        let Some(spec) = self.pointed.clone().filter(|_| self.process.is_none()) else {
            return false;
        };
        let ready = now + rng.between(100, 2000);
        let (ready_at, fails_at) = match truth(&spec.spec.release.version) {
            Truth::Never => (NEVER, NEVER),
            Truth::Picky if last_of_region => (NEVER, NEVER),
            Truth::Late => (ready, ready + rng.between(1000, 12_000)),
            Truth::Good | Truth::Gone | Truth::Picky => (ready, NEVER),
        };
        self.process = Some(Process { spec, ready_at, fails_at });
        true
    }
}

/// Returns the digest of what a release brings to a machine.
pub fn fetched(spec: &RunSpec) -> Digest {
    spec.release.artifact.as_ref().map_or_else(|| spec.digest(), |artifact| artifact.sha256)
}

/// A machine.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Its services.
    pub units: BTreeMap<ServiceId, Unit>,
    /// Artifacts on its disk.
    pub artifacts: BTreeSet<Digest>,
}

impl Host {
    /// Returns a service, which is placed here.
    pub fn unit(&mut self, service: &ServiceId) -> &mut Unit {
        self.units.entry(service.clone()).or_default()
    }

    /// Finds out whether the effect of a step is there.
    pub fn probe(&self, service: &ServiceId, work: &Work) -> Probed {
        let unit = self.units.get(service);
        let process = unit.and_then(|unit| unit.process.as_ref());
        let there = match work {
            Work::Fetch { spec } => self.artifacts.contains(&fetched(spec)),
            Work::Stop => process.is_none() && !unit.is_some_and(|unit| unit.wanted),
            Work::Point { spec } => {
                unit.and_then(|u| u.pointed.as_ref()).map(|s| &s.spec) == spec.as_ref()
            }
            Work::Start { spec, .. } => process.is_some_and(|process| process.spec.spec == *spec),
            Work::Quiesce { .. } | Work::Gate { .. } => false,
        };
        if there { Probed::Done } else { Probed::NotDone }
    }

    /// Does what a step does; returns whether it started a process.
    pub fn perform(
        &mut self,
        now: u64,
        key: Key,
        service: &ServiceId,
        work: &Work,
        last_of_region: bool,
        rng: &mut Rng,
    ) -> bool {
        match work {
            Work::Fetch { spec } => {
                self.artifacts.insert(fetched(spec));
                false
            }
            Work::Stop => {
                let unit = self.unit(service);
                unit.wanted = false;
                unit.kill(now);
                false
            }
            Work::Point { spec } => {
                self.unit(service).pointed = spec.clone().map(Spec::new);
                false
            }
            Work::Start { .. } => {
                let unit = self.unit(service);
                unit.wanted = true;
                let started = unit.start(now, last_of_region, rng);
                if started {
                    *unit.starts.entry(key).or_default() += 1;
                }
                started
            }
            Work::Quiesce { .. } | Work::Gate { .. } => false,
        }
    }

    /// All processes die, by no fault of ours.
    pub fn lose_power(&mut self, now: u64) {
        for unit in self.units.values_mut() {
            unit.kill(now);
            unit.starts.clear();
        }
    }
}
