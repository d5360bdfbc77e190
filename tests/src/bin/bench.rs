//! Measures what the project promises in figures, on release builds, and prints them.
//!
//! ```text
//!  writes    committed commands a second, and their latency, beside three nodes of etcd
//!  reads     linearizable reads likewise; and reads on the lease, which are not counted
//!  kill      SIGKILL of the leader to the next successful write, ours and etcd's
//!  transfer  the longest gap between successful writes while the lead is handed over
//!  idle      memory and CPU of agents (20 checks each) and controllers of a six-node fleet,
//!            beside prometheus-node-exporter where it is installed
//!  sessions  agents held by one controller: memory, CPU, a change told to all, all coming back
//!  planning  deciding and applying an upgrade of up to ten thousand nodes
//!  demo      time of the demo's upgrades beyond what their manifest demands, and request times
//! ```
//!
//! Machines are shared and noisy: figures are medians of several rounds, and ratios are taken
//! within one run. Nothing here fails for being slow; the printed limits are for people to judge.

#![expect(clippy::print_stdout, reason = "figures are what it is run for")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use trireme_tests::bench::etcd::Etcd;
use trireme_tests::bench::load::Work;
use trireme_tests::bench::ours::Ours;
use trireme_tests::bench::{
    Figures, agents, demo, idle, kill, planning, sessions, throughput, transfer,
};
use trireme_tests::figures;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    Writes,
    Reads,
    Kill,
    Transfer,
    Idle,
    Sessions,
    Planning,
    Demo,
}

/// Figures of a Trireme fleet on this machine.
#[derive(Debug, Parser)]
struct Args {
    /// Directory of the release programs.
    #[arg(long, default_value = "target/release")]
    programs: PathBuf,
    /// Rows to measure; all unless given.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Row>,
    /// Rounds of each cell, ours and the peer's in turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of one round of one cell.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Numbers of clients.
    #[arg(long, value_delimiter = ',', default_values_t = throughput::CLIENTS)]
    clients: Vec<usize>,
    /// Times that a leader is killed.
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// Times that the lead is handed over.
    #[arg(long, default_value_t = 5)]
    transfers: usize,
    /// Runs of the demo.
    #[arg(long, default_value_t = 3)]
    demos: usize,
    /// Seconds over which idleness is measured.
    #[arg(long, default_value_t = 30)]
    idle_seconds: u64,
    /// Numbers of simulated agents.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 5000, 10_000])]
    agents: Vec<usize>,
    /// Seconds over which the CPU of a controller with agents is measured.
    #[arg(long, default_value_t = 20)]
    session_seconds: u64,
    /// Numbers of nodes whose upgrade is planned and applied.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 10_000])]
    nodes: Vec<usize>,
    /// File for the figures.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Args {
    fn wants(&self, row: Row) -> bool {
        self.only.is_empty() || self.only.contains(&row)
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Simulated agents live in a process of their own: this program, started by itself.
    if std::env::args().nth(1).is_some_and(|first| first == sessions::AGENTS) {
        return runtime.block_on(agents::run());
    }
    let args = Args::parse();
    let mut found = Figures::default();
    runtime.block_on(unless_stopped(beside_etcd(&args, &mut found)))?;
    if args.wants(Row::Idle) {
        println!("idle, over {} s", args.idle_seconds);
        let measuring = idle::measure(&args.programs, args.idle_seconds);
        let idle = runtime.block_on(unless_stopped(measuring))?;
        print!("{}", idle.text());
        found.idle = Some(idle);
    }
    if args.wants(Row::Sessions) {
        println!("agents on one controller, in another process on the same cores");
        for count in &args.agents {
            let measuring = sessions::measure(&args.programs, *count, args.session_seconds);
            let row = runtime.block_on(unless_stopped(measuring))?;
            println!("{}", row.text());
            found.sessions.push(row);
        }
    }
    if args.wants(Row::Planning) {
        println!("planning and applying an upgrade of all nodes");
        for nodes in &args.nodes {
            let row = planning::measure(*nodes)?;
            println!("{}", row.text());
            found.planning.push(row);
        }
    }
    if args.wants(Row::Demo) {
        println!("demo, {} runs", args.demos);
        found.demo = demo::measure(&args.programs, args.demos)?;
        found.demo.iter().for_each(|phase| println!("{}", phase.text()));
    }
    match &args.json {
        Some(file) => figures::write(file, &found),
        None => Ok(()),
    }
}

/// Lets go of a measurement when we are told to stop, which ends the processes that it has started.
async fn unless_stopped<T>(measuring: impl Future<Output = Result<T>>) -> Result<T> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        done = measuring => done,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminated.recv() => bail!("terminated"),
    }
}

/// The rows that have etcd for a peer.
async fn beside_etcd(args: &Args, found: &mut Figures) -> Result<()> {
    let rows = [Row::Writes, Row::Reads, Row::Kill, Row::Transfer];
    if !rows.into_iter().any(|row| args.wants(row)) {
        return Ok(());
    }
    let mut ours = Ours::start(&args.programs).await?;
    let mut etcd = Etcd::start().await?;
    if args.wants(Row::Writes) {
        println!("committed commands of 256 bytes, {} rounds of {} s", args.rounds, args.seconds);
        found.writes = cells(args, &mut ours, &mut etcd, Work::Writes).await?;
    }
    if args.wants(Row::Reads) {
        println!("linearizable reads, {} rounds of {} s", args.rounds, args.seconds);
        found.reads = cells(args, &mut ours, &mut etcd, Work::Reads).await?;
        println!("not counted: reads on the lease, beside etcd's serializable ones");
        found.lease_reads = cells(args, &mut ours, &mut etcd, Work::LeaseReads).await?;
    }
    if args.wants(Row::Kill) {
        println!("leader killed to next write, {} trials", args.kills);
        let killed = kill::measure(&mut ours, &mut etcd, args.kills).await?;
        println!(
            "  {:.0} ms ours, {:.0} ms etcd (medians), ratio {:.2}",
            killed.ours, killed.etcd, killed.ratio
        );
        found.leader_kill_ms = Some(killed);
    }
    if args.wants(Row::Transfer) {
        println!("lead handed over under writes, {} trials", args.transfers);
        let gaps = transfer::measure(&mut ours, &mut etcd, args.transfers).await?;
        println!(
            "  longest gap {:.1} ms ours (worst {:.1}), {:.1} ms etcd (medians); failed writes {} / {}",
            gaps.gap.ours, gaps.worst_ours, gaps.gap.etcd, gaps.failed_ours, gaps.failed_etcd
        );
        found.transfer_gap_ms = Some(gaps);
    }
    ours.down().await
}

/// One kind of work at every number of clients.
async fn cells(
    args: &Args,
    ours: &mut Ours,
    etcd: &mut Etcd,
    work: Work,
) -> Result<BTreeMap<usize, throughput::Row>> {
    let lasts = Duration::from_secs(args.seconds);
    let mut rows = BTreeMap::new();
    for clients in &args.clients {
        let row = throughput::measure(ours, etcd, work, *clients, args.rounds, lasts).await?;
        println!("{}", row.text(*clients));
        rows.insert(*clients, row);
    }
    Ok(rows)
}
