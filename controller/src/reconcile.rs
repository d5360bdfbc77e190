//! The leader's loop: look at the whole, propose the next steps, wait for a change.
//!
//! It takes no input and remembers nothing, so one path serves normal work and recovery: a new
//! leader goes on from the replicated state alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use trireme_proto::time::FleetTime;

use crate::brain::{Brain, Waiting};
use crate::plan::{Decision, World, plan};
use crate::presence::Presence;
use crate::state::{Body, Outcome};
use crate::submit::{Submission, lead};
use crate::{alerting, checklists, gather, regroup};

/// The loop looks out at least this often, whatever it was told.
const TICK: Duration = Duration::from_secs(1);

/// Shortest time between two decisions: of a thousand commands a second few concern them.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// Pause after a proposal was refused, so that a disagreement between planner and ledger costs
/// some log lines and not a core.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

/// Follows this controller's leadership until cancelled.
pub async fn run(brain: Arc<Brain>, stop: CancellationToken) {
    let mut leadership = brain.raft.watch_leadership();
    loop {
        if let Some(term) = brain.leads() {
            let led = stop.child_token();
            let leading = lead_term(Arc::clone(&brain), term, led.clone());
            tokio::pin!(leading);
            loop {
                tokio::select! {
                    () = &mut leading => break,
                    changed = leadership.changed() => {
                        if changed.is_err() || brain.leads() != Some(term) {
                            led.cancel();
                            leading.await;
                            break;
                        }
                    }
                }
            }
            info!(term, "no longer leading");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = leadership.changed() => if changed.is_err() { return },
        }
    }
}

/// Leads for one term.
async fn lead_term(brain: Arc<Brain>, term: u64, stop: CancellationToken) {
    info!(term, "leading");
    brain.clock.at_least(brain.now());
    let since = brain.now();
    brain.presence(|presence| *presence = Presence { since, ..Presence::default() });
    let begun = Submission::by_controller(&brain, Body::Lead { controller: brain.name.clone() });
    if let Err(problem) = lead(&brain, begun).await {
        debug!(%problem, "the term ended before it began");
    }
    tokio::join!(
        gather::run(Arc::clone(&brain), term, stop.clone()),
        alerting::run(Arc::clone(&brain), term, stop.clone()),
        regroup::run(&brain, &stop),
        checklists::run(Arc::clone(&brain), stop.clone()),
        steps(&brain, term, &stop)
    );
    brain.waiting.send_replace(Waiting::new());
}

async fn steps(brain: &Arc<Brain>, term: u64, stop: &CancellationToken) {
    let mut applied = brain.raft.watch_applied();
    loop {
        applied.mark_unchanged();
        let now = brain.now();
        let began = Instant::now();
        let decision = decide(brain, term, now);
        let took = began.elapsed();
        brain.waiting.send_if_modified(|told| {
            let changed = *told != decision.waiting;
            told.clone_from(&decision.waiting);
            changed
        });
        let refused = propose(brain, decision.proposals, stop).await;
        if stop.is_cancelled() {
            return;
        }
        // A fourth of a core goes into deciding, however much is seen and applied meanwhile.
        let pause = if refused { REFUSED_PAUSE } else { (3 * took).clamp(PAUSE_MIN, TICK) };
        let wake = decision.wake_at.map_or(TICK, |at| at.since(now).to_duration()).min(TICK);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wake) => {}
            () = brain.noticed.notified() => {}
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}

fn decide(brain: &Brain, term: u64, now: FleetTime) -> Decision {
    // In place: a copy of what ten thousand nodes said costs more than deciding.
    brain.presence(|presence| brain.read(|fleet| plan(&World { fleet, presence, now, term })))
}

/// Proposes each step in order; returns whether one was refused.
async fn propose(brain: &Arc<Brain>, proposals: Vec<Body>, stop: &CancellationToken) -> bool {
    for body in proposals {
        let (verb, target) = body.describe();
        let submission = Submission::by_controller(brain, body);
        let answer = tokio::select! {
            () = stop.cancelled() => return true,
            answer = lead(brain, submission) => answer,
        };
        match answer {
            Ok(reply) => {
                if let Outcome::Refused(problem) = reply.outcome {
                    // The world moved between deciding and applying; the next look sees it.
                    warn!(verb, target, %problem, "refused by the ledger");
                    return true;
                }
                debug!(verb, target, index = reply.index, "applied");
            }
            Err(problem) => {
                debug!(verb, target, %problem, "not committed");
                return true;
            }
        }
    }
    false
}
