//! Committed commands and linearizable reads a second, ours beside etcd's, cell by cell in turn.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::load::{Cell, System, Work, run};
use super::stats::{Versus, median};

/// Clients at once.
pub const CLIENTS: [usize; 4] = [1, 16, 64, 256];

/// Both systems at one number of clients.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Requests a second.
    #[serde(flatten)]
    pub per_second: Versus,
    /// Processor time of our servers for one request, in microseconds.
    pub cpu_us_ours: f64,
    /// The same of etcd.
    pub cpu_us_etcd: f64,
    /// Time of our answers in milliseconds: half, and all but one in a hundred.
    pub p50_ms_ours: f64,
    /// The same of etcd.
    pub p50_ms_etcd: f64,
    /// All but one in a hundred of our answers.
    pub p99_ms_ours: f64,
    /// The same of etcd.
    pub p99_ms_etcd: f64,
}

impl Row {
    fn of(ours: &[Cell], etcd: &[Cell]) -> Self {
        let all = |cells: &[Cell], figure: fn(&Cell) -> f64| -> Vec<f64> {
            cells.iter().map(figure).collect()
        };
        let typical = |cells: &[Cell], figure| median(&all(cells, figure));
        let rate: fn(&Cell) -> f64 = |cell| cell.per_second;
        Self {
            per_second: Versus::of(&all(ours, rate), &all(etcd, rate)),
            cpu_us_ours: typical(ours, |cell| cell.cpu_us),
            cpu_us_etcd: typical(etcd, |cell| cell.cpu_us),
            p50_ms_ours: typical(ours, |cell| cell.p50_ms),
            p50_ms_etcd: typical(etcd, |cell| cell.p50_ms),
            p99_ms_ours: typical(ours, |cell| cell.p99_ms),
            p99_ms_etcd: typical(etcd, |cell| cell.p99_ms),
        }
    }

    /// Returns the line that people read.
    pub fn text(&self, clients: usize) -> String {
        let mut text = String::new();
        let rate = &self.per_second;
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "  {clients:>4} clients  {:7.0}/s ours {:7.0}/s etcd  ratio {:5.2} ({:.2} to {:.2})  \
             server CPU {:4.0} / {:4.0} us  p50 {:6.2} / {:6.2} ms  p99 {:6.1} / {:6.1} ms",
            rate.ours,
            rate.etcd,
            rate.ratio,
            rate.spread[0],
            rate.spread[1],
            self.cpu_us_ours,
            self.cpu_us_etcd,
            self.p50_ms_ours,
            self.p50_ms_etcd,
            self.p99_ms_ours,
            self.p99_ms_etcd
        );
        text
    }
}

/// Measures both at one number of clients, in turn, `rounds` times.
pub async fn measure(
    ours: &mut impl System,
    etcd: &mut impl System,
    work: Work,
    clients: usize,
    rounds: usize,
    lasts: Duration,
) -> Result<Row> {
    let warm = lasts / 4;
    let (mut our_cells, mut their_cells) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        our_cells.push(run(ours, work, clients, warm, lasts).await?);
        their_cells.push(run(etcd, work, clients, warm, lasts).await?);
    }
    let errors: usize = our_cells.iter().chain(&their_cells).map(|cell| cell.errors).sum();
    ensure!(errors == 0, "{errors} requests failed at {clients} clients: figures would flatter");
    Ok(Row::of(&our_cells, &their_cells))
}
