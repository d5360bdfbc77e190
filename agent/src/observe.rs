//! What the host and the checks say together: whether a service serves, whether a gate is passed.
//!
//! A service serves if its process runs and every check has risen since that process was started.
//! No clock is read here; what is due later is told as a time to look again.

use std::collections::BTreeMap;
use std::time::Duration;

use trireme_proto::action::{Assignment, Observed, SAMPLES_MAX, Samples, ServiceState};
use trireme_proto::id::ServiceId;
use trireme_proto::time::WallTime;

use crate::check::{Board, CheckState, Finding, Health, Status, Transition};
use crate::host::{Observation, RunState};
use crate::plan::Millis;
use crate::telemetry::CheckShown;

/// Time that a service without checks must stay up to pass a gate, in milliseconds: what cannot
/// start at all ends sooner.
const STAYS_UP: u64 = 500;

/// Restarts after which a gate gives up before its deadline: it will not get better by itself.
const RESTARTS_MAX: u64 = 3;

/// Name under which a process that does not run stands among the failing checks.
const PROCESS: &str = "process";
/// Name under which what runs it, the engine of containers, says that it is not well.
const ENGINE: &str = "engine";

/// Follows services from what the host and the checks say.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    board: Board,
    assignments: Vec<Assignment>,
    runs: BTreeMap<ServiceId, Run>,
    last: BTreeMap<ServiceId, Observed>,
}

/// The process of a service, and when it was first seen.
#[derive(Debug, Clone, Copy)]
struct Run {
    pid: u32,
    since: Millis,
}

/// How a wait for health stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It is healthy.
    Passed,
    /// Not yet; with a time, look again then even if nothing happens.
    Waits(Option<Millis>),
    /// It will not become so.
    Failed(String),
}

impl Watch {
    /// Returns what is assigned.
    pub(crate) fn assignments(&self) -> &[Assignment] {
        &self.assignments
    }

    /// Replaces what is assigned.
    pub(crate) fn assign(&mut self, assignments: Vec<Assignment>, now: WallTime) {
        self.board.set(assignments.iter().map(|one| (&one.service, one.checks.as_slice())), now);
        self.assignments = assignments;
    }

    /// Takes over a process that was started before the agent was; `served` tells that it did so
    /// when it was last seen.
    pub(crate) fn adopt(
        &mut self,
        service: &ServiceId,
        observation: &Observation,
        served: bool,
        now: Millis,
    ) {
        if let RunState::Running { pid } = observation.state {
            self.runs.insert(service.clone(), Run { pid, since: now });
            if served {
                self.board.presume_passing(service);
            }
        }
    }

    /// Returns whether the service has a process that was not there before; its checks are then
    /// to be made anew.
    pub(crate) fn is_new(
        &mut self,
        service: &ServiceId,
        observation: &Observation,
        now: Millis,
    ) -> bool {
        let (RunState::Running { pid } | RunState::Unwell { pid, .. }) = observation.state else {
            return false;
        };
        let known = self.runs.insert(service.clone(), Run { pid, since: now });
        if let Some(known) = known.filter(|known| known.pid == pid) {
            self.runs.insert(service.clone(), known);
            return false;
        }
        true
    }

    /// Forgets what was found of a process that is gone.
    pub(crate) fn started(&mut self, service: &ServiceId, floor: u64, now: WallTime) {
        self.board.restart(service, floor, now);
    }

    /// Takes in what a check found.
    pub(crate) fn found(&mut self, finding: Finding, now: WallTime) -> Option<Transition> {
        self.board.record(finding, now)
    }

    /// Returns whether the service serves.
    pub(crate) fn serves(&self, service: &ServiceId, observation: &Observation) -> bool {
        matches!(observation.state, RunState::Running { .. })
            && self.board.verdict(service).health == Health::Passing
    }

    /// Returns how a gate stands.
    pub(crate) fn gate(&self, service: &ServiceId, observation: &Observation, now: Millis) -> Gate {
        match &observation.state {
            RunState::Exited { exit } => Gate::Failed(format!("its process {exit}")),
            RunState::NeverStarted | RunState::Stopped | RunState::Stopping { .. } => {
                Gate::Failed("its process was stopped".to_owned())
            }
            RunState::Backoff { why } if observation.restart >= RESTARTS_MAX => {
                Gate::Failed(format!("its process ended {} times: {why}", observation.restart))
            }
            RunState::Broken { why } => Gate::Failed(why.clone()),
            RunState::Backoff { .. } | RunState::Unwell { .. } => Gate::Waits(None),
            RunState::Running { .. } if self.has_checks(service) => {
                if self.serves(service, observation) { Gate::Passed } else { Gate::Waits(None) }
            }
            RunState::Running { .. } => {
                let since = self.runs.get(service).map_or(now, |run| run.since);
                let due = since.saturating_add(STAYS_UP);
                if now >= due { Gate::Passed } else { Gate::Waits(Some(due)) }
            }
        }
    }

