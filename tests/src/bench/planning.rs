//! How long deciding and applying take, and how they grow with the fleet.
//!
//! An upgrade of all nodes, from its plan to its success, in this process: the real planner
//! decides, the real apply carries out. Nodes report singly, as they do. Nothing else is counted:
//! no log, no network, no JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use trireme_controller::plan::{World, plan};
use trireme_controller::presence::{Presence, Seen};
use trireme_controller::state::apply::{Position, apply};
use trireme_controller::state::fleet::Node;
use trireme_controller::state::{Actor, Body, Command, Evidence, Fleet, Outcome, waves};
use trireme_proto::action::{
    Action, ActionKind, Observed, Progress, Report, RunSpec, ServiceState,
};
use trireme_proto::id::{ControllerId, NodeId, RegionId, ServiceId, UpgradeId, Version};
use trireme_proto::manifest;
use trireme_proto::time::{FleetTime, Span, WallTime};
use trireme_proto::view::UpgradePhase;

/// Regions over which nodes are spread.
const REGIONS: [&str; 3] = ["aws", "aliyun", "gcp"];

/// Fleet time between two turns of the leader: a heartbeat.
const TURN: Span = Span::secs(1);

/// Turns after which an upgrade that does not end is a bug.
const TURNS_MAX: usize = 1000;

/// How many reports are applied between two decisions: the leader looks after each batch of the
/// log, and one batch holds many reports when all nodes report at once.
const REPORTS_A_DECISION: usize = 50;

/// What was measured with one number of nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Nodes upgraded.
    pub nodes: usize,
    /// Mean time of one decision.
    pub us_per_decision: f64,
    /// The longest decision.
    pub us_worst_decision: f64,
    /// Mean time of applying one command.
    pub us_per_step: f64,
    /// The longest one.
    pub us_worst_step: f64,
    /// Decisions made.
    pub decisions: usize,
    /// Commands applied.
    pub steps: usize,
    /// Proposals that apply refused: each costs the leader a pause.
    pub refused: usize,
    /// The largest command, as it would stand in the log.
    pub largest_command: usize,
}

impl Row {
    /// Returns the line that people read.
    pub fn text(&self) -> String {
        format!(
            "  {:>6} nodes  {:8.0} us a decision (worst {:.0}, {} of them)  {:6.1} us a step \
             (worst {:.0}, {} of them)  {} refused  largest command {} bytes",
            self.nodes,
            self.us_per_decision,
            self.us_worst_decision,
            self.decisions,
            self.us_per_step,
            self.us_worst_step,
            self.steps,
            self.refused,
            self.largest_command
        )
    }
}

struct Bench {
    fleet: Fleet,
    presence: Presence,
    now: FleetTime,
    index: u64,
    generations: BTreeMap<NodeId, u64>,
    seqs: BTreeMap<NodeId, u64>,
    running: BTreeMap<NodeId, RunSpec>,
    said: BTreeSet<NodeId>,
    refused: Vec<String>,
    decisions: Vec<Duration>,
    steps: Vec<Duration>,
    largest_command: usize,
}

/// Measures one upgrade of `nodes` nodes.
pub fn measure(nodes: usize) -> Result<Row> {
    let mut bench = Bench::new(nodes)?;
    let service: ServiceId = "web".parse()?;
    let version: Version = "1.1.0".parse()?;
    bench.hear();
    let planned = waves::plan(&bench.fleet, &service, &version)
        .map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let evidence = bench.presence.evidence(bench.now);
    let outcome = bench.step(Body::StartUpgrade { plan: planned.id(), evidence });
    let Outcome::Upgrade(id) = outcome else { bail!("the start was answered with {outcome:?}") };
    for _ in 0..TURNS_MAX {
        if bench.fleet.upgrades[&id].phase.is_final() {
            return bench.row(nodes, id);
        }
        bench.turn()?;
    }
    let why = bench.refused.last();
    bail!("the upgrade of {nodes} nodes is {:?}: {why:?}", bench.fleet.upgrades[&id].phase)
}

