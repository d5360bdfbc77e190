//! The whole agent with real processes, a real disk and real TLS; only the controller is told
//! what to say.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use trireme_proto::action::{
    Action, ActionKind, Assignment, Fence, Observed, Progress, Report, RunSpec, ServiceState, Step,
    Switch,
};
use trireme_proto::digest::Digest;
use trireme_proto::id::{ActionId, ServiceId, UpgradeId};
use trireme_proto::model::{
    Artifact, Check, CommandCheck, Driver, Probe, ProcessDriver, Release, Restart,
};
use trireme_proto::time::Span;
use trireme_proto::wire::agent_message::Is as Said;
use trireme_proto::wire::controller_message::Is as Told;
use trireme_proto::wire::{Ack, Assignments, Offer};

use super::*;
use crate::host::{Host as _, RunState};
use crate::link::testing::{Call, Fleet, serve, welcome};

/// Longest wait for a condition; only a broken test waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the agent is asked to end, and how it ended.
type Running = (oneshot::Sender<()>, JoinHandle<Result<(), RunError>>);

/// A controller, a data directory, and the agent that runs between them.
struct Rig {
    tasks: JoinSet<()>,
    calls: mpsc::Receiver<Call>,
    dir: TempDir,
    config: Config,
    agent: Option<Running>,
    /// Everything said in reports, in the order of their numbers.
    reports: Vec<Report>,
}

/// A stream, and what the agent last said in it.
struct Talk {
    call: Call,
    nonce: Vec<u8>,
    generation: u64,
    web: Option<Observed>,
}

impl Rig {
    async fn new() -> Self {
        let (mut tasks, fleet) = (JoinSet::new(), Fleet::new());
        let (address, calls) = serve(&mut tasks, &fleet, false).await;
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("agent");
        fleet.agent(&Store::new(&data), 0);
        let text = format!("data: {}\ncontrollers: ['{address}']\n", data.display());
        let config = Config::parse("agent.yaml", &text).unwrap();
        Self { tasks, calls, dir, config, agent: None, reports: Vec::new() }
    }

    /// Starts the agent and takes its stream.
    async fn start(&mut self) -> Talk {
        let (end, ended) = oneshot::channel();
        let config = self.config.clone();
        #[expect(clippy::disallowed_methods, reason = "awaited when the agent is told to end")]
        let agent = tokio::spawn(async move {
            let ended = async {
                let _ = ended.await;
            };
            run(Path::new("agent.yaml"), &config, ended).await
        });
        self.agent = Some((end, agent));
        let mut call = self.calls.recv().await.unwrap();
        let first = call.hello().await.first.unwrap();
        call.tell(Told::Welcome(welcome(100))).await;
        let check = Check {
            name: "ready".to_owned(),
            probe: Probe::Command(CommandCheck {
                argv: ["/usr/bin/test", "-e", "{data}/ready-{version}"].map(str::to_owned).into(),
                env: [].into(),
            }),
            every: Span(50),
            timeout: Span(50),
            rise: 2,
            fall: 2,
        };
        let assignments = vec![Assignment {
            service: web(),
            checks: vec![check],
            wanted: BTreeMap::new(),
            logs: [].into(),
        }];
        let assignments = serde_json::to_vec(&assignments).unwrap().into();
        call.tell(Told::Assignments(Assignments { assignments })).await;
        let mut talk = Talk { call, nonce: Vec::new(), generation: 0, web: None };
        talk.hear(&Said::Heartbeat(first), &mut self.reports).await;
        talk
    }

    /// Ends the agent as SIGKILL would: nothing of it runs on, and nothing is said or written.
    async fn kill(&mut self) {
        let (_end, agent) = self.agent.take().unwrap();
        agent.abort();
        assert!(agent.await.unwrap_err().is_cancelled());
    }

    async fn stop(&mut self) {
        let (end, agent) = self.agent.take().unwrap();
        end.send(()).unwrap();
        agent.await.unwrap().unwrap();
    }

