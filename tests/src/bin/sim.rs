//! Runs many simulated histories, or tells the story of one: `make sim SEEDS=n`, `make sim SEED=k`.

use std::process::ExitCode;

use clap::Parser;
use trireme_tests::sim::sweep::{self, Sweep};

/// Simulates whole fleets and checks every promise after every event.
#[derive(Debug, Parser)]
struct Args {
    /// Number of histories.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// First seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Tells the whole story of this seed instead.
    #[arg(long)]
    seed: Option<u64>,
    /// Lines of a story that are printed, the last ones.
    #[arg(long, default_value_t = 2000)]
    lines: usize,
    /// Violations after which to stop.
    #[arg(long, default_value_t = 1)]
    stop_after: usize,
}

#[expect(clippy::print_stdout, reason = "a program that prints is what this is")]
fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(seed) = args.seed {
        let told = sweep::story_of(seed, args.lines);
        println!("{}", sweep::report(seed, &told));
        return if told.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let sweep = Sweep::run(args.from..args.from + args.seeds, args.stop_after);
    println!("{sweep}");
    if sweep.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