    /// Returns how every check stands.
    pub(crate) fn checks(&self) -> Vec<CheckShown> {
        let shown = |(service, check, state): (&ServiceId, &str, &CheckState)| CheckShown {
            service: service.clone(),
            check: check.to_owned(),
            status: state.last().map_or(Status::Unknown, |last| last.status),
            health: state.health(),
            message: state.last().map(|last| last.message.clone()).unwrap_or_default(),
            since: state.since(),
            took: state.last().map_or(Duration::ZERO, |last| last.took),
        };
        self.board.checks().map(shown).collect()
    }

    /// Returns why a gate is not passed, for people.
    pub(crate) fn why_not(&self, service: &ServiceId, observation: &Observation) -> String {
        let failing = self.board.verdict(service).failing;
        let checks = failing.iter().map(|(name, message)| format!("check {name}: {message}"));
        let own = match &observation.state {
            RunState::Unwell { why, .. } | RunState::Backoff { why } => Some(why.clone()),
            _ => None,
        };
        own.into_iter().chain(checks).collect::<Vec<_>>().join("; ")
    }

    /// Returns what is said of the service from now on.
    ///
    /// While nothing but the wording of a message changes, the old wording stands: each change is
    /// recorded by the controllers.
    pub(crate) fn observed(&mut self, service: &ServiceId, observation: &Observation) -> Observed {
        let state = match observation.state {
            RunState::NeverStarted => ServiceState::NeverStarted,
            _ if self.serves(service, observation) => ServiceState::Serving,
            _ => ServiceState::NotServing,
        };
        let mut failing = BTreeMap::new();
        match &observation.state {
            RunState::Running { .. } => failing = self.board.verdict(service).failing,
            RunState::Unwell { why, .. } => {
                failing = self.board.verdict(service).failing;
                failing.insert(ENGINE.to_owned(), why.clone());
            }
            RunState::NeverStarted => {}
            down => {
                failing.insert(PROCESS.to_owned(), wording(down));
            }
        }
        let version = observation.version.as_ref().map(ToString::to_string);
        let fresh = Observed { state, running: observation.spec, version, failing };
        match self.last.get(service) {
            Some(last) if same_but_for_wording(last, &fresh) => last.clone(),
            Some(_) | None => {
                self.last.insert(service.clone(), fresh.clone());
                fresh
            }
        }
    }

    /// Returns the numbers that are asked for, as the newest runs of the checks gave them.
    pub(crate) fn samples(&self) -> Samples {
        let mut samples = Samples::new();
        let mut left = SAMPLES_MAX;
        for one in &self.assignments {
            for (check, labels) in &one.wanted {
                let last = self.board.check(&one.service, check).and_then(CheckState::last);
                let given = last.map(|outcome| outcome.perfdata.as_slice()).unwrap_or_default();
                let wanted = given.iter().filter(|perf| labels.contains(&perf.label)).take(left);
                let found: BTreeMap<_, _> = wanted
                    .filter_map(|perf| Some((perf.label.clone(), perf.value?.to_string())))
                    .collect();
                if !found.is_empty() {
                    left -= found.len();
                    samples.entry(one.service.clone()).or_default().insert(check.clone(), found);
                }
            }
        }
        samples
    }

    fn has_checks(&self, service: &ServiceId) -> bool {
        self.assignments.iter().any(|one| one.service == *service && !one.checks.is_empty())
    }
}

fn wording(state: &RunState) -> String {
    match state {
        RunState::NeverStarted => "was never started".to_owned(),
        RunState::Stopped => "is stopped".to_owned(),
        RunState::Running { .. } => "runs".to_owned(),
        RunState::Stopping { .. } => "is stopping".to_owned(),
        RunState::Backoff { why } => format!("is started again soon: {why}"),
        RunState::Exited { exit } => exit.to_string(),
        RunState::Unwell { why, .. } | RunState::Broken { why } => why.clone(),
    }
}

fn same_but_for_wording(old: &Observed, new: &Observed) -> bool {
    (old.state, old.running, &old.version) == (new.state, new.running, &new.version)
        && old.failing.keys().eq(new.failing.keys())
}

#[cfg(test)]
mod tests {
    use trireme_proto::action::ServiceState;
    use trireme_proto::id::ActionId;
    use trireme_proto::model::{Check, Probe, TcpCheck};
    use trireme_proto::time::Span;

    use super::*;
    use crate::check::Outcome;

    const NOW: WallTime = WallTime(0);

    fn web() -> ServiceId {
        "web".parse().unwrap()
    }

    fn at(state: RunState) -> Observation {
        let version = Some("1.0".parse().unwrap());
        Observation { state, spec: None, version, action: Some(ActionId(1)), restart: 0 }
    }

    fn running(pid: u32) -> Observation {
        at(RunState::Running { pid })
    }

