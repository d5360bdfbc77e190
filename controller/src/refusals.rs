//! Records who was turned away before anybody decided on a request: at the handshake, at a door
//! for others, or with words that cannot be read.
//!
//! What people do wrong is recorded each time. Machines and strangers repeat themselves without
//! end, so of them the first try is recorded, and then once a minute how many there were: a log
//! that strangers can fill is no log.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::source::Source;

use crate::brain::Brain;
use crate::state::{Actor, Body};
use crate::submit::{Submission, submit};

/// Refusals that wait to be recorded; a commit takes milliseconds.
const WAITING_MAX: usize = 256;

/// Time for which one who repeats himself is only counted.
const QUIET: Duration = Duration::from_mins(1);

/// Repeaters that are told apart; beyond it they are forgotten, and recorded again.
const REPEATERS_MAX: usize = 1000;

/// Somebody was turned away.
#[derive(Debug)]
pub struct Refusal {
    /// Who, as far as that is known.
    pub actor: Actor,
    /// What was tried.
    pub action: String,
    /// On what.
    pub target: String,
    /// Why not.
    pub why: String,
    /// Whether it is only counted when it comes again soon.
    pub repeats: bool,
}

/// Takes refusals to be recorded; clones share one queue.
#[derive(Debug, Clone)]
pub struct Refusals {
    queue: mpsc::Sender<Refusal>,
    lost: Arc<AtomicU64>,
}

/// Refusals on their way to the log.
#[derive(Debug)]
pub struct Heard {
    queue: mpsc::Receiver<Refusal>,
    lost: Arc<AtomicU64>,
}

/// Returns where refusals are told, and where they are heard.
pub fn refusals() -> (Refusals, Heard) {
    let (tell, queue) = mpsc::channel(WAITING_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    (Refusals { queue: tell, lost: Arc::clone(&lost) }, Heard { queue, lost })
}

impl Refusals {
    /// Has a refusal recorded; where too many wait it is counted with the next one.
    pub fn tell(&self, refusal: Refusal) {
        if self.queue.try_send(refusal).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has it recorded that a connection was refused before anybody was known.
    pub fn connection(&self, from: SocketAddr, why: &str) {
        let actor = Actor {
            subject: "nobody".to_owned(),
            role: "none".to_owned(),
            // The port differs with each try.
            source: from.ip().to_string(),
            request_id: String::new(),
        };
        let (action, target) = ("connection.open".to_owned(), "listener".to_owned());
        self.tell(Refusal { actor, action, target, why: why.to_owned(), repeats: true });
    }
}

/// Who repeats himself, since when, and how often since.
#[derive(Debug, Default)]
struct Repeaters(HashMap<String, (Instant, u64)>);

impl Repeaters {
    /// Returns how many were left out since the last record, if this one is to be recorded.
    fn admit(&mut self, refusal: &Refusal, now: Instant) -> Option<u64> {
        if !refusal.repeats {
            return Some(0);
        }
        if self.0.len() >= REPEATERS_MAX {
            self.0.clear();
        }
        let Refusal { actor, action, target, .. } = refusal;
        // The port differs with each connection.
        let from = Source::of_peer(&actor.source).map(|source| source.to_string());
        let from = from.unwrap_or_else(|| actor.source.clone());
        let key = format!("{} {from} {action} {target}", actor.subject);
        match self.0.get_mut(&key) {
            Some((since, count)) if now.duration_since(*since) < QUIET => {
                *count += 1;
                None
            }
            _ => self.0.insert(key, (now, 0)).map_or(Some(0), |(_, count)| Some(count)),
        }
    }
}

/// Records refusals until told to stop.
pub async fn keep(brain: Arc<Brain>, mut heard: Heard, stop: CancellationToken) {
    let mut repeaters = Repeaters::default();
    loop {
        let refusal = tokio::select! {
            () = stop.cancelled() => return,
            refusal = heard.queue.recv() => refusal,
        };
        let Some(refusal) = refusal else { return };
        let Some(more) = repeaters.admit(&refusal, Instant::now()) else { continue };
        let more = more + heard.lost.swap(0, Ordering::Relaxed);
        let Refusal { actor, action, target, mut why, .. } = refusal;
        if more > 0 {
            why = format!("{why} (and {more} more since the last record)");
        }
        let body = Body::Refuse { action, target, problem: Problem::new(Code::Denied, why) };
        let record = Submission { actor, origin: None, body, dry_run: false };
        if let Err(problem) = submit(&brain, record).await {
            warn!(%problem, "a refusal could not be recorded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(source: &str, repeats: bool) -> Refusal {
        let actor = Actor {
            subject: "nobody".to_owned(),
            role: "none".to_owned(),
            source: source.to_owned(),
            request_id: String::new(),
        };
        let (action, target) = ("connection.open".to_owned(), "listener".to_owned());
        Refusal { actor, action, target, why: "no certificate".to_owned(), repeats }
    }

    #[test]
    fn people_are_recorded_each_time_and_strangers_once_a_minute_with_a_count() {
        let (mut repeaters, now) = (Repeaters::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(repeaters.admit(&refusal("10.0.0.1", false), now), Some(0));
        }
        assert_eq!(repeaters.admit(&refusal("10.0.0.1", true), now), Some(0));
        for _ in 0..5 {
            assert_eq!(repeaters.admit(&refusal("10.0.0.1", true), now), None);
        }
        assert_eq!(repeaters.admit(&refusal("10.0.0.2", true), now), Some(0));
        let later = now + QUIET;
        assert_eq!(repeaters.admit(&refusal("10.0.0.1", true), later), Some(5));
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let (tell, heard) = refusals();
        for _ in 0..WAITING_MAX + 7 {
            tell.tell(refusal("10.0.0.1", true));
        }
        assert_eq!(heard.lost.load(Ordering::Relaxed), 7);
    }
}
