//! Who is at the other end: read from a verified certificate, and from nothing else.
//!
//! A leaf names its holder in exactly one SPIFFE URI:
//!
//! ```text
//! spiffe://<fleet>/region/<region>/agent/<node>
//! spiffe://<fleet>/region/<region>/controller/<controller>
//! spiffe://<fleet>/user/<name>
//! ```
//!
//! A person's role is the one organisation (`O`) of the subject, beside the name in `CN`: every
//! tool prints it, and nobody but the issuer writes it, since of a request only the public key
//! is used. Agents and controllers have no `O`; any other shape is refused, never guessed at.
//! This module does not verify signatures: that is the handshake's part ([`crate::tls`]).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::digest::Digest;
use crate::id::{ControllerId, NodeId, RegionId};
use crate::time::WallTime;

/// Longest fleet or user name.
pub const DOTTED_LEN_MAX: usize = 64;

/// Longest URI that can be an identity; longer text is refused unread.
const URI_LEN_MAX: usize = 256;

/// Tells why a text is not an identity, or a certificate not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The text has not one of the three shapes.
    #[error("`{0}` is not an identity: expected spiffe://<fleet>/user/<name> or .../region/...")]
    Malformed(String),
    /// A fleet or user name breaks the grammar.
    #[error(
        "{kind} name `{value}` is not valid: use up to {DOTTED_LEN_MAX} of a-z, 0-9, - and ., \
         each part between dots starting and ending with a letter or digit"
    )]
    Name {
        /// Which name it is.
        kind: &'static str,
        /// What was given.
        value: String,
    },
    /// The role is none of the four.
    #[error("role `{0}` is not one of admin, operator, developer, auditor")]
    Role(String),
    /// The bytes are not one X.509 certificate.
    #[error("certificate is not valid DER")]
    Certificate,
    /// The certificate may sign others, so it is not a leaf.
    #[error("certificate of an authority cannot identify a peer")]
    Authority,
    /// The certificate carries none or several URIs.
    #[error("certificate carries {0} identities instead of one")]
    Identities(usize),
    /// A person without exactly one role, or a machine with one.
    #[error("certificate of {identity} carries {roles} roles instead of {expected}")]
    Roles {
        /// Whose certificate it is.
        identity: String,
        /// How many `O` the subject has.
        roles: usize,
        /// How many it must have.
        expected: usize,
    },
}

/// Returns whether `text` is a sequence of DNS labels joined by dots.
fn is_dotted(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |part: &str| {
        let bytes = part.as_bytes();
        bytes.len() <= crate::id::NAME_LEN_MAX
            && bytes.first().is_some_and(|&b| edge(b))
            && bytes.last().is_some_and(|&b| edge(b))
            && bytes.iter().all(|&b| edge(b) || b == b'-')
    };
    text.len() <= DOTTED_LEN_MAX && text.split('.').all(label)
}

macro_rules! dotted_names {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdentityError;
            fn from_str(text: &str) -> Result<Self, IdentityError> {
                if is_dotted(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdentityError::Name { kind: $kind, value: text.to_owned() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdentityError;
            fn try_from(text: String) -> Result<Self, IdentityError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}

dotted_names! {
    /// Names a fleet: the trust domain of its identities and the end of its DNS names.
    FleetName = "fleet";
    /// Names a person, such as `jane.doe`.
    UserName = "user";
}

/// What a person may do; the matrix itself is the controller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, tokens and overrides included.
    Admin,
    /// Runs upgrades, drills and drains.
    Operator,
    /// Releases own services.
    Developer,
    /// Reads everything, changes nothing.
    Auditor,
}

impl Role {
    /// Every role there is.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Operator, Self::Developer, Self::Auditor];

    /// Returns the role's one spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Developer => "developer",
            Self::Auditor => "auditor",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = IdentityError;
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| IdentityError::Role(text.to_owned()))
    }
}

/// The holder of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Identity {
    /// The agent of one node.
    Agent {
        /// Its fleet.
        fleet: FleetName,
        /// The region it was admitted to.
        region: RegionId,
        /// Its node.
        node: NodeId,
    },
    /// One controller.
    Controller {
        /// Its fleet.
        fleet: FleetName,
        /// The region it stands in.
        region: RegionId,
        /// Its name.
        controller: ControllerId,
    },
    /// A person.
    User {
        /// Their fleet.
        fleet: FleetName,
        /// Their name.
        name: UserName,
    },
}

