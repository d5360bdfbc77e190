//! Who is calling, as each request carries it.
//!
//! The handshake verified the certificate and the accept loop read it, once per connection. A
//! request whose connection went another way carries no [`Caller`], and one that came through the
//! join listener carries no [`Peer`]: both are refused, so that a mistake in wiring closes doors
//! instead of opening them. Whether the caller is denied or allowed is decided elsewhere, per
//! request.

use std::net::SocketAddr;
use std::sync::Arc;

use tonic::{Extensions, Status};
use trireme_proto::digest::Digest;
use trireme_proto::id::{ControllerId, NodeId, RegionId};
use trireme_proto::identity::{Identity, Role, Verified};
use trireme_proto::time::WallTime;

use crate::state::people::Person;

/// The holder of a verified certificate, and where the connection comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub identity: Identity,
    /// Role in a person's certificate; never there for a machine. What they may do is the fleet's
    /// own record, unless the root has signed.
    pub role: Option<Role>,
    /// Whether the fleet's root itself has signed the certificate, and no controller.
    pub rooted: bool,
    /// Serial number of the certificate.
    pub serial: String,
    /// When the certificate ends; a connection may outlive it, so look before trusting.
    pub not_after: WallTime,
    /// Digest of the certificate.
    pub fingerprint: Digest,
    /// Address at the other end.
    pub addr: SocketAddr,
}

impl Peer {
    /// Joins what the certificate says with where it came from; `roots` are the fleet's, by name.
    pub fn new(verified: Verified, addr: SocketAddr, roots: &[String]) -> Self {
        let Verified { identity, role, issuer, serial, not_after, fingerprint, .. } = verified;
        let rooted = roots.contains(&issuer);
        Self { identity, role, rooted, serial, not_after, fingerprint, addr }
    }

    /// Returns region and node of an agent; anybody else is refused.
    pub fn agent(&self) -> Result<(&RegionId, &NodeId), Status> {
        match &self.identity {
            Identity::Agent { region, node, .. } => Ok((region, node)),
            _ => Err(self.refused("an agent")),
        }
    }

    /// Returns region and name of a controller; anybody else is refused.
    pub fn controller(&self) -> Result<(&RegionId, &ControllerId), Status> {
        match &self.identity {
            Identity::Controller { region, controller, .. } => Ok((region, controller)),
            _ => Err(self.refused("a controller")),
        }
    }

    /// Returns who asks, if it is a person; anybody else is refused.
    pub fn person(&self) -> Result<Person, Status> {
        match (&self.identity, self.role) {
            (Identity::User { name, .. }, Some(role)) => Ok(Person {
                name: name.clone(),
                serial: self.serial.clone(),
                rooted: self.rooted.then_some(role),
                source: self.addr.ip().into(),
            }),
            _ => Err(self.refused("a user")),
        }
    }

    fn refused(&self, needed: &str) -> Status {
        let identity = &self.identity;
        Status::permission_denied(format!("only {needed} may call this, not {identity}"))
    }
}

/// What every connection tells the requests that come through it.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Address at the other end.
    pub addr: SocketAddr,
    /// Who it is; nobody yet on the join listener.
    pub peer: Option<Arc<Peer>>,
}

/// Returns who sent the request with these extensions.
pub fn peer_identity(extensions: &Extensions) -> Result<Arc<Peer>, Status> {
    extensions
        .get::<Caller>()
        .and_then(|caller| caller.peer.clone())
        .ok_or_else(|| Status::unauthenticated("no client certificate: this needs mutual TLS"))
}

/// Returns where the request with these extensions came from, known or unknown.
pub fn caller_addr(extensions: &Extensions) -> Result<SocketAddr, Status> {
    extensions
        .get::<Caller>()
        .map(|caller| caller.addr)
        .ok_or_else(|| Status::unauthenticated("connection of unknown origin"))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn peer(identity: &str, role: Option<Role>) -> Peer {
        Peer {
            identity: identity.parse().unwrap(),
            role,
            rooted: false,
            serial: "01".to_owned(),
            not_after: WallTime(0),
            fingerprint: Digest::of(b""),
            addr: SocketAddr::from(([127, 0, 0, 1], 1)),
        }
    }

    #[test]
    fn a_request_without_a_certificate_is_nobodys() {
        let mut extensions = Extensions::new();
        assert_eq!(peer_identity(&extensions).unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(caller_addr(&extensions).unwrap_err().code(), Code::Unauthenticated);
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        extensions.insert(Caller { addr, peer: None });
        assert_eq!(peer_identity(&extensions).unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(caller_addr(&extensions).unwrap(), addr);
    }

    #[test]
    fn each_kind_passes_only_at_its_own_door() {
        let agent = peer("spiffe://f/region/r/agent/n", None);
        let controller = peer("spiffe://f/region/r/controller/c", None);
        let user = peer("spiffe://f/user/u", Some(Role::Auditor));
        let passes = |peer: &Peer| {
            let verdicts =
                [peer.agent().map(drop), peer.controller().map(drop), peer.person().map(drop)];
            verdicts.map(|verdict| match verdict {
                Ok(()) => true,
                Err(status) => {
                    assert_eq!(status.code(), Code::PermissionDenied);
                    false
                }
            })
        };
        assert_eq!(passes(&agent), [true, false, false]);
        assert_eq!(passes(&controller), [false, true, false]);
        assert_eq!(passes(&user), [false, false, true]);
        assert_eq!(passes(&peer("spiffe://f/user/u", None)), [false, false, false]);
    }
}
