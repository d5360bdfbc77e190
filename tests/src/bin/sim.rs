//! Runs many simulated histories, or tells the story of one: `make sim SEEDS=n RAFT_SEEDS=m`,
//! `make sim SEED=k`, `make sim RAFT_SEED=k`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use serde_json::json;
use trireme_tests::figures;
use trireme_tests::raft_sim::sweep as raft;
use trireme_tests::sim::sweep as model;

/// Simulates whole fleets, and Raft alone, and checks every promise after every event.
#[derive(Debug, Parser)]
struct Args {
    /// Number of histories of fleets.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// Number of histories of Raft alone, on simulated disks, links and clocks.
    #[arg(long, default_value_t = 0)]
    raft_seeds: u64,
    /// First seed of both.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Tells the whole story of this seed instead.
    #[arg(long)]
    seed: Option<u64>,
    /// Tells the whole story of this seed of Raft alone instead.
    #[arg(long, conflicts_with = "seed")]
    raft_seed: Option<u64>,
    /// Lines of a story that are printed, the last ones.
    #[arg(long, default_value_t = 2000)]
    lines: usize,
    /// Violations after which to stop.
    #[arg(long, default_value_t = 1)]
    stop_after: usize,
    /// Histories that are told at the same time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Directory in which a file is proposed for each history that broke a promise.
    #[arg(long)]
    propose: Option<PathBuf>,
    /// File for the figures.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[expect(clippy::print_stdout, reason = "a program that prints is what this is")]
fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(seed) = args.seed {
        let told = model::story_of(seed, args.lines);
        println!("{}", model::report(seed, &told));
        return Ok(ended(told.violation.is_none()));
    }
    if let Some(seed) = args.raft_seed {
        let history = raft::story_of(seed, args.lines);
        println!("{}", raft::report(seed, &history));
        return Ok(ended(history.violation.is_none()));
    }
    Ok(ended(sweeps(&args)?))
}

fn ended(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs both sweeps; returns whether every promise held and both have been through enough.
#[expect(clippy::print_stdout, reason = "a program that prints is what this is")]
fn sweeps(args: &Args) -> Result<bool> {
    let fleets =
        model::Sweep::run(args.from..args.from + args.seeds, args.stop_after, args.threads);
    println!("{fleets}");
    for failure in &fleets.violations {
        let Some(directory) = &args.propose else { break };
        match failure.smallest.propose(directory) {
            Ok(path) => println!("say why in {}", path.display()),
            Err(error) => println!("cannot propose a regression: {error}"),
        }
    }
    let groups = raft::Sweep::run(args.from..args.from + args.raft_seeds, args.stop_after);
    if args.raft_seeds > 0 {
        println!("{groups}");
    }
    if let Some(file) = &args.json {
        let mut coverage = fleets.coverage.by_name();
        let named = groups.coverage.by_name().into_iter();
        coverage.extend(named.map(|(name, count)| (format!("raft.{name}"), count)));
        let (model, raft) = (fleets.figures(), groups.figures());
        figures::write(file, &json!({"model": model, "raft": raft, "coverage": coverage}))?;
    }
    let kept = fleets.violations.is_empty() && groups.violations.is_empty();
    let mut thin = fleets.coverage.thin(fleets.seeds);
    thin.extend(groups.coverage.thin(groups.seeds));
    // What broke a promise ended its sweep early, and is what counts.
    if kept && !thin.is_empty() {
        println!("too thin to count: {thin:?}");
    }
    Ok(kept && thin.is_empty())
}