    fn watch(checks: usize) -> Watch {
        let check = |n: usize| Check {
            name: format!("c{n}"),
            probe: Probe::Tcp(TcpCheck { address: "a:1".to_owned() }),
            every: Span(1000),
            timeout: Span(1000),
            rise: 2,
            fall: 2,
        };
        let mut watch = Watch::default();
        let checks = (0..checks).map(check).collect();
        let assignment =
            Assignment { service: web(), checks, wanted: BTreeMap::new(), logs: [].into() };
        watch.assign(vec![assignment], NOW);
        watch
    }

    fn find(watch: &mut Watch, seq: u64, status: Status, message: &str) {
        let outcome =
            Outcome { status, message: message.to_owned(), perfdata: vec![], took: Duration::ZERO };
        watch.found(Finding { service: web(), check: "c0".to_owned(), seq, outcome }, NOW);
    }

    #[test]
    fn a_gate_needs_every_check_risen_since_the_start() {
        let mut watch = watch(1);
        assert!(watch.is_new(&web(), &running(7), 0));
        find(&mut watch, 1, Status::Ok, "");
        find(&mut watch, 2, Status::Ok, "");
        assert_eq!(watch.gate(&web(), &running(7), 0), Gate::Passed);
        // A new process: what was found of the old one does not count, late findings neither.
        assert!(watch.is_new(&web(), &running(8), 0));
        watch.started(&web(), 5, NOW);
        assert_eq!(watch.gate(&web(), &running(8), 0), Gate::Waits(None));
        find(&mut watch, 4, Status::Ok, "");
        find(&mut watch, 5, Status::Ok, "");
        assert_eq!(watch.gate(&web(), &running(8), 0), Gate::Waits(None));
        find(&mut watch, 6, Status::Ok, "");
        assert_eq!(watch.gate(&web(), &running(8), 0), Gate::Passed);
    }

    #[test]
    fn without_checks_a_process_must_stay_up() {
        let mut watch = watch(0);
        watch.is_new(&web(), &running(7), 100);
        assert_eq!(watch.gate(&web(), &running(7), 100), Gate::Waits(Some(600)));
        assert!(!watch.is_new(&web(), &running(7), 300), "the same process is not new");
        assert_eq!(watch.gate(&web(), &running(7), 599), Gate::Waits(Some(600)));
        assert_eq!(watch.gate(&web(), &running(7), 600), Gate::Passed);
    }

    #[test]
    fn a_gate_gives_up_on_what_does_not_stay_up() {
        let watch = watch(1);
        let exited = RunState::Exited { exit: crate::host::Exit::Code(3) };
        assert_eq!(
            watch.gate(&web(), &at(exited), 0),
            Gate::Failed("its process exited with code 3".to_owned())
        );
        let backoff = |restart| Observation {
            restart,
            ..at(RunState::Backoff { why: "exited with code 1".to_owned() })
        };
        assert_eq!(watch.gate(&web(), &backoff(2), 0), Gate::Waits(None));
        assert_eq!(
            watch.gate(&web(), &backoff(3), 0),
            Gate::Failed("its process ended 3 times: exited with code 1".to_owned())
        );
    }

    #[test]
    fn serving_is_a_process_and_all_its_checks() {
        let mut watch = watch(1);
        let nothing = Observation { version: None, ..at(RunState::NeverStarted) };
        assert_eq!(watch.observed(&web(), &nothing).state, ServiceState::NeverStarted);
        let seen = watch.observed(&web(), &running(7));
        assert_eq!(seen.state, ServiceState::NotServing);
        assert_eq!(seen.failing["c0"], "not yet asked");
        find(&mut watch, 1, Status::Ok, "");
        find(&mut watch, 2, Status::Ok, "");
        let seen = watch.observed(&web(), &running(7));
        assert_eq!((seen.state, seen.failing.len()), (ServiceState::Serving, 0));
        let seen = watch.observed(&web(), &at(RunState::Stopped));
        assert_eq!(seen.state, ServiceState::NotServing);
        assert_eq!(seen.failing["process"], "is stopped");
    }

    #[test]
    fn another_wording_of_the_same_failure_is_no_news() {
        let mut watch = watch(1);
        find(&mut watch, 1, Status::Crit, "took 13 ms");
        find(&mut watch, 2, Status::Crit, "took 14 ms");
        let seen = watch.observed(&web(), &running(7));
        find(&mut watch, 3, Status::Crit, "took 15 ms");
        assert_eq!(watch.observed(&web(), &running(7)), seen);
    }

    #[test]
    fn a_restarted_agent_goes_on_believing_what_served() {
        for (served, state) in [(true, ServiceState::Serving), (false, ServiceState::NotServing)] {
            let mut watch = watch(1);
            watch.adopt(&web(), &running(7), served, 0);
            assert!(!watch.is_new(&web(), &running(7), 1));
            assert_eq!(watch.observed(&web(), &running(7)).state, state);
        }
    }
}
