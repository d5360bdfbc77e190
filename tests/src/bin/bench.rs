//! Measures what the project promises in figures, on release builds, and prints them.
//!
//! ```text
//!  idle      memory and CPU of agents (20 checks each) and controllers of a six-node fleet,
//!            beside prometheus-node-exporter where it is installed
//!  upgrade   time of the demo's upgrades beyond what their manifest demands, and request times
//! ```
//!
//! Machines are shared and noisy: figures are medians of several runs, and ratios are taken within
//! one run. Nothing here fails for being slow; the printed limits are for people to judge.

#![expect(clippy::print_stdout, reason = "figures are what it is run for")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::Value;
use trireme_ctl::local::{Fleet, Programs, Shape};
use trireme_proto::manifest;
use trireme_proto::wire::ApplyRequest;

/// Figures of a Trireme fleet on this machine.
#[derive(Debug, Parser)]
struct Args {
    /// Directory of the release programs.
    #[arg(long, default_value = "target/release")]
    programs: PathBuf,
    /// Runs of the demo.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds over which idleness is measured.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// Limits of DESIGN section 11.
const AGENT_MEMORY_MAX_MB: f64 = 15.0;
const CONTROLLER_MEMORY_MAX_MB: f64 = 40.0;
const OVERHEAD_MAX_MS: f64 = 2000.0;

/// The peer that is measured beside the agent.
const PEER: &str = "/usr/bin/prometheus-node-exporter";

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("idle, over {} s, release build", args.seconds);
    runtime.block_on(idle(&args))?;
    println!("\ndemo, {} runs, release build", args.runs);
    demos(&args)
}

/// Memory and CPU of an idle fleet.
async fn idle(args: &Args) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let programs = Programs::within(&args.programs)?;
    let shape = Shape::new("bench".parse()?);
    let mut fleet = Fleet::create(&scratch.path().join("fleet"), shape, programs)?.own();
    fleet.start(|_| {}).await?;
    let targets: Vec<_> = fleet.controllers().iter().map(|one| one.api.to_string()).collect();
    let objects = manifest::parse("bench.yaml", &twenty_checks(&targets))
        .map_err(|error| anyhow::anyhow!("{}", error.render(false)))?;
    let objects: Vec<_> = objects.into_iter().map(|located| located.value).collect();
    let client = fleet.client()?;
    client
        .apply(ApplyRequest {
            origin: Some(client.origin()),
            objects: serde_json::to_vec(&objects)?.into(),
            ..ApplyRequest::default()
        })
        .await
        .map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
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
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let wall = begun.elapsed().as_secs_f64();
    let mut rows: Vec<(&str, f64, f64)> = Vec::new();
    for ((kind, pid), before) in pids.iter().zip(before) {
        let cpu = 100.0 * (cpu_seconds(*pid)? - before) / wall;
        rows.push((kind, resident_mb(*pid)?, cpu));
    }
    fleet.down().await?;
    report_idle(&rows);
    Ok(())
}

fn report_idle(rows: &[(&str, f64, f64)]) {
    let of = |kind: &str| -> (Vec<f64>, Vec<f64>) {
        let rows = rows.iter().filter(|row| row.0 == kind);
        rows.map(|row| (row.1, row.2)).unzip()
    };
    let limits = [("agent", AGENT_MEMORY_MAX_MB), ("controller", CONTROLLER_MEMORY_MAX_MB)];
    for (kind, limit) in limits {
        let (memory, cpu) = of(kind);
        println!(
            "  {kind:<14} {:6.1} MB resident (median of {}, most {:.1}; limit {limit})  {:5.2} % of a core",
            median(&memory),
            memory.len(),
            memory.iter().copied().fold(0.0, f64::max),
            median(&cpu)
        );
    }
    let (memory, cpu) = of("node_exporter");
    if memory.is_empty() {
        println!("  node_exporter  is not installed: no ratio");
    } else {
        println!(
            "  node_exporter  {:6.1} MB resident, {:5.2} % of a core; agent / node_exporter = {:.2}",
            median(&memory),
            median(&cpu),
            median(&of("agent").0) / median(&memory)
        );
    }
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

/// Runs the demo several times and prints the medians of each phase.
fn demos(args: &Args) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut reports = Vec::new();
    for run in 0..args.runs {
        let file = scratch.path().join(format!("{run}.json"));
        reports.push(demo(&args.programs, &file)?);
    }
    for (number, phase) in ["upgrade", "bad_release", "leader_killed"].iter().enumerate() {
        let figure = |path: &str| -> Vec<f64> {
            let pointer = format!("/phases/{number}/{path}");
            reports.iter().filter_map(|report| report.pointer(&pointer)?.as_f64()).collect()
        };
        let (p99, rest) = (figure("requests/p99_ms"), figure("requests/rest_p99_ms"));
        println!(
            "  {phase:<14} overhead {:6.0} ms (limit {OVERHEAD_MAX_MS})  wall {:6.0} ms  failed {}  p99 {:5.1} ms, {:.2} of rest",
            median(&figure("overhead_ms")),
            median(&figure("wall_ms")),
            figure("requests/failed").iter().sum::<f64>(),
            median(&p99),
            median(&p99) / median(&rest)
        );
    }
    let good = reports.iter().filter(|report| report["ok"] == Value::Bool(true)).count();
    println!("  {good} of {} runs kept every promise", reports.len());
    Ok(())
}

fn demo(programs: &Path, file: &Path) -> Result<Value> {
    let output =
        Command::new(programs.join("trictl")).args(["demo", "--json"]).arg(file).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !file.exists() {
        bail!("the demo ended with {} and left no report: {said}", output.status);
    }
    if !output.status.success() {
        let verdict = said.lines().skip_while(|line| !line.contains("promises were broken"));
        verdict.for_each(|line| println!("  {line}"));
    }
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

/// Returns resident memory in megabytes (10^6 bytes).
fn resident_mb(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// Ticks a second in /proc, which Linux keeps at 100 whatever its own clock does.
const TICKS: f64 = 100.0;

/// Returns processor time used so far.
fn cpu_seconds(pid: u32) -> Result<f64> {
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
