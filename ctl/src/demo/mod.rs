//! `trictl demo`: the main job on a fleet of real processes, under live traffic, with a report.
//!
//! ```text
//!  fleet up ─▶ 1.0.0 ─▶ upgrade to 1.1.0 ─▶ 1.2.0, bad: back to 1.1.0
//!                       ─▶ 1.3.0, leader killed half-way ─▶ 1.4.0, refused: a region is down
//! ```
//!
//! It does nothing that an operator could not do: the same client, plans and starts upgrades, and
//! `kill -9` does the rest. What it shows is measured from outside (`load`), or read from what the
//! service itself recorded (`effects`).

mod effects;
mod follow;
mod manifest;
mod phases;
mod report;
pub(crate) mod service;
mod stage;

use std::path::PathBuf;

use trireme_proto::problem::{Code, Problem};

pub use self::report::{FleetSize, Phase, Report, Requests};

use self::stage::Stage;
use crate::error::Failure;
use crate::local::{Fleet, Programs, Shape};
use crate::output::Out;

/// Name of the demo's fleet.
const FLEET: &str = "demo";

/// How the demo is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of the fleet; empty or not there.
    pub dir: PathBuf,
    /// The daemons' programs.
    pub programs: Programs,
    /// This program, which is also the service that is upgraded.
    pub trictl: PathBuf,
    /// Agents per region.
    pub agents: usize,
    /// Requests a second.
    pub rate: u32,
    /// Whether the fleet goes on afterwards.
    pub keep: bool,
}

/// Runs the demo, telling `out` what happens; returns what it has shown.
pub async fn run(out: &Out, options: Options) -> Result<Report, Failure> {
    let mut shape = Shape::new(FLEET.parse().expect("it is one lower-case word"));
    shape.agents = options.agents;
    shape.service_ports = vec![stage::PORT];
    say(out, "starting a fleet")?;
    let mut fleet = Fleet::create(&options.dir, shape, options.programs.clone())?;
    let started = fleet.start(|text| {
        // A reader that is gone is noticed at the next line of the demo itself.
        let _ = out.note(text);
    });
    started.await?;
    let mut stage = Stage::set(out, fleet, &options).await?;
    let shown = stage.play().await;
    let (report, broken) = stage.close(options.keep, shown).await?;
    say(out, "")?;
    out.page(report::render(&report, &broken, out.style()))?;
    if options.keep {
        let dir = options.dir.display().to_string();
        let dir = crate::cli::quoted(&dir);
        out.note(&format!("the fleet goes on; to end it: trictl dev down --dir {dir}"))?;
    }
    Ok(report)
}

/// Returns what the demo ends with.
pub fn verdict(report: &Report) -> Result<(), Problem> {
    if report.ok {
        return Ok(());
    }
    let mut problem = Problem::new(Code::Failed, "the demo broke its promises");
    problem.why = report.broken();
    Err(problem)
}

/// Says what comes next.
fn say(out: &Out, text: &str) -> Result<(), Failure> {
    let text = if text.is_empty() { String::from("\n") } else { format!("==> {text}") };
    out.text(&text)
}