    /// Stops the agent, then what it left running.
    async fn finish(mut self) {
        if self.agent.is_some() {
            self.stop().await;
        }
        let machine = self.machine().await;
        machine.stop(&web()).await.unwrap();
        self.tasks.shutdown().await;
    }

    async fn machine(&self) -> Machine {
        let facts = NodeFacts {
            node: "n1".parse().unwrap(),
            region: "aws".parse().unwrap(),
            address: "127.1.0.1".to_owned(),
        };
        {
            let client = Arc::new(Client::new());
            let drivers = self.config.drivers.clone();
            Machine::open(&self.config.data, facts, client, drivers).await.unwrap()
        }
    }

    /// Returns a release that writes down its starts and then does as `then` says.
    fn release(&self, version: &str, then: &str) -> RunSpec {
        let text = format!("echo {version} $TRIREME_TEST >> $1/starts\n{then}\n");
        let path = self.dir.path().join(format!("{version}.sh"));
        std::fs::write(&path, &text).unwrap();
        RunSpec {
            release: Release {
                service: web(),
                version: version.parse().unwrap(),
                artifact: Some(Artifact {
                    url: format!("file://{}", path.display()),
                    sha256: Digest::of(text.as_bytes()),
                }),
                images: BTreeMap::new(),
                argv: ["/bin/sh", "{artifact}", "{data}"].map(str::to_owned).into(),
                env: [].into(),
            },
            driver: Driver::Process(ProcessDriver {
                restart: Restart::Never,
                ..ProcessDriver::default()
            }),
        }
    }

    /// Returns a release that becomes healthy and stays so.
    fn good(&self, version: &str) -> RunSpec {
        self.release(version, &format!("touch $1/ready-{version}\nexec sleep 120"))
    }

    fn starts(&self) -> Vec<String> {
        let path = self.config.data.join("services/web/data/starts");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// Returns what was said of an action, steps left out.
    fn said(&self, action: u64) -> Vec<&Progress> {
        let of = self.reports.iter().filter(|report| report.action == ActionId(action));
        let words = of.map(|report| &report.progress);
        words.filter(|progress| !matches!(progress, Progress::Running { .. })).collect()
    }
}

impl Talk {
    /// Takes in one message; acknowledges reports.
    async fn hear(&mut self, said: &Said, reports: &mut Vec<Report>) {
        match said {
            Said::Heartbeat(heartbeat) => {
                self.nonce = heartbeat.nonce.to_vec();
                self.generation = heartbeat.generation;
                let mut observed: std::collections::BTreeMap<ServiceId, Observed> =
                    serde_json::from_slice(&heartbeat.observed).unwrap();
                self.web = observed.remove(&web());
            }
            Said::Reports(list) => {
                let list: Vec<Report> = serde_json::from_slice(&list.reports).unwrap();
                let newest = reports.last().map_or(0, |report| report.seq);
                let seq = list.last().unwrap().seq;
                reports.extend(list.into_iter().filter(|report| report.seq > newest));
                self.call.tell(Told::Ack(Ack { seq, index: seq })).await;
            }
            Said::Hello(_) => panic!("a second hello"),
            Said::QueryChunk(_) | Said::QueryEnd(_) => panic!("nobody asked anything"),
        }
    }

