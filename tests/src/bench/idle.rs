//! Memory and CPU of agents (20 checks each) and controllers of a six-node fleet with nothing to
//! do, beside prometheus-node-exporter where it is installed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use trireme_ctl::local::{Fleet, Programs, Shape};
use trireme_proto::manifest;
use trireme_proto::wire::ApplyRequest;

/// Limits of DESIGN section 11.
pub const AGENT_MEMORY_MAX_MB: f64 = 15.0;
/// A controller of a small fleet.
pub const CONTROLLER_MEMORY_MAX_MB: f64 = 40.0;

/// The peer that is measured beside the agent.
const PEER: &str = "/usr/bin/prometheus-node-exporter";

/// Ticks a second in /proc, which Linux keeps at 100 whatever its own clock does.
const TICKS: f64 = 100.0;

/// What an idle fleet takes: medians over its processes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Idle {
    /// Resident memory of an agent in megabytes (10^6 bytes).
    pub agent_rss_mb: f64,
    /// Processor of an agent, in percent of a core.
    pub agent_cpu_percent: f64,
    /// Resident memory of a controller.
    pub controller_rss_mb: f64,
    /// Processor of a controller.
    pub controller_cpu_percent: f64,
    /// Resident memory of the peer, where it is installed.
    pub node_exporter_rss_mb: Option<f64>,
    /// Processor of the peer.
    pub node_exporter_cpu_percent: Option<f64>,
    /// Memory of an agent over the peer's.
    pub agent_rss_ratio: Option<f64>,
}

/// Measures an idle fleet for `seconds`.
pub async fn measure(programs: &Path, seconds: u64) -> Result<Idle> {
    let scratch = tempfile::tempdir()?;
    let shape = Shape::new("bench".parse()?);
    let mut fleet =
        Fleet::create(&scratch.path().join("fleet"), shape, Programs::within(programs)?)?.own();
    fleet.start(|_| {}).await?;
    declare(&fleet).await?;
    let peer = Peer::start();
    // What was used to start up is not idleness.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut pids = Vec::new();
    for agent in fleet.agents_mut() {
        pids.push(("agent", agent.process.pid().context("an agent has ended")?));
    }
    for controller in fleet.controllers_mut() {
        pids.push(("controller", controller.process.pid().context("a controller has ended")?));
    }
    pids.extend(peer.as_ref().map(|peer| ("node_exporter", peer.0.id())));
    let before: Vec<f64> = pids.iter().map(|(_, pid)| cpu_seconds(*pid)).collect::<Result<_>>()?;
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let wall = begun.elapsed().as_secs_f64();
    let mut rows: Vec<(&str, f64, f64)> = Vec::new();
    for ((kind, pid), before) in pids.iter().zip(before) {
        let cpu = 100.0 * (cpu_seconds(*pid)? - before) / wall;
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 bytes")]
        let megabytes = resident_bytes(*pid)? as f64 / 1e6;
        rows.push((kind, megabytes, cpu));
    }
    fleet.down().await?;
    Ok(Idle::of(&rows))
}

impl Idle {
    fn of(rows: &[(&str, f64, f64)]) -> Self {
        let of = |kind: &str| -> Option<(f64, f64)> {
            let rows = rows.iter().filter(|row| row.0 == kind);
            let (memory, cpu): (Vec<_>, Vec<_>) = rows.map(|row| (row.1, row.2)).unzip();
            (!memory.is_empty()).then(|| (median(&memory), median(&cpu)))
        };
        let (agent, controller) = (of("agent"), of("controller"));
        let (agent, controller) = (agent.unwrap_or_default(), controller.unwrap_or_default());
        let peer = of("node_exporter");
        Self {
            agent_rss_mb: agent.0,
            agent_cpu_percent: agent.1,
            controller_rss_mb: controller.0,
            controller_cpu_percent: controller.1,
            node_exporter_rss_mb: peer.map(|peer| peer.0),
            node_exporter_cpu_percent: peer.map(|peer| peer.1),
            agent_rss_ratio: peer.map(|peer| agent.0 / peer.0),
        }
    }

    /// Returns the lines that people read.
    pub fn text(&self) -> String {
        let mut text = format!(
            "  agent          {:6.1} MB resident (limit {AGENT_MEMORY_MAX_MB})  {:5.2} % of a core\n  \
             controller     {:6.1} MB resident (limit {CONTROLLER_MEMORY_MAX_MB})  {:5.2} % of a core\n",
            self.agent_rss_mb,
            self.agent_cpu_percent,
            self.controller_rss_mb,
            self.controller_cpu_percent
        );
        let _ = match (self.node_exporter_rss_mb, self.agent_rss_ratio) {
            (Some(memory), Some(ratio)) => writeln!(
                text,
                "  node_exporter  {memory:6.1} MB resident, {:5.2} % of a core; agent / node_exporter = {ratio:.2}",
                self.node_exporter_cpu_percent.unwrap_or_default()
            ),
            _ => writeln!(text, "  node_exporter  is not installed: no ratio"),
        };
        text
    }
}

async fn declare(fleet: &Fleet) -> Result<()> {
    let targets: Vec<_> = fleet.controllers().iter().map(|one| one.api.to_string()).collect();
    let objects = manifest::parse("bench.yaml", &twenty_checks(&targets))
        .map_err(|error| anyhow::anyhow!("{}", error.render(false)))?;
    let objects: Vec<_> = objects.into_iter().map(|located| located.value).collect();
    let client = fleet.client()?;
    let request = ApplyRequest {
        origin: Some(client.origin()),
        objects: serde_json::to_vec(&objects)?.into(),
        ..ApplyRequest::default()
    };
    client.apply(request).await.map(drop).map_err(|failure| anyhow::anyhow!("{failure:?}"))
}

/// A service with twenty checks of all kinds on every node; it is never started.
fn twenty_checks(controllers: &[String]) -> String {
    let mut checks = String::new();
    for number in 0..20 {
        let target = &controllers[number % controllers.len()];
        let probe = match number % 4 {
            0 => "command: {argv: [/bin/true]}".to_owned(),
            1 => format!("http: {{url: \"http://{target}/\"}}"),
            _ => format!("tcp: {{address: \"{target}\"}}"),
        };
        let _ = writeln!(checks, "  - {{name: c{number}, {probe}, every: 10s, timeout: 2s}}");
    }
    format!(
        "kind: Service\nname: idle\nnodes: {{labels: {{role: web}}}}\ndriver: {{process: {{}}}}\nchecks:\n{checks}"
    )
}

/// The peer, ended when it is dropped.
struct Peer(std::process::Child);

impl Peer {
    fn start() -> Option<Self> {
        let child = Command::new(PEER)
            .args(["--web.listen-address", "127.0.0.1:19100"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self(child))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped_already = self.0.wait();
    }
}

/// Returns the resident memory of a process.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib * 1024)
}

/// Returns the processor time that a process has used so far.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(')').context("no name")?.1;
    let field = |number: usize| -> Result<f64> {
        Ok(rest.split_whitespace().nth(number).context("no field")?.parse()?)
    };
    Ok((field(11)? + field(12)?) / TICKS)
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
