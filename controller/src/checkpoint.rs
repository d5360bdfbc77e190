//! Signs the end of the audit now and then, so that nobody can shorten it or write it anew unseen.
//!
//! Each controller signs what it has applied itself. What is signed stays on its disk, and is there
//! to be taken elsewhere: a witness in the same place proves little.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;
use trireme_proto::audit::Checkpoint;

use crate::audit::AuditReader;
use crate::brain::Brain;
use crate::clock::wall;
use crate::machine::chain;
use crate::pki::Authority;

/// Time between two checkpoints, while anything is added.
const EVERY: Duration = Duration::from_mins(1);

/// Returns a reader of this controller's audit.
pub fn reader(brain: &Brain) -> AuditReader {
    let machine = brain.raft.machine();
    let machine = machine.read().unwrap_or_else(PoisonError::into_inner);
    machine.audit()
}

/// Signs the audit as it is here now, and keeps that; `None` while there is nothing to sign.
pub fn sign(brain: &Brain, authority: &Authority) -> Option<Checkpoint> {
    let head = brain.read(|fleet| fleet.audit.clone());
    if head.seq == 0 {
        return None;
    }
    let checkpoint = Checkpoint::sign(authority.credentials(), head.seq, &head.hash, wall())?;
    if let Err(error) = reader(brain).keep(&checkpoint) {
        warn!(error = chain(&error), "a checkpoint of the audit was not kept");
    }
    Some(checkpoint)
}

/// Signs whenever something was added, until told to stop.
pub async fn keep(brain: Arc<Brain>, authority: Arc<Authority>, stop: CancellationToken) {
    let mut signed = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if brain.read(|fleet| fleet.audit.seq) > signed {
            signed = sign(&brain, &authority).map_or(signed, |checkpoint| checkpoint.size);
        }
    }
}
