//! From SIGKILL of the leader to the next write that succeeds.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::load::Group;
use super::stats::Versus;
use super::writers::Writers;

/// Longest that one attempt waits: one that is stuck at a dead leader must not hide the next.
const ATTEMPT_MAX: Duration = Duration::from_millis(50);
/// Writes before the kill, so that every connection is warm.
const BEFORE: Duration = Duration::from_secs(1);
/// Longest wait for the next leader.
const NEXT_MAX: Duration = Duration::from_secs(20);
/// Rest of a group that has just taken a member back.
const REST: Duration = Duration::from_secs(1);

/// Kills the leader of each group in turn, `trials` times.
pub async fn measure(
    ours: &mut impl Group,
    etcd: &mut impl Group,
    trials: usize,
) -> Result<Versus> {
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for _ in 0..trials {
        our_times.push(once(ours).await?);
        their_times.push(once(etcd).await?);
    }
    println_trials("ours", &our_times);
    println_trials("etcd", &their_times);
    Ok(Versus::of(&our_times, &their_times))
}

async fn once(group: &mut impl Group) -> Result<f64> {
    group.find_leader().await?;
    let writers = Writers::start(group, ATTEMPT_MAX).await?;
    tokio::time::sleep(BEFORE).await;
    let killed = Instant::now();
    let member = group.kill_leader().await?;
    let next = writers.success_after(killed, NEXT_MAX).await?;
    writers.end().await?;
    group.bring_back(member).await?;
    tokio::time::sleep(REST).await;
    Ok((next - killed).as_secs_f64() * 1e3)
}

#[expect(clippy::print_stdout, reason = "every trial is a figure of its own")]
fn println_trials(who: &str, times: &[f64]) {
    let times: Vec<String> = times.iter().map(|ms| format!("{ms:.0}")).collect();
    println!("  {who}: {} ms", times.join(" "));
}
