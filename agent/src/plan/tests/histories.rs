//! Random histories: offers in any order, failing steps, crashes between any two effects.
//!
//! A small host with perfect probes stands in for the machine. After each event the promises of
//! the core are checked against what is on its disk; at the end faults stop, and everything must
//! come to rest with the host where the last words say it is.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use trireme_proto::action::ActionKind;
use trireme_proto::id::{ActionId, ServiceId};

use super::super::{
    Core, Direction, Effect, Key, Look, Outcome, Probed, Seen, State, Status, Task, Work,
};
use super::*;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Event {
    /// The controllers commit an action on a service.
    Commit { service: usize, kind: u8, version: u8, right: bool },
    /// One of the committed actions is offered.
    Offer { which: usize, age: u16 },
    /// The host answers.
    Answer { fate: Fate },
    /// Time passes.
    Pass { ms: u16 },
    /// The agent dies after that many effects of the next input.
    CrashAfter { effects: usize },
    /// The agent dies now; what the host was doing happens or not.
    Crash { finishes: bool, reboot: bool },
    /// Reports are acknowledged.
    Ack { behind: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    Fails,
    Interrupted,
}

fn event() -> impl Strategy<Value = Event> {
    let fate = prop_oneof![
        8 => Just(Fate::Works),
        2 => Just(Fate::Fails),
        1 => Just(Fate::Interrupted),
    ];
    prop_oneof![
        3 => (0..2_usize, 0..10_u8, 1..4_u8, prop::bool::weighted(0.9))
            .prop_map(|(service, kind, version, right)| {
                Event::Commit { service, kind, version, right }
            }),
        6 => (0..4_usize, 0..5100_u16).prop_map(|(which, age)| Event::Offer { which, age }),
        24 => fate.prop_map(|fate| Event::Answer { fate }),
        2 => (0..20_000_u16).prop_map(|ms| Event::Pass { ms }),
        1 => Just(Event::Pass { ms: 61_000 }),
        1 => (0..6_usize).prop_map(|effects| Event::CrashAfter { effects }),
        1 => (any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(finishes, reboot)| Event::Crash { finishes, reboot }),
        1 => (0..5_u64).prop_map(|behind| Event::Ack { behind }),
    ]
}

/// One service on the small host.
#[derive(Debug, Clone, Default)]
struct Unit {
    pointer: Option<RunSpec>,
    running: Option<RunSpec>,
    /// Whether it was started on purpose, so that a boot brings it up again.
    wanted: bool,
    fetched: BTreeSet<Digest>,
}

/// What the host was asked for and has not answered.
#[derive(Debug, Clone)]
enum Asked {
    Look(Look),
    Probe(Task),
    Run(Task),
}

/// What the last words about a service promise.
#[derive(Debug)]
enum Claim {
    Runs(Box<RunSpec>),
    Stopped(Option<Digest>),
    Nothing,
    Unknown,
}

impl Claim {
    fn of(spec: Option<&RunSpec>) -> Self {
        spec.map_or(Self::Nothing, |spec| Self::Runs(Box::new(spec.clone())))
    }
}

#[derive(Debug)]
struct World {
    now: u64,
    core: Core,
    disk: State,
    units: BTreeMap<ServiceId, Unit>,
    asked: Option<Asked>,
    committed: Vec<Action>,
    crash_after: Option<usize>,
    /// Starts in this boot, by key.
    starts: BTreeMap<Key, u32>,
    /// Every report ever journaled, by number.
    reports: BTreeMap<u64, Report>,
    /// Where the last words say each service is.
    claimed: BTreeMap<ServiceId, Claim>,
}

const SERVICES: [&str; 2] = ["db", "web"];

impl World {
    fn new() -> Self {
        let services = SERVICES.map(|name| name.parse::<ServiceId>().unwrap());
        Self {
            now: 0,
            core: Core::new("n1".parse().unwrap(), State::default()),
            disk: State::default(),
            units: services.iter().map(|s| (s.clone(), Unit::default())).collect(),
            asked: None,
            committed: Vec::new(),
            crash_after: None,
            starts: BTreeMap::new(),
            reports: BTreeMap::new(),
            claimed: services.into_iter().map(|service| (service, Claim::Nothing)).collect(),
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Commit { service, kind, version, right } => {
                self.commit(SERVICES[service], kind, version, right);
            }
            Event::Offer { which, age } => {
                // Mostly the newest ones, sometimes long-gone ones.
                let Some(at) = self.committed.len().checked_sub(which + 1) else { return };
                let offered = self.committed[at].clone();
                let effects = self.core.offer(self.now, offered, Some(u64::from(age)));
                self.perform(effects);
            }
            Event::Answer { fate } => self.answer(fate),
            Event::Pass { ms } => {
                self.now += u64::from(ms);
                let effects = self.core.tick(self.now);
                self.perform(effects);
            }
            Event::CrashAfter { effects } => self.crash_after = Some(effects),
            Event::Crash { finishes, reboot } => self.crash(finishes, reboot),
            Event::Ack { behind } => {
                let effects = self.core.acked(self.disk.seq.saturating_sub(behind));
                self.perform(effects);
            }
        }
    }

    fn commit(&mut self, service: &str, kind: u8, version: u8, right: bool) {
        let generation = self.committed.len() as u64 + 1;
        let unit = &self.units[&service.parse().unwrap()];
        let target = spec(service, &version.to_string());
        let pointer = unit.pointer.as_ref().filter(|_| right);
        let earlier = self.committed.iter().rev().find_map(|action| match &action.kind {
            ActionKind::Switch(_) if action.service.as_str() == service => Some(action.id.0),
            _ => None,
        });
        let of = earlier.unwrap_or(0);
        let kind = match kind {
            0 => ActionKind::Stage { target },
            1..=4 => switch_to(target, pointer),
            5 => halt(pointer),
            6 | 7 => ActionKind::Confirm { of: ActionId(of) },
            8 => revert_of(of, None),
            _ => revert_of(of, Some(target)),
        };
        self.committed.push(action(generation, service, kind));
    }

    fn answer(&mut self, fate: Fate) {
        let effects = match self.asked.take() {
            None => return,
            Some(Asked::Look(look)) if fate == Fate::Fails => {
                self.core.looked(self.now, look.action, Err("cannot look".to_owned()))
            }
            Some(Asked::Look(look)) => {
                let unit = &self.units[&look.service];
                let running = unit.running.is_some();
                let seen = Seen { spec: unit.pointer.clone(), running, serving: running };
                self.core.looked(self.now, look.action, Ok(seen))
            }
            Some(Asked::Probe(task)) if fate == Fate::Fails => {
                self.core.probed(self.now, task.key, Probed::Unknown)
            }
            Some(Asked::Probe(task)) => {
                let done = if self.is_done(&task) { Probed::Done } else { Probed::NotDone };
                self.core.probed(self.now, task.key, done)
            }
            Some(Asked::Run(task)) => {
                let waits = matches!(
                    task.work,
                    Work::Fetch { .. } | Work::Quiesce { .. } | Work::Gate { .. }
                );
                let outcome = match fate {
                    Fate::Fails => Outcome::Failed("it broke".to_owned()),
                    Fate::Interrupted if waits => Outcome::Interrupted(None),
                    Fate::Works | Fate::Interrupted => {
                        self.carry_out(&task);
                        Outcome::Done
                    }
                };
                self.core.step_done(self.now, task.key, outcome)
            }
        };
        self.perform(effects);
    }

    fn carry_out(&mut self, task: &Task) {
        let unit = self.units.get_mut(&task.service).unwrap();
        match &task.work {
            Work::Fetch { spec } => {
                unit.fetched.insert(spec.digest());
            }
            Work::Stop => (unit.running, unit.wanted) = (None, false),
            Work::Point { spec } => unit.pointer.clone_from(spec),
            Work::Start { spec, .. } => {
                assert_eq!(unit.running, None, "started beside something that runs");
                assert_eq!(unit.pointer.as_ref(), Some(spec), "started what is not pointed at");
                (unit.running, unit.wanted) = (Some(spec.clone()), true);
                let times = self.starts.entry(task.key).or_default();
                *times += 1;
                assert_eq!(*times, 1, "{:?} happened twice", task.key);
            }
            Work::Quiesce { .. } | Work::Gate { .. } => {}
        }
    }

    fn is_done(&self, task: &Task) -> bool {
        let unit = &self.units[&task.service];
        match &task.work {
            Work::Fetch { spec } => unit.fetched.contains(&spec.digest()),
            Work::Stop => unit.running.is_none(),
            Work::Point { spec } => unit.pointer == *spec,
            Work::Start { spec, .. } => unit.running.as_ref() == Some(spec),
            Work::Quiesce { .. } | Work::Gate { .. } => panic!("{:?} has no probe", task.work),
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Some(left) = &mut self.crash_after {
                if *left == 0 {
                    return self.crash(false, false);
                }
                *left -= 1;
            }
            self.perform_one(effect);
        }
    }

    fn perform_one(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(record) => {
                let before = self.disk.clone();
                self.disk.apply(&record);
                self.journaled(&before, &record);
            }
            Effect::Report(report) => {
                assert_eq!(self.reports.get(&report.seq), Some(&report), "said before journaled");
            }
            Effect::Look(look) => self.ask(Asked::Look(look)),
            Effect::Probe(task) => self.ask(Asked::Probe(task)),
            Effect::Run(task) => {
                let current = self.disk.current.as_ref().expect("runs without a current action");
                assert_eq!(current.status.get(&task.key.step), Some(&Status::Intent));
                assert_eq!(
                    (current.action.id, current.direction),
                    (task.key.action, task.key.direction)
                );
                self.ask(Asked::Run(task));
            }
            Effect::Interrupt(key) => {
                assert!(matches!(&self.asked, Some(Asked::Run(task)) if task.key == key));
            }
            Effect::Ignored { .. } => {}
        }
    }

    fn ask(&mut self, asked: Asked) {
        assert!(self.asked.is_none(), "{:?} asked while {:?} is open", asked, self.asked);
        self.asked = Some(asked);
    }

    /// Checks one record against all earlier ones.
    fn journaled(&mut self, before: &State, record: &super::super::Record) {
        let order = |state: &State| state.fence().map(|fence| fence.order());
        assert!(order(&self.disk) >= order(before), "the fence fell");
        for (seq, report) in (before.seq + 1..).zip(&record.reports) {
            assert_eq!(report.seq, seq);
            assert!(self.reports.insert(report.seq, report.clone()).is_none());
            self.heard(report);
        }
    }

    /// Follows the last words on every service.
    fn heard(&mut self, report: &Report) {
        let action = &self.committed[usize::try_from(report.action.0).unwrap() - 1];
        let claim = match (&report.progress, &action.kind) {
            (Progress::Done, ActionKind::Switch(switch)) => Claim::of(Some(&switch.target)),
            (Progress::Done, ActionKind::Halt(halt)) => Claim::Stopped(halt.expected),
            (Progress::Done, ActionKind::Revert { previous, .. }) => Claim::of(previous.as_ref()),
            (Progress::FailedDirty { .. }, _) => Claim::Unknown,
            (Progress::RevertedAlone { .. }, _) => Claim::of(self.before(report.action).as_ref()),
            // Whoever ordered it did not know that the service was stopped: undone, it runs.
            (Progress::FailedUndone { .. }, kind)
                if kind.takes_capacity()
                    && matches!(self.claimed[&action.service], Claim::Stopped(_)) =>
            {
                Claim::Unknown
            }
            _ => return,
        };
        self.claimed.insert(action.service.clone(), claim);
    }

    /// Returns what the last words said before switch `of` was done.
    fn before(&self, of: ActionId) -> Option<RunSpec> {
        let action = &self.committed[usize::try_from(of.0).unwrap() - 1];
        let ActionKind::Switch(switch) = &action.kind else { panic!("{of} is no switch") };
        let digest = switch.expected?;
        let found = (1..4)
            .map(|version| spec(action.service.as_str(), &version.to_string()))
            .find(|spec| spec.digest() == digest);
        Some(found.expect("expected digest is of no version"))
    }

    fn crash(&mut self, finishes: bool, reboot: bool) {
        self.crash_after = None;
        if let Some(Asked::Run(task)) = self.asked.take()
            && finishes
        {
            self.carry_out(&task);
        }
        if reboot {
            self.now = 0;
            self.starts.clear();
            for unit in self.units.values_mut() {
                unit.running = unit.pointer.clone().filter(|_| unit.wanted);
            }
        }
        self.core = Core::new("n1".parse().unwrap(), self.disk.clone());
        let effects = self.core.restarted(self.now, reboot);
        self.perform(effects);
    }

    /// Lets everything succeed until nothing is left to do.
    fn heal(&mut self) {
        self.crash(true, false);
        for _ in 0..200 {
            if self.asked.is_some() {
                self.answer(Fate::Works);
            } else if self.disk.current.is_none() {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.disk.current);
    }

    fn check_rest(&self) {
        let mut finals: BTreeMap<ActionId, Vec<&Progress>> = BTreeMap::new();
        for report in self.reports.values() {
            let words = finals.entry(report.action).or_default();
            if report.progress.is_final() {
                words.push(&report.progress);
            }
        }
        for (action, words) in finals {
            // A switch that was done may be told of once more.
            let well = matches!(
                words[..],
                [_] | [
                    Progress::Done,
                    Progress::RevertedAlone { .. } | Progress::FailedDirty { .. }
                ]
            );
            assert!(well, "{action} ended with {words:?}");
        }
        for (service, claim) in &self.claimed {
            let unit = &self.units[service];
            let expected = match claim {
                Claim::Runs(spec) => Some(&**spec),
                Claim::Nothing => None,
                Claim::Stopped(pointer) => {
                    let digest = unit.pointer.as_ref().map(RunSpec::digest);
                    assert_eq!(digest, *pointer, "{service} points elsewhere");
                    assert_eq!(unit.running, None, "{service} was stopped and runs");
                    continue;
                }
                Claim::Unknown => continue,
            };
            assert_eq!(unit.pointer.as_ref(), expected, "{service} points elsewhere");
            assert_eq!(unit.running.as_ref(), expected, "{service} runs something else");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_a_promise(events in prop::collection::vec(event(), 0..200)) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
        }
        world.heal();
        world.check_rest();
    }
}

/// Counts what random histories reach, so that the test above cannot grow thin unseen.
#[test]
fn histories_reach_every_kind_of_ending() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..6000 {
        let tree = prop::collection::vec(event(), 0..200).new_tree(&mut runner).unwrap();
        let mut world = World::new();
        for event in &tree.current() {
            world.happen(event);
        }
        for report in world.reports.values() {
            let ending = match &report.progress {
                Progress::Done => "done",
                Progress::FailedUndone { reason, .. } if reason.starts_with("cut off") => "cut off",
                Progress::FailedUndone { .. } => "undone",
                Progress::FailedDirty { .. } => "dirty",
                Progress::RevertedAlone { .. } => "alone",
                Progress::Accepted | Progress::Running { .. } => continue,
            };
            *seen.entry(ending).or_default() += 1;
        }
        let undoes = world.starts.keys().any(|key| key.direction == Direction::Undo);
        *seen.entry("undo").or_default() += u32::from(undoes);
    }
    for ending in ["done", "undone", "dirty", "alone", "cut off", "undo"] {
        let times = seen.get(ending).copied().unwrap_or_default();
        assert!(times >= 20, "{ending} was reached {times} times: {seen:?}");
    }
}
