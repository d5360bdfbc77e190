//! The leader asks every controller what it sees; each answer counts from when it was asked.
//!
//! The question also carries what followers need: the leader's term, its fleet time, and what its
//! upgrades wait for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use trireme_proto::id::ControllerId;
use trireme_proto::time::WallTime;
use trireme_proto::wire::DigestRequest;

use crate::brain::Brain;
use crate::sessions::Point;

/// Time between two questions while nothing is under way.
const IDLE: Duration = Duration::from_secs(1);

/// Time between two questions while an upgrade is under way or asked for: part of what an upgrade
/// costs beyond what its manifest demands.
const BUSY: Duration = Duration::from_millis(50);

/// Asks until cancelled; for as long as this controller leads.
pub async fn run(brain: Arc<Brain>, term: u64, stop: CancellationToken) {
    let mut asking = JoinSet::new();
    asking.spawn(ask_forever(Arc::clone(&brain), term, None, stop.clone()));
    let mut asked: BTreeMap<ControllerId, CancellationToken> = BTreeMap::new();
    let mut changes = brain.peers.changes();
    loop {
        changes.mark_unchanged();
        let names = brain.peers.names();
        brain.forget_others(&names);
        asked.retain(|name, asking| {
            let stays = names.contains(name);
            if !stays {
                asking.cancel();
            }
            stays
        });
        for name in names {
            asked.entry(name.clone()).or_insert_with(|| {
                let until = stop.child_token();
                let forever = ask_forever(Arc::clone(&brain), term, Some(name), until.clone());
                asking.spawn(forever);
                until
            });
        }
        while asking.try_join_next().is_some() {}
        if stop.run_until_cancelled(changes.changed()).await.is_none_or(|told| told.is_err()) {
            break;
        }
    }
    while asking.join_next().await.is_some() {}
}

async fn ask_forever(
    brain: Arc<Brain>,
    term: u64,
    peer: Option<ControllerId>,
    stop: CancellationToken,
) {
    // Only what is new is told: all of ten thousand nodes, twenty times a second, is not.
    let mut known = Point::default();
    loop {
        known = match &peer {
            Some(peer) => ask(&brain, term, peer, known).await,
            None => look_here(&brain, known),
        };
        let mut changes = brain.sessions.changes();
        changes.mark_unchanged();
        tokio::select! {
            () = stop.cancelled() => return,
            () = pause(&brain) => {}
            // What agents connected here say needs no waiting for.
            Ok(()) = changes.changed(), if peer.is_none() => {}
        }
    }
}

/// Waits until it is time to ask again: an upgrade that begins meanwhile does not wait for it.
async fn pause(brain: &Brain) {
    let under_way = || brain.read(|fleet| fleet.upgrades.values().any(|u| !u.phase.is_final()));
    let mut hurry = brain.hurry.subscribe();
    let began = Instant::now();
    // Not at each command: most begin nothing, and there may be thousands in a second.
    while began.elapsed() < IDLE {
        let hurried = hurry.wait_for(|waiting| *waiting > 0);
        if tokio::time::timeout(BUSY, hurried).await.is_ok() {
            return tokio::time::sleep(BUSY).await;
        }
        if under_way() {
            return;
        }
    }
}

/// Asks what was heard after `known`; returns where to go on from.
async fn ask(brain: &Brain, term: u64, peer: &ControllerId, known: Point) -> Point {
    let asked = brain.now();
    let waiting = brain.waiting.borrow().clone();
    let request = DigestRequest {
        nonce: asked.0,
        term,
        leader: brain.name.to_string(),
        fleet_time: asked.0,
        waiting: serde_json::to_vec(&waiting).unwrap_or_default().into(),
        since: known.count,
        run: known.run,
    };
    match brain.peers.digest(peer, request).await {
        Ok(reply) if reply.nonce == asked.0 => {
            brain.compare_clock(peer, WallTime(reply.wall_ms));
            match serde_json::from_slice(&reply.nodes) {
                Ok(nodes) => {
                    brain.presence(|presence| presence.hear(asked, peer, reply.applied, nodes));
                    brain.noticed.notify_one();
                    return Point { run: reply.run, count: reply.until };
                }
                Err(error) => debug!(%peer, %error, "a digest cannot be read"),
            }
        }
        Ok(_) => debug!(%peer, "a digest answers another question"),
        Err(problem) => debug!(%peer, %problem, "no digest"),
    }
    known
}

fn look_here(brain: &Brain, known: Point) -> Point {
    let asked = brain.now();
    let applied = brain.routed_to();
    let digest = brain.sessions.digest(known);
    brain.presence(|presence| presence.hear(asked, &brain.name, applied, digest.nodes));
    brain.noticed.notify_one();
    digest.until
}
