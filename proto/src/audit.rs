//! The audit as it is searched, handed out and proved: classes of actions, and signed checkpoints.
//!
//! A checkpoint says how long the audit of a fleet is and what its last hash is, signed by one
//! controller. Kept elsewhere, it proves later that nothing before it was cut off or written
//! anew. What is signed is text of the form that transparency logs use:
//!
//! ```text
//! prod/audit/c-aws          origin: fleet and controller
//! 5214                      size: number of the last entry
//! 9f86d0…                   root: its hash, which covers every entry before it
//! 1763764000000             when, in ms since 1970
//! ```
//!
//! The key is the controller's own, of the certificate that it serves with; the chain travels with
//! the signature, so that the fleet's root is all it takes to check one.

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::identity::{Identity, hex};
use crate::time::WallTime;
use crate::tls::Credentials;
use crate::view::AuditEntry;

/// Returns the class of an action, as reviews ask for it: login, service, config, key, data,
/// backup, or other.
pub fn class(action: &str) -> &'static str {
    let (noun, verb) = action.split_once('.').unwrap_or((action, ""));
    match (noun, verb) {
        ("user", "login" | "renew" | "use") | ("connection", _) => "login",
        ("token" | "certificate", _) | ("user", "token") => "key",
        ("service", "exec") | ("data" | "database", _) => "data",
        ("backup" | "restore", _) => "backup",
        ("upgrade" | "service" | "region" | "place" | "plan" | "break", _)
        | ("node", "drain" | "return" | "cordon") => "service",
        ("manifest" | "user" | "override" | "fleet" | "grant", _)
        | ("controller", "transfer" | "add" | "remove" | "replace" | "repair" | "recover")
        | ("node", "remove" | "join") => "config",
        _ => "other",
    }
}

/// What a search of the audit lets through; each part narrows it unless it is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Who, in full.
    pub actor: String,
    /// An action, or the beginning of one up to a dot.
    pub action: String,
    /// Part of a target.
    pub target: String,
    /// Class of the action.
    pub class: String,
    /// done, refused or waiting.
    pub result: String,
    /// Not before.
    pub since: WallTime,
    /// Not after; any if zero.
    pub until: WallTime,
}

impl Filter {
    /// Returns whether an entry is let through.
    pub fn fits(&self, entry: &AuditEntry) -> bool {
        let action = |wanted: &str| {
            entry
                .action
                .strip_prefix(wanted)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        (self.actor.is_empty() || self.actor == entry.actor)
            && (self.action.is_empty() || action(&self.action))
            && entry.target.contains(&self.target)
            && (self.class.is_empty() || self.class == class(&entry.action))
            && entry.result.starts_with(&self.result)
            && entry.time >= self.since
            && (self.until.0 == 0 || entry.time <= self.until)
    }
}

/// What one controller has signed of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Fleet and controller.
    pub origin: String,
    /// Number of the last entry.
    pub size: u64,
    /// Its hash.
    pub root: String,
    /// When it was signed.
    pub time: WallTime,
    /// Signature of the text, in hexadecimal digits.
    pub signature: String,
    /// Certificates up to the fleet's root, leaf first, each DER in hexadecimal digits.
    pub chain: Vec<String>,
}

/// Tells why a checkpoint proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// A certificate of the chain cannot be read.
    #[error("its certificates cannot be read")]
    Chain,
    /// The chain does not lead to the fleet's root.
    #[error("its certificates do not lead to the fleet's root")]
    Untrusted,
    /// The signer is no controller of the fleet that it names.
    #[error("it is signed by {0}, not by the controller that it names")]
    Signer(String),
    /// The certificate was not valid when it was signed.
    #[error("it is signed outside the life of its certificate")]
    Time,
    /// The text was not signed by that key.
    #[error("its signature does not fit its text")]
    Signature,
}

impl Checkpoint {
    /// Signs with what a controller is; nothing, if it is no controller.
    pub fn sign(credentials: &Credentials, size: u64, root: &str, time: WallTime) -> Option<Self> {
        let Identity::Controller { fleet, controller, .. } = credentials.identity() else {
            return None;
        };
        let (chain, sign) = credentials.signer();
        let mut checkpoint = Self {
            origin: format!("{fleet}/audit/{controller}"),
            size,
            root: root.to_owned(),
            time,
            signature: String::new(),
            chain: chain.iter().map(|der| hex(der)).collect(),
        };
        checkpoint.signature = hex(&sign(checkpoint.text().as_bytes())?);
        Some(checkpoint)
    }