impl Bench {
    fn new(nodes: usize) -> Result<Self> {
        let mut bench = Self {
            fleet: Fleet { name: "bench".to_owned(), epoch: 1, ..Fleet::default() },
            presence: Presence::default(),
            now: FleetTime(1),
            index: 0,
            generations: BTreeMap::new(),
            seqs: BTreeMap::new(),
            running: BTreeMap::new(),
            said: BTreeSet::new(),
            refused: Vec::new(),
            decisions: Vec::new(),
            steps: Vec::new(),
            largest_command: 0,
        };
        let objects = manifest::parse("bench.yaml", MANIFEST)
            .map_err(|error| anyhow::anyhow!("{}", error.render(false)))?;
        let objects = objects.into_iter().map(|located| located.value).collect();
        bench.step(Body::Apply { base_revision: 0, objects, evidence: Evidence::default() });
        let service: ServiceId = "web".parse()?;
        let spec = bench.fleet.run_spec(&service, &"1.0.0".parse()?).context("no release")?;
        for number in 0..nodes {
            let region: RegionId = REGIONS[number % REGIONS.len()].parse()?;
            let id: NodeId = format!("{region}-{number}").parse()?;
            bench.fleet.nodes.insert(id.clone(), node(region, &service, &spec));
            bench.generations.insert(id.clone(), 0);
            bench.running.insert(id, spec.clone());
        }
        bench.steps.clear();
        Ok(bench)
    }

    /// Hears a heartbeat of every node.
    fn hear(&mut self) {
        let service: ServiceId = "web".parse().expect("a name");
        let nodes = self
            .running
            .iter()
            .map(|(node, spec)| {
                let observed = BTreeMap::from([(service.clone(), serving(spec))]);
                let generation = self.generations[node];
                let agent_version = "1".to_owned();
                (node.clone(), Seen { generation, agent_version, observed, ..Seen::default() })
            })
            .collect();
        let controller: ControllerId = "c".parse().expect("a name");
        self.presence.hear(self.now, &controller, u64::MAX, nodes);
    }

    /// Lets a second pass: the nodes do what they were asked and report; the leader decides.
    fn turn(&mut self) -> Result<()> {
        self.now = self.now.after(TURN);
        self.hear();
        self.decide();
        let asked: Vec<Action> = self
            .fleet
            .nodes
            .values()
            .filter_map(|node| node.action.as_ref())
            .filter(|record| !record.is_final())
            .map(|record| record.action.clone())
            .collect();
        for (number, action) in asked.into_iter().enumerate() {
            self.report(&action)?;
            if number % REPORTS_A_DECISION == 0 {
                self.decide();
            }
        }
        Ok(())
    }

    fn decide(&mut self) {
        let began = Instant::now();
        let world = World { fleet: &self.fleet, presence: &self.presence, now: self.now, term: 1 };
        let decision = plan(&world);
        self.decisions.push(began.elapsed());
        for body in decision.proposals {
            // The leader stops there too, and looks again.
            if let Outcome::Refused(problem) = self.step(body) {
                self.refused.push(problem.message);
                break;
            }
        }
    }

    /// One node does an action, says so, and is seen with what it has done.
    fn report(&mut self, action: &Action) -> Result<()> {
        self.generations.insert(action.node.clone(), action.fence.generation);
        match &action.kind {
            ActionKind::Switch(switch) => {
                self.running.insert(action.node.clone(), switch.target.clone());
            }
            ActionKind::Revert { .. } => bail!("{} goes back: nothing has failed", action.upgrade),
            ActionKind::Stage { .. } | ActionKind::Halt(_) | ActionKind::Confirm { .. } => {}
        }
        self.said.insert(action.node.clone());
        for progress in [Progress::Accepted, Progress::Done] {
            let seq = self.seqs.entry(action.node.clone()).or_default();
            *seq += 1;
            let report = Report { seq: *seq, action: action.id, progress };
            let (node, incarnation) = (action.node.clone(), "disk".to_owned());
            self.step(Body::Reports { node, incarnation, reports: vec![report] });
        }
        Ok(())
    }

