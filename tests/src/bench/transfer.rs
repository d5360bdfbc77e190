//! The lead is handed over while clients write: how long nobody's write succeeds, and whether any
//! fails.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::load::Group;
use super::stats::Versus;
use super::writers::{Writers, longest_gap};

/// Longest that one attempt waits; a hand-over that takes longer has failed it.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);
/// Writes before the hand-over, so that every connection is warm.
const BEFORE: Duration = Duration::from_secs(1);
/// Writes after it.
const AFTER: Duration = Duration::from_secs(1);

/// What hand-overs cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gaps {
    /// Longest time without a successful write, in milliseconds.
    #[serde(flatten)]
    pub gap: Versus,
    /// The longest of ours.
    pub worst_ours: f64,
    /// Writes of ours that failed.
    pub failed_ours: usize,
    /// Writes of etcd that failed.
    pub failed_etcd: usize,
}

/// Hands the lead of each group over in turn, `trials` times.
pub async fn measure(ours: &mut impl Group, etcd: &mut impl Group, trials: usize) -> Result<Gaps> {
    let (mut our_gaps, mut their_gaps) = (Vec::new(), Vec::new());
    let (mut failed_ours, mut failed_etcd) = (0, 0);
    for _ in 0..trials {
        let (gap, failed) = once(ours).await?;
        our_gaps.push(gap);
        failed_ours += failed;
        let (gap, failed) = once(etcd).await?;
        their_gaps.push(gap);
        failed_etcd += failed;
    }
    let worst_ours = our_gaps.iter().copied().fold(0.0, f64::max);
    Ok(Gaps { gap: Versus::of(&our_gaps, &their_gaps), worst_ours, failed_ours, failed_etcd })
}

async fn once(group: &mut impl Group) -> Result<(f64, usize)> {
    group.find_leader().await?;
    let writers = Writers::start(group, ATTEMPT_MAX).await?;
    tokio::time::sleep(BEFORE).await;
    let from = Instant::now();
    group.transfer().await?;
    tokio::time::sleep(AFTER).await;
    let to = Instant::now();
    let attempts = writers.end().await?;
    let failed = attempts.iter().filter(|attempt| !attempt.good).count();
    Ok((longest_gap(&attempts, from, to).as_secs_f64() * 1e3, failed))
}
