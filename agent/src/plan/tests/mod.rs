//! The core by value (`steps`, `offers`, `crashes`), and under random histories (`histories`).
//!
//! Builders for all of them are here.

#![expect(clippy::wildcard_enum_match_arm, reason = "tests pick out the effects they are about")]

mod crashes;
mod histories;
mod offers;
mod steps;

use std::collections::BTreeMap;

use trireme_proto::action::{
    Action, ActionKind, Fence, Halt, Progress, Report, RunSpec, Step, Switch,
};
use trireme_proto::digest::Digest;
use trireme_proto::id::{ActionId, UpgradeId};
use trireme_proto::model::{Artifact, Driver, ProcessDriver, Release};
use trireme_proto::time::Span;

use super::{Core, Direction, Effect, Key, Outcome, Seen, State};

/// Deadline of every action that these tests make, in milliseconds.
const DEADLINE: u64 = 10_000;
/// Time to confirm a switch, in milliseconds.
const REVERT_AFTER: u64 = 60_000;

/// Returns what version `version` of `service` runs as.
fn spec(service: &str, version: &str) -> RunSpec {
    let sha256 = Digest::of(format!("{service}@{version}").as_bytes());
    RunSpec {
        release: Release {
            service: service.parse().unwrap(),
            version: version.parse().unwrap(),
            artifact: Some(Artifact { url: format!("file:///{service}-{version}"), sha256 }),
            images: BTreeMap::new(),
            argv: vec!["{artifact}".to_owned()],
            env: BTreeMap::new(),
        },
        driver: Driver::Process(ProcessDriver::default()),
    }
}

/// Returns action number `generation` on node `n1`.
fn action(generation: u64, service: &str, kind: ActionKind) -> Action {
    Action {
        id: ActionId(generation),
        node: "n1".parse().unwrap(),
        service: service.parse().unwrap(),
        upgrade: UpgradeId(1),
        fence: Fence { epoch: 1, term: 1, generation },
        deadline: Span(DEADLINE),
        kind,
    }
}

fn switch_to(target: RunSpec, expected: Option<&RunSpec>) -> ActionKind {
    ActionKind::Switch(Switch {
        target,
        expected: expected.map(RunSpec::digest),
        drain: Span(500),
        in_flight: None,
        revert_after: Span(REVERT_AFTER),
        recreate: false,
        stopped: false,
    })
}

fn halt(expected: Option<&RunSpec>) -> ActionKind {
    let expected = expected.map(RunSpec::digest);
    ActionKind::Halt(Halt { expected, drain: Span(500), in_flight: None })
}

fn revert_of(of: u64, previous: Option<RunSpec>) -> ActionKind {
    let (of, drain) = (ActionId(of), Span(500));
    ActionKind::Revert { of, previous, stopped: false, drain, in_flight: None }
}

/// Returns the reports that a list of effects has sent.
fn said(effects: &[Effect]) -> Vec<(u64, Progress)> {
    let report = |effect: &Effect| match effect {
        Effect::Report(Report { action, progress, .. }) => Some((action.0, progress.clone())),
        _ => None,
    };
    effects.iter().filter_map(report).collect()
}

/// Returns the key of the step that a list of effects runs, if it runs one.
fn runs(effects: &[Effect]) -> Option<Key> {
    effects.iter().find_map(|effect| match effect {
        Effect::Run(task) => Some(task.key),
        _ => None,
    })
}

/// Returns what a crash right after these effects would leave on disk.
fn fold(mut state: State, effects: &[Effect]) -> State {
    for effect in effects {
        if let Effect::Persist(record) = effect {
            state.apply(record);
        }
    }
    state
}

fn undone(step: Step, reason: &str) -> Progress {
    Progress::FailedUndone { step, reason: reason.to_owned() }
}

fn dirty(step: Step, reason: &str) -> Progress {
    Progress::FailedDirty { step, reason: reason.to_owned() }
}

/// A core with the journal it would leave, fed through one door.
struct Bench {
    core: Core,
    disk: State,
}

impl Bench {
    fn new() -> Self {
        Self::from(State::default())
    }

    fn from(state: State) -> Self {
        Self { core: Core::new("n1".parse().unwrap(), state.clone()), disk: state }
    }

    fn keep(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        self.disk = fold(std::mem::take(&mut self.disk), &effects);
        assert_eq!(&self.disk, self.core.state(), "the journal is not what the core believes");
        effects
    }

    fn offer(&mut self, now: u64, action: &Action) -> Vec<Effect> {
        let effects = self.core.offer(now, action.clone(), Some(0));
        self.keep(effects)
    }

    fn looked(&mut self, now: u64, action: u64, seen: Seen) -> Vec<Effect> {
        let effects = self.core.looked(now, ActionId(action), Ok(seen));
        self.keep(effects)
    }

    fn done(&mut self, now: u64, key: Key) -> Vec<Effect> {
        self.ended(now, key, Outcome::Done)
    }

    fn ended(&mut self, now: u64, key: Key, outcome: Outcome) -> Vec<Effect> {
        let effects = self.core.step_done(now, key, outcome);
        self.keep(effects)
    }

    fn tick(&mut self, now: u64) -> Vec<Effect> {
        let effects = self.core.tick(now);
        self.keep(effects)
    }

    /// Lets every step succeed until step `last` runs; returns its key.
    fn until(&mut self, now: u64, mut effects: Vec<Effect>, last: Step) -> Key {
        for _ in 0..10 {
            let key = runs(&effects).expect("no step runs");
            if key.step == last {
                return key;
            }
            effects = self.done(now, key);
        }
        panic!("{last} never runs");
    }

    /// Begins a switch of `web` from 1 to 2 and brings it to `step`.
    fn switching(&mut self, step: Step) -> Key {
        self.offer(0, &action(1, "web", switch_to(spec("web", "2"), Some(&spec("web", "1")))));
        let effects = self.looked(0, 1, running("1"));
        self.until(0, effects, step)
    }

    /// Does a switch of `web` from 1 to 2; its revert is armed at 0.
    fn switched(&mut self) {
        let gate = self.switching(Step::Gate);
        self.done(0, gate);
    }

    fn crash(&mut self) {
        *self = Self::from(self.disk.clone());
    }

    fn restarted(&mut self, now: u64, rebooted: bool) -> Vec<Effect> {
        let effects = self.core.restarted(now, rebooted);
        self.keep(effects)
    }
}

fn running(version: &str) -> Seen {
    Seen { spec: Some(spec("web", version)), running: true, serving: true }
}

fn key(action: u64, direction: Direction, step: Step) -> Key {
    Key { action: ActionId(action), direction, step }
}

fn steps_run(bench: &mut Bench, now: u64, mut effects: Vec<Effect>) -> (Vec<Step>, Vec<Effect>) {
    let mut steps = Vec::new();
    while let Some(key) = runs(&effects) {
        steps.push(key.step);
        effects = bench.done(now, key);
    }
    (steps, effects)
}