    /// Listens until `holds`.
    async fn until(
        &mut self,
        rig: &mut Rig,
        what: &str,
        mut holds: impl FnMut(&Self, &Rig) -> bool,
    ) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds(self, rig) {
                let said = self.call.hear().await;
                self.hear(&said, &mut rig.reports).await;
            }
        });
        assert!(waited.await.is_ok(), "waited in vain until {what}: {:?}", rig.reports);
    }

    async fn offer(&mut self, generation: u64, kind: ActionKind) {
        let action = serde_json::to_vec(&action(generation, kind)).unwrap().into();
        self.call.tell(Told::Offer(Offer { action, nonce: self.nonce.clone().into() })).await;
    }

    /// Offers an action and waits for the last word on it.
    async fn perform(&mut self, rig: &mut Rig, generation: u64, kind: ActionKind) -> Progress {
        self.offer(generation, kind).await;
        self.until_final(rig, generation).await
    }

    async fn until_final(&mut self, rig: &mut Rig, generation: u64) -> Progress {
        let what = format!("action {generation} ends");
        let last = |rig: &Rig| rig.said(generation).last().copied().cloned();
        self.until(rig, &what, |_, rig| last(rig).is_some_and(|word| word.is_final())).await;
        last(rig).unwrap()
    }

    async fn until_serving(&mut self, rig: &mut Rig, version: &str) {
        let what = format!("{version} serves");
        self.until(rig, &what, |talk, _| {
            talk.web.as_ref().is_some_and(|seen| {
                seen.state == ServiceState::Serving && seen.version.as_deref() == Some(version)
            })
        })
        .await;
    }
}

fn web() -> ServiceId {
    "web".parse().unwrap()
}

fn action(generation: u64, kind: ActionKind) -> Action {
    Action {
        id: ActionId(generation),
        node: "n1".parse().unwrap(),
        service: web(),
        upgrade: UpgradeId(1),
        fence: Fence { epoch: 1, term: 1, generation },
        deadline: Span::secs(20),
        kind,
    }
}

fn switch(target: &RunSpec, expected: Option<&RunSpec>, revert_after: Span) -> ActionKind {
    ActionKind::Switch(Switch {
        target: target.clone(),
        expected: expected.map(RunSpec::digest),
        drain: Span(10),
        in_flight: None,
        revert_after,
        recreate: false,
        stopped: false,
    })
}

const LONG: Span = Span::secs(3600);

#[tokio::test]
async fn a_service_is_staged_started_confirmed_upgraded_and_a_bad_release_is_undone() {
    let mut rig = Rig::new().await;
    let (one, two) = (rig.good("1.0"), rig.good("2.0"));
    let bad = rig.release("3.0", "exit 7");
    let mut talk = rig.start().await;
    talk.until(&mut rig, "the service was never started", |talk, _| {
        talk.web.as_ref().is_some_and(|seen| seen.state == ServiceState::NeverStarted)
    })
    .await;
    let stage = ActionKind::Stage { target: one.clone() };
    assert_eq!(talk.perform(&mut rig, 1, stage).await, Progress::Done);
    assert_eq!(talk.perform(&mut rig, 2, switch(&one, None, LONG)).await, Progress::Done);
    talk.until_serving(&mut rig, "1.0").await;
    let confirm = ActionKind::Confirm { of: ActionId(2) };
    assert_eq!(talk.perform(&mut rig, 3, confirm).await, Progress::Done);
    assert_eq!(talk.perform(&mut rig, 4, switch(&two, Some(&one), LONG)).await, Progress::Done);
    talk.until_serving(&mut rig, "2.0").await;
    assert_eq!(talk.generation, 4);
    let ended = talk.perform(&mut rig, 5, switch(&bad, Some(&two), LONG)).await;
    let reason = "its process exited with code 7".to_owned();
    assert_eq!(ended, Progress::FailedUndone { step: Step::Gate, reason });
    talk.until_serving(&mut rig, "2.0").await;
    assert_eq!(rig.starts(), ["1.0", "2.0", "3.0", "2.0"]);
    rig.finish().await;
}

