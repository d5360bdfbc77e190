//! Who may call what: decided from the verified certificate, the deny-list and the role.
//!
//! ```text
//!   agent certificate       Agent
//!   controller certificate  Raft, Peer
//!   user certificate        Operator: reading needs auditor or admin, changing needs admin
//! ```
//!
//! Everything else is denied.

use std::sync::Arc;

use tonic::{Extensions, Status};
use trireme_proto::identity::{Identity, Role};
use trireme_proto::problem::{Code, Problem};

use super::status::status;
use crate::accept::{Peer, peer_identity};
use crate::brain::Brain;
use crate::clock::wall;
use crate::state::{Actor, Body, Fleet};
use crate::submit::{Submission, submit};

/// Longest target of a refused request that is recorded, in characters; names are shorter.
const TARGET_MAX: usize = 200;

/// Returns an identity as the deny-list and the audit name it.
pub(super) fn subject(identity: &Identity) -> String {
    match identity {
        Identity::Agent { node, .. } => format!("agent/{node}"),
        Identity::Controller { controller, .. } => format!("controller/{controller}"),
        Identity::User { name, .. } => format!("user/{name}"),
    }
}

/// Returns the role of the caller for the audit.
fn role_of(peer: &Peer) -> String {
    match (&peer.identity, peer.role) {
        (_, Some(role)) => role.to_string(),
        (Identity::Agent { .. }, None) => "agent".to_owned(),
        (Identity::Controller { .. }, None) => "controller".to_owned(),
        (Identity::User { .. }, None) => "none".to_owned(),
    }
}

/// Returns who is recorded as acting.
pub(super) fn actor(peer: &Peer, request_id: &str) -> Actor {
    Actor {
        subject: subject(&peer.identity),
        role: role_of(peer),
        source: peer.addr.to_string(),
        // Ids come from callers: what is kept of them is short and printable.
        request_id: request_id.chars().filter(char::is_ascii_graphic).take(64).collect(),
    }
}

/// Returns why a caller may do nothing at all, if so.
pub fn is_denied(fleet: &Fleet, identity: &Identity) -> Option<String> {
    let subject = subject(identity);
    fleet.denied.get(&subject).map(|reason| format!("{subject} is denied: {reason}"))
}

/// Returns the caller, unless it is denied or its certificate has ended.
pub(super) fn caller(brain: &Brain, extensions: &Extensions) -> Result<Arc<Peer>, Status> {
    let peer = peer_identity(extensions)?;
    let denied = if peer.not_after < wall() {
        Some(format!("the certificate of {} ended at {}", peer.identity, peer.not_after))
    } else {
        brain.read(|fleet| is_denied(fleet, &peer.identity))
    };
    match denied {
        None => Ok(peer),
        Some(message) => Err(status(&Problem::new(Code::Denied, message))),
    }
}

/// What an operator's request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It looks.
    Read,
    /// It changes something.
    Change,
}

/// Returns whether a role may.
fn may(role: Role, access: Access) -> bool {
    match (role, access) {
        (Role::Admin, Access::Read | Access::Change) | (Role::Auditor, Access::Read) => true,
        (Role::Auditor, Access::Change) | (Role::Operator | Role::Developer, _) => false,
    }
}

/// Returns the person who calls, if they may; a refusal is recorded.
pub(super) async fn operator(
    brain: &Arc<Brain>,
    extensions: &Extensions,
    access: Access,
    verb: &str,
    target: &str,
) -> Result<Arc<Peer>, Status> {
    let peer = peer_identity(extensions)?;
    let refusal = match caller(brain, extensions).and_then(|peer| allowed(&peer, access, verb)) {
        Ok(()) => return Ok(peer),
        Err(refusal) => refusal,
    };
    let problem = Problem::new(Code::Denied, refusal.message());
    // Whoever is refused chose these words: what is kept of them is short and printable.
    let target = target.chars().filter(|c| !c.is_control()).take(TARGET_MAX).collect();
    let body = Body::Refuse { action: verb.to_owned(), target, problem };
    let actor = actor(&peer, "");
    let record = Submission { actor, origin: None, body, dry_run: false };
    if let Err(problem) = submit(brain, record).await {
        tracing::warn!(%problem, verb, peer = %peer.identity, "a refusal could not be recorded");
    }
    Err(refusal)
}

fn allowed(peer: &Peer, access: Access, verb: &str) -> Result<(), Status> {
    let (name, role) = peer.user()?;
    if may(role, access) {
        return Ok(());
    }
    let needed = match access {
        Access::Read => "admin or auditor",
        Access::Change => "admin",
    };
    let problem = Problem::new(Code::Denied, format!("user {name} as {role} may not {verb}"))
        .because(format!("{verb} needs the role {needed}"))
        .hint("use another context: trictl --context NAME");
    Err(status(&problem))
}
