//! Who may call what: the verified certificate says who asks, the fleet's record what they may.
//!
//! ```text
//!   agent certificate       Agent
//!   controller certificate  Raft, Peer, Relay
//!   user certificate        everything else: the matrix of proto/src/access.rs
//! ```
//!
//! Everything else is denied. It is decided before a word of the request is believed, by the
//! controller that was asked, and the role that counted is recorded with the command. Every
//! refusal is recorded too.

use std::sync::Arc;

use tonic::{Extensions, Status};
use trireme_proto::access::{Reach, Verb};
use trireme_proto::identity::{Identity, Role};
use trireme_proto::problem::{Code, Problem};

use super::gate;
use super::status::status;
use crate::accept::{Peer, peer_identity};
use crate::brain::Brain;
use crate::clock::wall;
use crate::state::{Actor, Body, Fleet, people};
use crate::submit::{Submission, submit};
use crate::telemetry::access::effective_id;
use crate::uses::{self, Use};

/// Longest target of a refused request that is recorded, in characters; names are shorter.
const TARGET_MAX: usize = 200;

/// Returns an identity as the deny-list and the audit name it.
pub fn subject(identity: &Identity) -> String {
    match identity {
        Identity::Agent { node, .. } => format!("agent/{node}"),
        Identity::Controller { controller, .. } => format!("controller/{controller}"),
        Identity::User { name, .. } => format!("user/{name}"),
    }
}

/// Returns the role in a caller's certificate, or which kind of machine it is; for logs alone.
pub fn role_of(peer: &Peer) -> &'static str {
    peer.role.map_or(peer.identity.kind(), Role::as_str)
}

/// Returns who is recorded as acting in `role`.
fn actor_as(peer: &Peer, role: String, request_id: &str) -> Actor {
    Actor {
        subject: subject(&peer.identity),
        role,
        source: peer.addr.to_string(),
        request_id: effective_id(request_id),
    }
}

/// Returns who is recorded as acting, where no role is needed or none counts.
pub(super) fn actor(peer: &Peer, request_id: &str) -> Actor {
    let role = match &peer.identity {
        Identity::User { .. } => "none",
        machine => machine.kind(),
    };
    actor_as(peer, role.to_owned(), request_id)
}

/// A person who may do what they ask for.
#[derive(Debug, Clone)]
pub(super) struct Allowed {
    peer: Arc<Peer>,
    role: Role,
}

impl Allowed {
    /// Returns who is recorded as acting.
    pub(super) fn actor(&self, request_id: &str) -> Actor {
        actor_as(&self.peer, self.role.to_string(), request_id)
    }
}

/// Returns why a caller may do nothing at all, if so.
pub fn is_denied(fleet: &Fleet, peer: &Peer) -> Option<String> {
    is_listed(fleet, peer).or_else(|| {
        let person = peer.person().ok()?;
        people::standing(fleet, &person).err().map(|problem| problem.message)
    })
}

/// Returns why a caller is on the deny-list, if it is.
fn is_listed(fleet: &Fleet, peer: &Peer) -> Option<String> {
    let subject = subject(&peer.identity);
    fleet.denied.get(&subject).map(|reason| format!("{subject} is denied: {reason}"))
}

/// Returns the caller, unless it is denied or its certificate has ended.
pub(super) fn caller(brain: &Brain, extensions: &Extensions) -> Result<Arc<Peer>, Status> {
    let peer = peer_identity(extensions)?;
    match ended(&peer).or_else(|| brain.read(|fleet| is_denied(fleet, &peer))) {
        None => Ok(peer),
        Some(message) => Err(status(&Problem::new(Code::Denied, message))),
    }
}

/// Returns that a certificate has ended, if so: the handshake looked only once.
fn ended(peer: &Peer) -> Option<String> {
    (peer.not_after < wall())
        .then(|| format!("the certificate of {} ended at {}", peer.identity, peer.not_after))
}

/// Returns the person who calls, if they may do `verb` where it works; a refusal is recorded.
pub(super) async fn operator(
    brain: &Arc<Brain>,
    extensions: &Extensions,
    verb: Verb,
    target: &str,
    reach: impl FnOnce(&Fleet) -> Reach,
) -> Result<Allowed, Status> {
    gate::judged(extensions);
    let peer = peer_identity(extensions)?;
    let problem = match decide(brain, &peer, verb, reach) {
        Ok(role) => {
            let allowed = Allowed { peer, role };
            note_use(brain, &allowed);
            return Ok(allowed);
        }
        Err(problem) => problem,
    };
    // Whoever is refused chose these words: what is kept of them is short and printable.
    let target = target.chars().filter(|c| !c.is_control()).take(TARGET_MAX).collect();
    let action = verb.as_str().to_owned();
    let body = Body::Refuse { action, target, problem: problem.clone() };
    let record = Submission { actor: actor(&peer, ""), origin: None, body, dry_run: false };
    if let Err(problem) = submit(brain, record).await {
        tracing::warn!(%problem, %verb, peer = %peer.identity, "a refusal could not be recorded");
    }
    Err(status(&problem))
}

/// Has it noted that somebody asks, if that was not noted for a while.
fn note_use(brain: &Brain, allowed: &Allowed) {
    let Identity::User { name, .. } = &allowed.peer.identity else { return };
    if brain.read(|fleet| uses::is_due(fleet, name, wall())) {
        let look = Use { name: name.clone(), actor: allowed.actor("") };
        // Where there is no room others are noted, and this one with the next look.
        let _crowded = brain.uses.try_send(look).is_err();
    }
}

/// Decides by the fleet's record, and by nothing that the request says of its sender.
fn decide(
    brain: &Brain,
    peer: &Peer,
    verb: Verb,
    reach: impl FnOnce(&Fleet) -> Reach,
) -> Result<Role, Problem> {
    let denied = |message: String| Problem::new(Code::Denied, message);
    if let Some(message) = ended(peer) {
        return Err(denied(message));
    }
    let person = peer.person().map_err(|status| denied(status.message().to_owned()))?;
    brain.read(|fleet| match is_listed(fleet, peer) {
        Some(message) => Err(denied(message)),
        None => people::judge(fleet, &person, verb, &reach(fleet)),
    })
}