#[tokio::test]
async fn an_agent_killed_in_the_gate_goes_on_and_repeats_nothing() {
    let mut rig = Rig::new().await;
    let slow = rig.release(
        "1.0",
        "while ! test -e $1/go; do sleep 0.05; done\n\
                                   touch $1/ready-1.0\nexec sleep 120",
    );
    let mut talk = rig.start().await;
    talk.offer(1, switch(&slow, None, LONG)).await;
    let gate = Progress::Running { step: Step::Gate };
    talk.until(&mut rig, "the gate", |_, rig| rig.reports.iter().any(|r| r.progress == gate)).await;
    rig.kill().await;
    std::fs::write(rig.config.data.join("services/web/data/go"), "").unwrap();
    let mut talk = rig.start().await;
    assert_eq!(talk.until_final(&mut rig, 1).await, Progress::Done);
    talk.until_serving(&mut rig, "1.0").await;
    // The controllers do not know yet, and offer it again.
    talk.offer(1, switch(&slow, None, LONG)).await;
    let confirm = ActionKind::Confirm { of: ActionId(1) };
    assert_eq!(talk.perform(&mut rig, 2, confirm).await, Progress::Done);
    assert_eq!(rig.starts(), ["1.0"]);
    assert_eq!(rig.said(1), [&Progress::Accepted, &Progress::Done]);
    rig.finish().await;
}

#[tokio::test]
async fn what_nobody_confirms_is_reverted_with_no_controller_in_sight() {
    let mut rig = Rig::new().await;
    let (one, two) = (rig.good("1.0"), rig.good("2.0"));
    let mut talk = rig.start().await;
    assert_eq!(talk.perform(&mut rig, 1, switch(&one, None, LONG)).await, Progress::Done);
    let confirm = ActionKind::Confirm { of: ActionId(1) };
    assert_eq!(talk.perform(&mut rig, 2, confirm).await, Progress::Done);
    let soon = switch(&two, Some(&one), Span(500));
    assert_eq!(talk.perform(&mut rig, 3, soon).await, Progress::Done);
    // The controller hangs up and takes no stream until it is done.
    drop(talk);
    let back = |rig: &Rig| rig.starts() == ["1.0", "2.0", "1.0"];
    let waited = tokio::time::timeout(PATIENCE, async {
        while !back(&rig) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "it was not reverted: {:?}", rig.starts());
    let mut call = rig.calls.recv().await.unwrap();
    let first = call.hello().await.first.unwrap();
    call.tell(Told::Welcome(welcome(100))).await;
    let mut talk = Talk { call, nonce: Vec::new(), generation: 0, web: None };
    talk.hear(&Said::Heartbeat(first), &mut rig.reports).await;
    talk.until(&mut rig, "it is told", |_, rig| {
        matches!(rig.said(3).last(), Some(Progress::RevertedAlone { .. }))
    })
    .await;
    talk.until_serving(&mut rig, "1.0").await;
    rig.finish().await;
}

#[tokio::test]
async fn a_restart_of_the_agent_is_no_outage_of_the_service() {
    let mut rig = Rig::new().await;
    let one = rig.good("1.0");
    let mut talk = rig.start().await;
    assert_eq!(talk.perform(&mut rig, 1, switch(&one, None, LONG)).await, Progress::Done);
    talk.until_serving(&mut rig, "1.0").await;
    rig.stop().await;
    let machine = rig.machine().await;
    assert!(matches!(machine.observe(&web()).state, RunState::Running { .. }));
    drop(machine);
    let talk = rig.start().await;
    let first = talk.web.expect("the first word tells of the service");
    assert_eq!((first.state, first.failing.len()), (ServiceState::Serving, 0));
    assert_eq!(talk.generation, 1);
    assert_eq!(rig.starts(), ["1.0"]);
    rig.finish().await;
}

#[tokio::test]
async fn a_node_that_has_not_joined_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("data: {}\n", dir.path().join("agent").display());
    let config = Config::parse("agent.yaml", &text).unwrap();
    let error = run(Path::new("agent.yaml"), &config, std::future::pending()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "this node has not joined a fleet: get a token with \
         `trictl token create --node NAME --region REGION --address ADDRESS`, then run \
         `trireme-agent join --config agent.yaml --token-file FILE`"
    );
}