impl Identity {
    /// Returns the fleet that this identity belongs to.
    pub const fn fleet(&self) -> &FleetName {
        match self {
            Self::Agent { fleet, .. }
            | Self::Controller { fleet, .. }
            | Self::User { fleet, .. } => fleet,
        }
    }

    /// Returns the kind in one word: `agent`, `controller` or `user`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Agent { .. } => "agent",
            Self::Controller { .. } => "controller",
            Self::User { .. } => "user",
        }
    }

    /// Reads the holder of a leaf whose chain has been verified already.
    pub fn from_certificate(der: &[u8]) -> Result<Verified, IdentityError> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| IdentityError::Certificate)?;
        if !rest.is_empty() {
            return Err(IdentityError::Certificate);
        }
        if certificate.is_ca() {
            return Err(IdentityError::Authority);
        }
        let identity: Self = only_uri(&certificate)?.parse()?;
        let role = role_of(&certificate, &identity)?;
        let wall = |seconds| WallTime(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
        Ok(Verified {
            identity,
            role,
            issuer: certificate.issuer().to_string(),
            serial: hex(certificate.raw_serial()),
            not_before: wall(certificate.validity().not_before.timestamp()),
            not_after: wall(certificate.validity().not_after.timestamp()),
            fingerprint: Digest::of(der),
        })
    }
}

/// Returns the name of an authority's certificate, by which leaves name their issuer.
///
/// Every authority of a fleet has a name of its own, which only the root gives, so that in a
/// verified chain the name tells which of them has signed.
pub fn subject(der: &[u8]) -> Result<String, IdentityError> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|_| IdentityError::Certificate)?;
    Ok(certificate.subject().to_string())
}

/// Returns the certificate's only URI.
fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, IdentityError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| IdentityError::Certificate)?
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.count()) {
        (Some(uri), 0) => Ok(uri),
        (first, more) => Err(IdentityError::Identities(usize::from(first.is_some()) + more)),
    }
}

/// Returns a person's role; a machine must have none.
fn role_of(
    certificate: &X509Certificate<'_>,
    identity: &Identity,
) -> Result<Option<Role>, IdentityError> {
    let roles: Vec<_> = certificate.subject().iter_organization().collect();
    let expected = usize::from(matches!(identity, Identity::User { .. }));
    if roles.len() != expected {
        let identity = identity.to_string();
        return Err(IdentityError::Roles { identity, roles: roles.len(), expected });
    }
    let text = |role: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        role.as_str().map_err(|_| IdentityError::Certificate)?.parse()
    };
    roles.first().map(|role| text(role)).transpose()
}

/// Prints bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent { fleet, region, node } => {
                write!(f, "spiffe://{fleet}/region/{region}/agent/{node}")
            }
            Self::Controller { fleet, region, controller } => {
                write!(f, "spiffe://{fleet}/region/{region}/controller/{controller}")
            }
            Self::User { fleet, name } => write!(f, "spiffe://{fleet}/user/{name}"),
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let refused = || IdentityError::Malformed(text.chars().take(URI_LEN_MAX).collect());
        if text.len() > URI_LEN_MAX {
            return Err(refused());
        }
        let path = text.strip_prefix("spiffe://").ok_or_else(refused)?;
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            [fleet, "region", region, "agent", node] => Ok(Self::Agent {
                fleet: fleet.parse()?,
                region: region.parse().map_err(|_| refused())?,
                node: node.parse().map_err(|_| refused())?,
            }),
            [fleet, "region", region, "controller", controller] => Ok(Self::Controller {
                fleet: fleet.parse()?,
                region: region.parse().map_err(|_| refused())?,
                controller: controller.parse().map_err(|_| refused())?,
            }),
            [fleet, "user", name] => Ok(Self::User { fleet: fleet.parse()?, name: name.parse()? }),
            _ => Err(refused()),
        }
    }
}

impl TryFrom<String> for Identity {
    type Error = IdentityError;
    fn try_from(text: String) -> Result<Self, IdentityError> {
        text.parse()
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.to_string()
    }
}

/// What a verified leaf says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its holder.
    pub identity: Identity,
    /// A person's role; always there for a user, never for a machine.
    pub role: Option<Role>,
    /// Name of the authority that signed it, as [`subject`] returns it.
    pub issuer: String,
    /// Serial number in lower-case hexadecimal digits.
    pub serial: String,
    /// The moment from which it is valid.
    pub not_before: WallTime,
    /// The moment from which it is worth nothing.
    pub not_after: WallTime,
    /// Digest of the certificate.
    pub fingerprint: Digest,
}

