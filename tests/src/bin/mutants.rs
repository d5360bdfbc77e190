//! Applies seeded faults to our own logic, one after another, and shows that the simulated
//! histories catch each: `make mutants`, `make mutants ONLY=grant_not_counted`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use serde::Serialize;
use trireme_tests::figures;
use trireme_tests::mutants::{self, Hunter, Mutant};

/// Shows that each seeded fault is caught.
#[derive(Debug, Parser)]
struct Args {
    /// Top of the project.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Directory for the copy of the sources and what is built of it.
    #[arg(long, default_value = "target/mutants")]
    dir: PathBuf,
    /// Histories of the fleet in which a mutant must be caught.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// Histories of Raft alone in which a mutant must be caught.
    #[arg(long, default_value_t = 500)]
    raft_seeds: u64,
    /// Only mutants whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// File for the figures.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What became of one mutant.
#[derive(Debug, Serialize)]
struct Fate {
    name: String,
    what: String,
    /// Seeds told until a promise broke; none if the mutant survived.
    seeds: Option<u64>,
    /// The promise that broke first.
    rule: Option<String>,
    seconds: u64,
}

/// What `--json` writes.
#[derive(Debug, Serialize)]
struct Figures {
    total: usize,
    caught: usize,
    mutants: Vec<Fate>,
}

#[expect(clippy::print_stdout, reason = "a program that prints is what this is")]
fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let wanted = |mutant: &Mutant| args.only.as_ref().is_none_or(|o| mutant.name.contains(o));
    let mutants: Vec<Mutant> = mutants::all(&args.root)?.into_iter().filter(wanted).collect();
    ensure!(!mutants.is_empty(), "no mutant has such a name: ls tests/mutants");
    let copy = args.dir.join("sources");
    let mut fates = Vec::new();
    for mutant in mutants {
        mutants::copy_sources(&args.root, &copy)?;
        mutant.apply(&copy).with_context(|| format!("mutant {}", mutant.name))?;
        let fate = hunt(&args, &copy, &mutant)?;
        match (&fate.seeds, &fate.rule) {
            (Some(seeds), Some(rule)) => {
                println!("caught    {:<34} {seeds:>5} seeds, by {rule}", fate.name);
            }
            _ => println!("SURVIVED  {:<34} {}", fate.name, fate.what),
        }
        fates.push(fate);
    }
    let caught = fates.iter().filter(|fate| fate.seeds.is_some()).count();
    println!("{} mutants, {caught} caught", fates.len());
    let figures = Figures { total: fates.len(), caught, mutants: fates };
    if let Some(file) = &args.json {
        figures::write(file, &figures)?;
    }
    let all = figures.caught == figures.total;
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the simulation with the mutant in it and tells histories until one breaks a promise.
fn hunt(args: &Args, copy: &Path, mutant: &Mutant) -> Result<Fate> {
    let began = Instant::now();
    let built = std::path::absolute(args.dir.join("build"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--workspace", "--bin", "sim"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", &built)
        // Built many times and told once.
        .env("CARGO_INCREMENTAL", "1")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .stdin(Stdio::null())
        .output()?;
    if !build.status.success() {
        let said = String::from_utf8_lossy(&build.stderr).into_owned();
        bail!("mutant {} does not build, so it proves nothing:\n{said}", mutant.name);
    }
    let figures = built.join("found.json");
    let mut sim = Command::new(built.join("debug/sim"));
    match mutant.by {
        Hunter::Model => sim.args(["--seeds", &args.seeds.to_string()]),
        Hunter::Raft => sim.args(["--seeds", "0", "--raft-seeds", &args.raft_seeds.to_string()]),
    };
    // What it prints on a violation is a story for somebody who looks for a bug of their own.
    let status = sim
        .arg("--json")
        .arg(&figures)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let found = fs::read(&figures).with_context(|| {
        format!("mutant {} ended the simulation ({status}) before it could say why", mutant.name)
    });
    let (seeds, rule) = first(&found?, mutant.by)?;
    let (name, what) = (mutant.name.clone(), mutant.what.clone());
    Ok(Fate { name, what, seeds, rule, seconds: began.elapsed().as_secs() })
}

/// Reads from the figures of the simulation which history was the first to break a promise.
fn first(figures: &[u8], by: Hunter) -> Result<(Option<u64>, Option<String>)> {
    let figures: serde_json::Value = serde_json::from_slice(figures)?;
    let part = match by {
        Hunter::Model => &figures["model"],
        Hunter::Raft => &figures["raft"],
    };
    let first = &part["first_violation"];
    if first.is_null() {
        return Ok((None, None));
    }
    let seed = first["seed"].as_u64().context("the first violation has a seed")?;
    let rule = first["rule"].as_str().context("the first violation has a rule")?;
    Ok((Some(seed + 1), Some(rule.to_owned())))
}
