//! Brings Raft's members to what the fleet's record says, as long as this controller leads; and
//! notices when it was itself removed.
//!
//! What comes next is decided in `plan/controllers.rs`, anew each time; what is done here is safe to
//! be repeated, and to be cut off.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::brain::Brain;
use crate::plan::controllers::{Next, next};
use crate::raft::{ChangeError, Group, Member};
use crate::state::controllers::{Newcomer, Step};
use crate::state::{Body, Outcome, Reply};
use crate::submit::{Submission, lead};

/// Time between two looks while something is under way: a newcomer copies meanwhile.
const BUSY: Duration = Duration::from_millis(100);

/// Time between two looks otherwise: as long as an operator may wait for the beginning.
const IDLE: Duration = Duration::from_millis(400);

/// Leads the group's changes until cancelled.
pub async fn run(brain: &Arc<Brain>, stop: &CancellationToken) {
    let mut said = String::new();
    loop {
        let seen = brain.raft.group();
        let (group, now) = (brain.seats(seen.clone()), brain.now());
        let step = brain.read(|fleet| next(fleet, &group, now));
        let busy = step != Next::Nothing;
        if let Next::Wait(why) = &step
            && *why != said
        {
            info!(waits_for = why, "the controllers change");
            said.clone_from(why);
        }
        if stop.run_until_cancelled(act(brain, step, seen)).await.is_none() {
            return;
        }
        let pause = if busy { BUSY } else { IDLE };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Does what comes next to the group that it was decided on; what fails is decided anew.
async fn act(brain: &Arc<Brain>, step: Next, seen: Group) {
    let (what, done) = match step {
        Next::Nothing | Next::Wait(_) => return,
        Next::Admit(newcomer) => {
            info!(controller = %newcomer.name, "copies the log from now on");
            ("a newcomer", brain.raft.admit(member(newcomer), &seen).await)
        }
        Next::VoteIn(voters) => {
            info!(?voters, "vote from now on");
            ("the voters", brain.raft.vote_in(voters, &seen).await)
        }
        Next::Dismiss(id) => {
            info!(raft_id = id, "is sent away");
            ("a former member", brain.raft.dismiss(id, &seen).await)
        }
        Next::HandOver(to) => {
            info!(to, "this controller is to leave and hands over the lead");
            if let Err(error) = brain.raft.transfer(to).await {
                warn!(%error, "the lead was not handed over");
            }
            return;
        }
        Next::Finish(number) => return record(brain, Step::Finish { number }).await,
        Next::GiveUp(number, why) => return record(brain, Step::GiveUp { number, why }).await,
    };
    match done {
        Ok(()) => {}
        Err(ChangeError::NotLeader { .. }) => debug!(what, "not changed: the lead has moved"),
        Err(error) => warn!(what, %error, "not changed"),
    }
}

fn member(newcomer: Newcomer) -> Member {
    let Newcomer { name, record, disk } = newcomer;
    Member {
        id: record.raft_id,
        name: name.to_string(),
        region: record.region.to_string(),
        addr: record.peer,
        api: record.address,
        disk,
    }
}

async fn record(brain: &Arc<Brain>, step: Step) {
    let body = Body::Regroup { step };
    match lead(brain, Submission::by_controller(brain, body)).await {
        Ok(Reply { outcome: Outcome::Refused(problem), .. }) => {
            warn!(%problem, "the end of a change of controllers is not recorded");
        }
        Ok(reply) => info!(index = reply.index, "a change of controllers has ended"),
        Err(problem) => debug!(%problem, "not committed"),
    }
}

/// Waits until this controller belongs to the fleet no more; returns why.
pub async fn removed(brain: &Brain) -> String {
    let own = brain.raft.identity().raft_id;
    let mut applied = brain.raft.watch_applied();
    let by_record = async {
        loop {
            applied.mark_unchanged();
            let found = brain.read(|fleet| Some(fleet.retired.get(&own)?.reason.clone()));
            if let Some(why) = found {
                return why;
            }
            if applied.changed().await.is_err() {
                return std::future::pending().await;
            }
            // Not at each command: there may be thousands in a second.
            tokio::time::sleep(BUSY).await;
        }
    };
    tokio::select! {
        why = by_record => why,
        () = brain.peers.shut_out() => "most other controllers deny it".to_owned(),
    }
}
