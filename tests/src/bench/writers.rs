//! One writer at each member, an attempt every few milliseconds, and when they succeeded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::load::{Client, System};

/// Pause between two attempts of one writer.
const PAUSE: Duration = Duration::from_millis(5);

/// Members, each with a writer.
const WRITERS: usize = 3;

/// An attempt that was made.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// When it was made.
    pub began: Instant,
    /// When it was answered.
    pub ended: Instant,
    /// Whether it was committed.
    pub good: bool,
}

/// Writers at work.
#[derive(Debug)]
pub struct Writers {
    tasks: JoinSet<()>,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    ending: Arc<AtomicBool>,
}

impl Writers {
    /// Starts them; an attempt is given up after `limit`.
    pub async fn start<S: System>(system: &S, limit: Duration) -> Result<Self> {
        let attempts: Arc<Mutex<Vec<Attempt>>> = Arc::default();
        let ending = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS {
            let mut client = system.connect(number).await?;
            let (attempts, ending) = (Arc::clone(&attempts), Arc::clone(&ending));
            tasks.spawn(async move {
                let mut number = 0;
                while !ending.load(Ordering::Relaxed) {
                    number += 1;
                    let began = Instant::now();
                    let done = tokio::time::timeout(limit, client.write(number)).await;
                    let good = matches!(done, Ok(Ok(())));
                    let attempt = Attempt { began, ended: Instant::now(), good };
                    attempts.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Ok(Self { tasks, attempts, ending })
    }

    /// Waits until a write that was begun after `moment` has succeeded, at most `limit`; returns
    /// when that was.
    pub async fn success_after(&self, moment: Instant, limit: Duration) -> Result<Instant> {
        let until = Instant::now() + limit;
        loop {
            let known = self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let good = known.iter().filter(|attempt| attempt.good && attempt.began >= moment);
            if let Some(first) = good.map(|attempt| attempt.ended).min() {
                return Ok(first);
            }
            anyhow::ensure!(Instant::now() < until, "no write has succeeded for {limit:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends them and returns every attempt.
    pub async fn end(mut self) -> Result<Vec<Attempt>> {
        self.ending.store(true, Ordering::Relaxed);
        while let Some(done) = self.tasks.join_next().await {
            done.context("a writer has panicked")?;
        }
        Ok(self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Returns the longest time without a successful write between `from` and `to`.
pub fn longest_gap(attempts: &[Attempt], from: Instant, to: Instant) -> Duration {
    let within = |ended: &Instant| (from..=to).contains(ended);
    let good = attempts.iter().filter(|attempt| attempt.good).map(|attempt| attempt.ended);
    let mut moments: Vec<Instant> = good.filter(within).collect();
    moments.push(to);
    moments.sort_unstable();
    let mut last = from;
    let gaps = moments.into_iter().map(|moment| moment - std::mem::replace(&mut last, moment));
    gaps.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_between_successes_and_failures_do_not_end_it() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let attempt = |ms, good| Attempt { began: at(ms), ended: at(ms), good };
        let attempts = [attempt(10, true), attempt(20, false), attempt(50, true)];
        let gap = longest_gap(&attempts, at(0), at(60));
        assert_eq!(gap, Duration::from_millis(40));
        assert_eq!(longest_gap(&attempts, at(0), at(200)), Duration::from_millis(150));
    }
}
