//! Which offers are taken: the accept rules of the delivery protocol (DESIGN rules 12 and 13).
//!
//! Judging changes nothing. An offer not taken leaves no trace but a line in the log; the
//! controllers offer again.

use trireme_proto::action::{Action, ActionKind, Fence};
use trireme_proto::digest::Digest;
use trireme_proto::id::NodeId;

use super::state::{Current, Direction, State};

/// Oldest nonce an offer may echo, in milliseconds: it bounds how stale the offering
/// controller's view of this node can be.
pub const NONCE_AGE_MAX: u64 = 5_000;

/// Why an offer was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The echoed nonce is none of the last ones sent.
    #[error("offer echoes no nonce of this agent")]
    NonceUnknown,
    /// The controller has not heard from this agent lately.
    #[error("offer echoes a nonce that is {age_ms} ms old; at most {NONCE_AGE_MAX} are taken")]
    NonceOld {
        /// Age of the nonce.
        age_ms: u64,
    },
    /// It is meant for somebody else.
    #[error("action is meant for node {0}")]
    ForeignNode(NodeId),
    /// A newer action was accepted or waits.
    #[error("generation {generation} is older than {newest}")]
    Stale {
        /// Of the offer.
        generation: u64,
        /// Of the newest action held here.
        newest: u64,
    },
    /// Two different actions carry the same fencing token.
    #[error("CONFLICT: offered action {offered} has the fence of {held}, which is another action")]
    Conflict {
        /// Digest of the offer.
        offered: Digest,
        /// Digest of what was accepted.
        held: Digest,
    },
    /// The controllers were recovered by hand, and no operator's signature says so here.
    #[error(
        "recovery epoch {offered} is ahead of {held}: the recovery must be confirmed to this \
         node by an operator's signed statement"
    )]
    EpochAhead {
        /// Of the offer.
        offered: u64,
        /// Of this agent.
        held: u64,
    },
    /// Another one runs and yet another waits.
    #[error("busy: one action runs and one waits")]
    Busy,
}

/// What to do with an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is newer than all that is held.
    Take,
    /// It was accepted before: say again what became of it.
    Repeat,
    /// It waits already.
    Waits,
    /// Nothing is done.
    Ignore(Refusal),
}

/// Judges one offer against what is held.
pub(super) fn judge(
    node: &NodeId,
    state: &State,
    pending: Option<&Action>,
    offer: &Action,
    nonce_age: Option<u64>,
) -> Verdict {
    let Some(age_ms) = nonce_age else { return Verdict::Ignore(Refusal::NonceUnknown) };
    if age_ms > NONCE_AGE_MAX {
        return Verdict::Ignore(Refusal::NonceOld { age_ms });
    }
    if offer.node != *node {
        return Verdict::Ignore(Refusal::ForeignNode(offer.node.clone()));
    }
    if let Some(last) = &state.last
        && let Some(verdict) = against(last.fence, last.hash, offer, Verdict::Repeat)
    {
        return verdict;
    }
    if let Some(pending) = pending
        && let Some(verdict) = against(pending.fence, pending.hash(), offer, Verdict::Waits)
    {
        return verdict;
    }
    match &state.last {
        Some(last) if offer.fence.epoch > last.fence.epoch => {
            let (offered, held) = (offer.fence.epoch, last.fence.epoch);
            Verdict::Ignore(Refusal::EpochAhead { offered, held })
        }
        Some(_) | None => Verdict::Take,
    }
}

/// Compares an offer with one action held; `None` if it is newer.
fn against(held: Fence, hash: Digest, offer: &Action, same: Verdict) -> Option<Verdict> {
    match offer.fence.order().cmp(&held.order()) {
        std::cmp::Ordering::Greater => None,
        std::cmp::Ordering::Less => Some(Verdict::Ignore(Refusal::Stale {
            generation: offer.fence.generation,
            newest: held.generation,
        })),
        std::cmp::Ordering::Equal if offer.hash() == hash => Some(same),
        std::cmp::Ordering::Equal => {
            Some(Verdict::Ignore(Refusal::Conflict { offered: offer.hash(), held: hash }))
        }
    }
}

/// What a newer action means for the one that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// It waits until that has ended by itself.
    Waits,
    /// That is ended as if its step had failed, undone if need be; then the newer one begins.
    Ends,
    /// That is cut off at its next safe point; the newer one puts things right.
    TakesOver,
}

/// Returns what `newer` means for `current`.
pub(super) fn relation(current: &Current, newer: &Action) -> Relation {
    let same_service = current.action.service == newer.service;
    match (&newer.kind, &current.action.kind) {
        // A download must not hold up what gives capacity back, whichever service that is.
        (ActionKind::Revert { .. }, ActionKind::Stage { .. }) => Relation::Ends,
        (
            ActionKind::Revert { .. },
            ActionKind::Switch(_) | ActionKind::Halt(_) | ActionKind::Revert { .. },
        ) if same_service => {
            if current.touched() || current.restores() {
                Relation::TakesOver
            } else {
                Relation::Ends
            }
        }
        (ActionKind::Switch(_), ActionKind::Stage { .. } | ActionKind::Switch(_))
            if same_service && current.direction == Direction::Forward =>
        {
            Relation::Ends
        }
        (
            ActionKind::Stage { .. }
            | ActionKind::Switch(_)
            | ActionKind::Halt(_)
            | ActionKind::Revert { .. }
            | ActionKind::Confirm { .. },
            _,
        ) => Relation::Waits,
    }
}