    /// Returns the text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n{}\n", self.origin, self.size, self.root, self.time.0)
    }

    /// Checks that a controller of the fleet with this root has signed it.
    pub fn verify(&self, root: &CertificateDer<'_>) -> Result<(), CheckpointError> {
        let ders = self.chain.iter().map(|text| unhex(text)).collect::<Option<Vec<_>>>();
        let ders = ders.ok_or(CheckpointError::Chain)?;
        let [leaf, issuing] = ders.as_slice() else { return Err(CheckpointError::Chain) };
        let parse = |der| match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(certificate),
            _ => Err(CheckpointError::Chain),
        };
        let (root, issuing, signer) = (parse(root.as_ref())?, parse(issuing)?, parse(leaf)?);
        let signs = |issuer: &X509Certificate<'_>, certificate: &X509Certificate<'_>| {
            issuer.is_ca()
                && certificate.issuer() == issuer.subject()
                && certificate.verify_signature(Some(issuer.public_key())).is_ok()
        };
        if !signs(&root, &issuing) || !signs(&issuing, &signer) {
            return Err(CheckpointError::Untrusted);
        }
        let verified = Identity::from_certificate(leaf).map_err(|_| CheckpointError::Chain)?;
        match &verified.identity {
            Identity::Controller { fleet, controller, .. }
                if self.origin == format!("{fleet}/audit/{controller}") => {}
            other => return Err(CheckpointError::Signer(other.to_string())),
        }
        if self.time < verified.not_before || self.time > verified.not_after {
            return Err(CheckpointError::Time);
        }
        let key = signer.public_key().subject_public_key.as_ref();
        let signature = unhex(&self.signature).ok_or(CheckpointError::Signature)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
            .verify(self.text().as_bytes(), &signature)
            .map_err(|_| CheckpointError::Signature)
    }
}

/// Reads lower-case hexadecimal digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
    digits.chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SecretKey;
    use crate::pki::{Issuer, Root};

    const NOW: WallTime = WallTime(1_800_000_000_000);

    fn controller() -> (Root, Credentials) {
        let root = Root::generate(&"prod".parse().unwrap(), NOW).unwrap();
        let (issuing, key) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
        let (region, name) = ("aws".parse().unwrap(), "c1".parse().unwrap());
        let der = root.issue_intermediate(&issuing.request().unwrap(), &name, NOW).unwrap();
        let issuer = Issuer::new("prod".parse().unwrap(), der, &issuing).unwrap();
        let issued = issuer.issue_controller(&key.request().unwrap(), &region, &name, NOW).unwrap();
        let roots = vec![root.certificate().clone()];
        (root, Credentials::new(roots, issued.chain, &key).unwrap())
    }

    #[test]
    fn a_checkpoint_is_checked_with_the_root_alone() {
        let (root, credentials) = controller();
        let good = Checkpoint::sign(&credentials, 7, &"a".repeat(64), NOW).unwrap();
        assert_eq!(good.text(), format!("prod/audit/c1\n7\n{}\n{}\n", "a".repeat(64), NOW.0));
        assert_eq!(good.verify(root.certificate()), Ok(()));
        let other = Root::generate(&"prod".parse().unwrap(), NOW).unwrap();
        assert_eq!(good.verify(other.certificate()), Err(CheckpointError::Untrusted));
        let changed = |change: fn(&mut Checkpoint)| {
            let mut changed = good.clone();
            change(&mut changed);
            changed.verify(root.certificate()).unwrap_err()
        };
        assert_eq!(changed(|c| c.size = 6), CheckpointError::Signature);
        assert_eq!(changed(|c| c.root = "b".repeat(64)), CheckpointError::Signature);
        assert_eq!(changed(|c| c.time.0 += 1000), CheckpointError::Signature);
        assert_eq!(changed(|c| c.time.0 += 48 * 3_600_000), CheckpointError::Time);
        assert!(matches!(
            changed(|c| c.origin = "prod/audit/c2".to_owned()),
            CheckpointError::Signer(_)
        ));
        assert_eq!(changed(|c| c.signature = "zz".to_owned()), CheckpointError::Signature);
        assert_eq!(changed(|c| c.chain.truncate(1)), CheckpointError::Chain);
    }

    /// A person or an agent whose certificate leads to the root signs nothing.
    #[test]
    fn only_controllers_sign() {
        let (root, good) = controller();
        let key = SecretKey::generate().unwrap();
        let request = key.request().unwrap();
        let (name, role) = ("ann".parse().unwrap(), crate::identity::Role::Admin);
        let issued = root.issuer().issue_user(&request, &name, role, NOW).unwrap();
        let person =
            Credentials::new(vec![root.certificate().clone()], issued.chain, &key).unwrap();
        assert_eq!(Checkpoint::sign(&person, 7, "a", NOW), None);
        let _kept = good;
    }

    /// DVN-47: each of the classes has its actions, and no action is of two.
    #[test]
    fn actions_have_one_class_each() {
        for (action, wanted) in [
            ("user.login", "login"),
            ("user.renew", "login"),
            ("service.stop", "service"),
            ("upgrade.start", "service"),
            ("manifest.apply", "config"),
            ("user.grant", "config"),
            ("token.create", "key"),
            ("user.token", "key"),
            ("service.exec", "data"),
            ("backup.run", "backup"),
            ("node.report", "other"),
            ("", "other"),
        ] {
            assert_eq!(class(action), wanted, "{action}");
        }
    }
}
