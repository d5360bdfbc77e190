//! Sets whole fleets of real processes on fire: `make chaos`, or one run of one seed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use trireme_tests::chaos::report::{Outcome, Report};
use trireme_tests::chaos::run::{Options, run};

/// Inflicts faults on fleets of processes and checks what clients were told.
#[derive(Debug, Parser)]
struct Args {
    /// Seed of the first run; the next ones count up from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds of faults in each run.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Controllers, 3 or 5; alternating if absent.
    #[arg(long, value_parser = clap::value_parser!(u8).range(3..=5))]
    controllers: Option<u8>,
    /// Agents, dealt out over three regions.
    #[arg(long, default_value_t = 30)]
    agents: usize,
    /// Runs, one after the other.
    #[arg(long, default_value_t = 5)]
    runs: u64,
    /// Directory of the programs.
    #[arg(long, default_value = "target/debug")]
    programs: PathBuf,
    /// File for the figures; logs of a run that is not good are kept beside it.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[expect(clippy::print_stdout, reason = "a program that prints is what this is")]
fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = Box::pin(all(&args)) => Some(report),
            // What was started ends as the runs are dropped.
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    let Some(report) = report else { return Ok(ExitCode::FAILURE) };
    if let Some(json) = &args.json {
        write(json, &report).with_context(|| format!("{} is not written", json.display()))?;
    }
    println!(
        "{} runs: {} violations, {} unknown, {} thin; at least {} regions served; {} requests of \
         clients answered; {} of {} requests of live traffic failed",
        report.runs,
        report.violations,
        report.unknown,
        report.thin,
        report.min_regions_serving,
        report.answered,
        report.failed_requests,
        report.requests
    );
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "a program that prints is what this is")]
async fn all(args: &Args) -> Report {
    let mut outcomes = Vec::new();
    for number in 0..args.runs {
        let alternating = if number.is_multiple_of(2) { 3 } else { 5 };
        let options = Options {
            seed: args.seed + number,
            time: Duration::from_secs(args.seconds),
            controllers: args.controllers.map_or(alternating, usize::from),
            agents: args.agents.div_ceil(3),
            programs: args.programs.clone(),
            keep: args.json.as_deref().and_then(Path::parent).map(Path::to_owned),
        };
        let outcome = Box::pin(run(&options)).await.unwrap_or_else(|error| Outcome {
            seed: options.seed,
            controllers: options.controllers,
            unknown: vec![format!("the run came to no end: {error:#}")],
            ..Outcome::default()
        });
        println!("{}", outcome.tell());
        outcomes.push(outcome);
    }
    Report::of(outcomes)
}

fn write(json: &Path, report: &Report) -> Result<()> {
    if let Some(dir) = json.parent() {
        std::fs::create_dir_all(dir)?;
    }
    Ok(std::fs::write(json, serde_json::to_vec_pretty(report)?)?)
}
