//! The demo's upgrades: time beyond what their manifest demands, and what clients met.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::Value;

use super::stats::median;

/// Most that an upgrade of six nodes may take beyond what its manifest demands (DESIGN 11).
const OVERHEAD_MAX_MS: f64 = 2000.0;

/// One phase of the demo: medians over its runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Phase {
    /// Its name.
    pub phase: &'static str,
    /// Time beyond what the manifest demands.
    pub overhead_ms: f64,
    /// Time in all.
    pub wall_ms: f64,
    /// Requests that failed, in all runs.
    pub failed: f64,
    /// Slowest answers but one in a hundred.
    pub p99_ms: f64,
    /// The same over what it is while nothing happens.
    pub p99_of_rest: f64,
    /// Runs in which every promise was kept.
    pub kept: usize,
    /// Runs.
    pub runs: usize,
}

impl Phase {
    /// Returns the line that people read.
    pub fn text(&self) -> String {
        format!(
            "  {:<14} overhead {:6.0} ms (limit {OVERHEAD_MAX_MS})  wall {:6.0} ms  failed {}  \
             p99 {:5.1} ms, {:.2} of rest; {} of {} runs kept every promise",
            self.phase,
            self.overhead_ms,
            self.wall_ms,
            self.failed,
            self.p99_ms,
            self.p99_of_rest,
            self.kept,
            self.runs
        )
    }
}

/// Runs the demo `runs` times.
pub fn measure(programs: &Path, runs: usize) -> Result<Vec<Phase>> {
    let scratch = tempfile::tempdir()?;
    let reports = (0..runs)
        .map(|run| demo(programs, &scratch.path().join(format!("{run}.json"))))
        .collect::<Result<Vec<_>>>()?;
    let kept = reports.iter().filter(|report| report["ok"] == Value::Bool(true)).count();
    let names = ["upgrade", "bad_release", "leader_killed"].into_iter().enumerate();
    let phases = names.map(|(number, phase)| {
        let figure = |path: &str| -> Vec<f64> {
            let pointer = format!("/phases/{number}/{path}");
            reports.iter().filter_map(|report| report.pointer(&pointer)?.as_f64()).collect()
        };
        let (p99, rest) = (figure("requests/p99_ms"), figure("requests/rest_p99_ms"));
        Phase {
            phase,
            overhead_ms: median(&figure("overhead_ms")),
            wall_ms: median(&figure("wall_ms")),
            failed: figure("requests/failed").iter().sum(),
            p99_ms: median(&p99),
            p99_of_rest: median(&p99) / median(&rest),
            kept,
            runs,
        }
    });
    Ok(phases.collect())
}

#[expect(clippy::print_stdout, reason = "which promise broke is for people")]
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