    fn step(&mut self, body: Body) -> Outcome {
        self.index += 1;
        let command = Command {
            at: self.now,
            wall: WallTime(1),
            skew: Span(0),
            actor: Actor {
                subject: "controller/c".to_owned(),
                role: "system".to_owned(),
                source: "local".to_owned(),
                request_id: String::new(),
            },
            origin: None,
            body,
        };
        self.largest_command =
            self.largest_command.max(serde_json::to_vec(&command).map_or(0, |bytes| bytes.len()));
        let at = Position { index: self.index, term: 1 };
        let began = Instant::now();
        let (reply, _effects) = apply(&mut self.fleet, at, &command);
        self.steps.push(began.elapsed());
        reply.outcome
    }

    fn row(&self, nodes: usize, id: UpgradeId) -> Result<Row> {
        let phase = self.fleet.upgrades[&id].phase;
        if phase != UpgradePhase::Succeeded || self.said.len() != nodes {
            bail!("the upgrade ended as {phase:?} with {} of {nodes} nodes", self.said.len());
        }
        let (us_per_decision, us_worst_decision) = mean_and_worst(&self.decisions);
        let (us_per_step, us_worst_step) = mean_and_worst(&self.steps);
        Ok(Row {
            nodes,
            us_per_decision,
            us_worst_decision,
            us_per_step,
            us_worst_step,
            decisions: self.decisions.len(),
            steps: self.steps.len(),
            refused: self.refused.len(),
            largest_command: self.largest_command,
        })
    }
}

fn mean_and_worst(times: &[Duration]) -> (f64, f64) {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let sum: Duration = times.iter().sum();
    let worst = times.iter().copied().max().unwrap_or_default();
    (us(sum) / f64::from(u32::try_from(times.len().max(1)).unwrap_or(u32::MAX)), us(worst))
}

fn node(region: RegionId, service: &ServiceId, spec: &RunSpec) -> Node {
    Node {
        region,
        address: "127.0.0.1".to_owned(),
        labels: BTreeMap::from([("role".to_owned(), "web".to_owned())]),
        incarnation: "disk".to_owned(),
        agent_version: "1".to_owned(),
        removed: false,
        lost: false,
        generation: 0,
        acknowledged: 0,
        report_seq: 0,
        observed: BTreeMap::from([(service.clone(), serving(spec))]),
        installed: BTreeMap::from([(service.clone(), spec.clone())]),
        drained: BTreeSet::new(),
        stopped: BTreeSet::new(),
        action: None,
    }
}

fn serving(spec: &RunSpec) -> Observed {
    Observed {
        state: ServiceState::Serving,
        running: Some(spec.digest()),
        version: Some(spec.release.version.to_string()),
        failing: BTreeMap::new(),
    }
}

/// What is upgraded: one service on every node.
const MANIFEST: &str = "\
kind: Region
name: aws
---
kind: Region
name: aliyun
---
kind: Region
name: gcp
---
kind: Service
name: web
nodes: {labels: {role: web}}
driver: {process: {}}
checks:
  - {name: health, http: {url: \"http://{address}:8080/health\"}, every: 2s, timeout: 1s}
traffic: {dns: {port: 8080, ttl: 2s}, drain: 5s}
upgrade: {order: [aws, aliyun, gcp], bake: {region: 5s}}
---
kind: Release
service: web
version: 1.0.0
artifact: {url: \"https://example.org/web-1.0.0\", sha256: \"1111111111111111111111111111111111111111111111111111111111111111\"}
argv: [\"{artifact}\"]
---
kind: Release
service: web
version: 1.1.0
artifact: {url: \"https://example.org/web-1.1.0\", sha256: \"2222222222222222222222222222222222222222222222222222222222222222\"}
argv: [\"{artifact}\"]
";
