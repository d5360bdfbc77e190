//! What is done to a fleet, and when: a schedule that one seed gives, and nothing else.
//!
//! Two lanes run side by side, one for controllers and one for hosts, each with one fault at a
//! time. A fault names roles ("the leader"), since who has them is known only when it begins.

use std::fmt;
use std::time::Duration;

use crate::sim::rng::Rng;

/// Something bad that is done for a while and then undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// SIGKILL of the leader.
    KillLeader,
    /// SIGKILL of another controller.
    KillFollower,
    /// SIGKILL of all controllers at once.
    KillAllControllers,
    /// SIGSTOP of the leader, longer than an election takes.
    FreezeLeader,
    /// SIGSTOP of another controller.
    FreezeFollower,
    /// The leader is cut off from a majority of controllers, but not from its clients.
    IsolateLeader,
    /// What the leader sends to the others is kept; what they send arrives.
    HalfOpenLeader,
    /// Two controllers do not reach each other, but all others.
    BreakPair,
    /// All connections of a controller are reset again and again.
    CutController,
    /// A controller is reached three times as slowly as before.
    SlowController,
    /// The disk of a controller is full.
    FillControllerDisk,
    /// A controller comes back with a disk that cannot be written.
    ProtectControllerDisk,
    /// SIGKILL of some agents; their services go on.
    KillAgents,
    /// SIGSTOP of all agents of a region; their services go on.
    FreezeRegion,
    /// Agents of a region reach no controller; their services go on.
    IsolateRegion,
    /// All connections of some agents are reset again and again.
    CutAgents,
    /// The disk of an agent is full.
    FillAgentDisk,
    /// A node comes back with a disk that cannot be written.
    ProtectAgentDisk,
    /// SIGKILL of an agent and its service.
    KillNode,
    /// SIGKILL of all agents and services of a region while no upgrade is under way.
    CutPower,
}

impl Fault {
    /// Returns what it is called in a timeline and in figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "kill-leader",
            Self::KillFollower => "kill-follower",
            Self::KillAllControllers => "kill-all-controllers",
            Self::FreezeLeader => "freeze-leader",
            Self::FreezeFollower => "freeze-follower",
            Self::IsolateLeader => "isolate-leader",
            Self::HalfOpenLeader => "half-open-leader",
            Self::BreakPair => "break-pair",
            Self::CutController => "cut-controller",
            Self::SlowController => "slow-controller",
            Self::FillControllerDisk => "fill-controller-disk",
            Self::ProtectControllerDisk => "protect-controller-disk",
            Self::KillAgents => "kill-agents",
            Self::FreezeRegion => "freeze-region",
            Self::IsolateRegion => "isolate-region",
            Self::CutAgents => "cut-agents",
            Self::FillAgentDisk => "fill-agent-disk",
            Self::ProtectAgentDisk => "protect-agent-disk",
            Self::KillNode => "kill-node",
            Self::CutPower => "cut-power",
        }
    }

    /// Returns whether it needs a disk of its own for the daemon it hits.
    pub const fn needs_disk(self) -> bool {
        matches!(
            self,
            Self::FillControllerDisk
                | Self::ProtectControllerDisk
                | Self::FillAgentDisk
                | Self::ProtectAgentDisk
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Faults without which a run proves too little; they come first.
pub const DEMANDED: [Fault; 4] =
    [Fault::KillLeader, Fault::IsolateLeader, Fault::FreezeLeader, Fault::FillControllerDisk];

/// Other faults of controllers.
const MORE: [Fault; 8] = [
    Fault::KillFollower,
    Fault::KillAllControllers,
    Fault::FreezeFollower,
    Fault::HalfOpenLeader,
    Fault::BreakPair,
    Fault::CutController,
    Fault::SlowController,
    Fault::ProtectControllerDisk,
];

/// Faults of hosts.
const HOSTS: [Fault; 8] = [
    Fault::KillAgents,
    Fault::FreezeRegion,
    Fault::IsolateRegion,
    Fault::CutAgents,
    Fault::FillAgentDisk,
    Fault::ProtectAgentDisk,
    Fault::KillNode,
    Fault::CutPower,
];

/// How long a fault lasts: an election of the `wan` profile takes about 3.5 s.
const LASTING_MS: std::ops::RangeInclusive<u64> = 4500..=8000;
/// Rest between two faults of a lane, in which the fleet may catch its breath, or not quite.
const REST_MS: std::ops::RangeInclusive<u64> = 1500..=4500;

/// One fault at its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What is done.
    pub fault: Fault,
    /// Time from the end of the one before.
    pub after: Duration,
    /// How long it lasts.
    pub lasting: Duration,
    /// Chance for what is drawn when it begins.
    pub seed: u64,
}

/// Faults of controllers and of hosts, each one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Faults of controllers.
    pub controllers: Vec<Planned>,
    /// Faults of hosts.
    pub hosts: Vec<Planned>,
}