impl Verified {
    /// Returns when to renew: after two thirds of its life, a twentieth sooner or later by
    /// `random`, so that a fleet enrolled in one hour does not come back in one hour.
    pub fn renew_at(&self, random: u32) -> WallTime {
        let life = self.not_after.0.saturating_sub(self.not_before.0);
        let jitter = life / 10 * u64::from(random % 1024) / 1024;
        WallTime(self.not_before.0 + life / 3 * 2 - life / 20 + jitter)
    }
}

/// Returns the DNS name that a controller's certificate carries and its clients verify.
pub fn controller_dns_name(fleet: &FleetName, controller: &ControllerId) -> String {
    format!("{controller}.{fleet}.trireme")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label() -> impl Strategy<Value = String> {
        "[a-z0-9]([a-z0-9-]{0,14}[a-z0-9])?"
    }

    fn dotted() -> impl Strategy<Value = String> {
        prop::collection::vec(label(), 1..4).prop_map(|labels| labels.join("."))
    }

    proptest! {
        #[test]
        fn every_identity_is_read_as_it_is_written(
            fleet in dotted(), region in label(), id in label(), name in dotted(), kind in 0..3_u8,
        ) {
            let (fleet, region) = (fleet.parse().unwrap(), region.parse().unwrap());
            let identity = match kind {
                0 => Identity::Agent { fleet, region, node: id.parse().unwrap() },
                1 => Identity::Controller { fleet, region, controller: id.parse().unwrap() },
                _ => Identity::User { fleet, name: name.parse().unwrap() },
            };
            prop_assert_eq!(identity.to_string().parse::<Identity>().unwrap(), identity);
        }

        #[test]
        fn whatever_parses_is_canonical(text in "spiffe://[a-z./-]{0,40}|\\PC{0,40}") {
            if let Ok(identity) = text.parse::<Identity>() {
                prop_assert_eq!(identity.to_string(), text);
            }
        }

        #[test]
        fn no_bytes_make_the_certificate_reader_panic(bytes: Vec<u8>) {
            prop_assert!(Identity::from_certificate(&bytes).is_err());
        }
    }

    #[test]
    fn refuses_identities_that_are_not_exactly_ours() {
        let long = format!("spiffe://f/user/{}", "a".repeat(65));
        let huge = format!("spiffe://f/user/{}", "a".repeat(10_000));
        for bad in [
            "",
            "spiffe://",
            "spiffe:///user/a",
            "spiffe://f/user/",
            "spiffe://f/user/a/",
            "spiffe://f/user/a?x",
            "spiffe://f/user/a#x",
            "spiffe://f/user/a%2e",
            "spiffe://f/user/..",
            "spiffe://f/user/a..b",
            "spiffe://f/user/.a",
            "spiffe://f/user/a-.b",
            "spiffe://f/user/A",
            "spiffe://f/user/ a",
            "spiffe://f/user/a\n",
            "spiffe://f/user/a\0",
            "spiffe://f:1/user/a",
            "spiffe://x@f/user/a",
            "SPIFFE://f/user/a",
            "https://f/user/a",
            "spiffe://f/region/r/agent/../controller/c",
            "spiffe://f/region/r/agent/a/controller/c",
            "spiffe://f/region/r/user/a",
            "spiffe://f/region//agent/a",
            "spiffe://f/region/r/agent/a.b",
            &long,
            &huge,
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn roles_have_one_spelling() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse::<Role>().unwrap(), role);
        }
        assert!("Admin".parse::<Role>().is_err());
        assert!("".parse::<Role>().is_err());
    }

    #[test]
    fn renewal_falls_around_two_thirds_of_life() {
        let verified = |not_after| Verified {
            identity: "spiffe://f/user/a".parse().unwrap(),
            role: Some(Role::Admin),
            issuer: String::new(),
            serial: String::new(),
            not_before: WallTime(600),
            not_after: WallTime(not_after),
            fingerprint: Digest::of(b""),
        };
        let day = verified(60_600);
        assert_eq!(day.renew_at(0), WallTime(600 + 37_000));
        assert_eq!(day.renew_at(512), WallTime(600 + 40_000));
        assert!((0..5000).all(|random| day.renew_at(random * 7919).0 < 600 + 43_000));
        assert_eq!(verified(0).renew_at(9), WallTime(600), "one that never lived is due at once");
    }

    #[test]
    fn a_controllers_name_in_dns_holds_its_fleet() {
        let name = controller_dns_name(&"prod.eu".parse().unwrap(), &"c1".parse().unwrap());
        assert_eq!(name, "c1.prod.eu.trireme");
    }
}