impl Schedule {
    /// Draws the faults of a run of `time`; those that need disks are left out without them.
    pub fn draw(seed: u64, time: Duration, with_disks: bool) -> Self {
        let mut rng = Rng::new(seed);
        let controllers = lane(&mut rng, time, with_disks, &[&DEMANDED, &MORE]);
        let hosts = lane(&mut rng, time, with_disks, &[&HOSTS]);
        Self { controllers, hosts }
    }
}

/// Draws faults until the time is over: every kind once, group by group, and then over again.
fn lane(rng: &mut Rng, time: Duration, with_disks: bool, groups: &[&[Fault]]) -> Vec<Planned> {
    let between = |rng: &mut Rng, range: std::ops::RangeInclusive<u64>| {
        Duration::from_millis(rng.between(*range.start(), *range.end()))
    };
    let mut planned = Vec::new();
    let mut used = Duration::ZERO;
    loop {
        for group in groups {
            let mut group: Vec<Fault> = group.to_vec();
            group.retain(|fault| with_disks || !fault.needs_disk());
            while !group.is_empty() {
                let fault = group.swap_remove(rng.below(group.len()));
                let (after, lasting) = (between(rng, REST_MS), between(rng, LASTING_MS));
                used += after + lasting;
                if used > time {
                    return planned;
                }
                planned.push(Planned { fault, after, lasting, seed: rng.next() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const MINUTES: Duration = Duration::from_mins(5);

    #[test]
    fn one_seed_gives_one_schedule_that_fits_its_time() {
        let one = Schedule::draw(1, MINUTES, true);
        assert_eq!(one, Schedule::draw(1, MINUTES, true));
        assert_ne!(one, Schedule::draw(2, MINUTES, true));
        for lane in [&one.controllers, &one.hosts] {
            let used: Duration = lane.iter().map(|one| one.after + one.lasting).sum();
            assert!(used <= MINUTES && used > MINUTES / 2, "{used:?}");
        }
    }

    #[test]
    fn what_is_demanded_comes_first_and_everything_within_minutes() {
        for seed in 0..200 {
            let schedule = Schedule::draw(seed, MINUTES, true);
            let faults = |lane: &[Planned]| lane.iter().map(|one| one.fault).collect::<Vec<_>>();
            let controllers = faults(&schedule.controllers);
            let first: BTreeSet<Fault> = controllers[..DEMANDED.len()].iter().copied().collect();
            assert_eq!(first, DEMANDED.into_iter().collect());
            let all: BTreeSet<Fault> =
                controllers.into_iter().chain(faults(&schedule.hosts)).collect();
            assert_eq!(all.len(), DEMANDED.len() + MORE.len() + HOSTS.len());
        }
    }

    #[test]
    fn without_disks_there_are_no_faults_of_disks() {
        let schedule = Schedule::draw(4, MINUTES, false);
        let mut all = schedule.controllers.iter().chain(&schedule.hosts);
        assert!(all.all(|one| !one.fault.needs_disk()));
    }
}
