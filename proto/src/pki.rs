//! The fleet's certificate authority: a root with the operator, an issuing key per controller.
//!
//! ```text
//! root (operator's disk) ──signs──▶ issuing certificate (one per controller, path length 0)
//!                                          └──signs──▶ leaf of an agent, controller or person
//! ```
//!
//! Peers trust the root alone and are shown leaf and issuing certificate. Of a signing request
//! only the public key is used, after its own signature has proved possession: names, validity,
//! usages and serial are always ours. Keys never leave the disk they were made on. Time comes in
//! as an argument; randomness (keys, serials) is the system's.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::digest::Digest;
use crate::id::{ControllerId, NodeId, RegionId};
use crate::identity::{FleetName, Identity, Role, UserName, Verified, controller_dns_name};
use crate::key::{KeyError, SecretKey};
use crate::time::{Span, WallTime};

/// How far before the moment of issue a certificate is valid, for clocks that lag.
pub const BACKDATE: Span = Span::secs(5 * 60);
/// Life of a machine's leaf: short, so that a stolen one is soon worthless.
pub const MACHINE_LIFE: Span = Span::secs(24 * 3600);
/// Life of a person's leaf: a working day.
pub const USER_LIFE: Span = Span::secs(8 * 3600);
/// Life of an issuing certificate; renewing it takes the operator and the root key.
pub const ISSUING_LIFE: Span = Span::secs(5 * 365 * 24 * 3600);
/// Life of the root: longer than any issuing certificate it may still sign.
pub const ROOT_LIFE: Span = Span::secs(20 * 365 * 24 * 3600);
/// Largest signing request that is parsed; ours take some 250 bytes.
pub const REQUEST_LEN_MAX: usize = 4096;

/// Tells why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The request is not a signing request at all.
    #[error(
        "signing request is not valid: expected one PKCS #10 request, at most {REQUEST_LEN_MAX} bytes"
    )]
    Request,
    /// The requester does not hold the key.
    #[error("signing request is not signed by the key in it")]
    Possession,
    /// The key is of a kind that we do not sign.
    #[error("key in the signing request is neither ECDSA P-256 nor Ed25519")]
    KeyKind,
    /// The issuer's own certificate and key do not make an issuer.
    #[error("certificate cannot issue: {0}")]
    Issuer(&'static str),
    /// The issuer has expired, or would before the leaf begins.
    #[error("issuing certificate expired at {0}: have the root sign a new one")]
    Expired(WallTime),
    /// A key or certificate text is broken.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The encoder or the system's random source failed.
    #[error("cannot encode the certificate")]
    Encode(#[source] rcgen::Error),
    /// The system's random source failed.
    #[error("system's random source failed")]
    Random,
}

/// A freshly issued certificate.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Leaf first, then what the peer needs to reach the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// What the leaf says, as its verifier will read it.
    pub verified: Verified,
}

/// The fleet's root with its key; lives where the operator keeps it.
#[derive(Debug)]
pub struct Root {
    key: SecretKey,
    issuer: Issuer,
}

impl Root {
    /// Makes the root of a new fleet.
    pub fn generate(fleet: &FleetName, now: WallTime) -> Result<Self, PkiError> {
        let key = SecretKey::generate()?;
        let mut params = authority(&format!("trireme {fleet} root"), 1)?;
        validity(&mut params, now, now.0.saturating_add(ROOT_LIFE.0));
        let certificate = params.self_signed(&key.pair()?).map_err(PkiError::Encode)?;
        Self::load(fleet.clone(), certificate.into(), key)
    }

    /// Takes up a root made before.
    pub fn load(
        fleet: FleetName,
        certificate: CertificateDer<'static>,
        key: SecretKey,
    ) -> Result<Self, PkiError> {
        let mut issuer = Issuer::new(fleet, certificate, &key)?;
        issuer.is_root = true;
        Ok(Self { key, issuer })
    }

    /// Returns the certificate that every peer trusts.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.issuer.certificate
    }

    /// Returns the root's key, for the operator's disk only.
    pub const fn key(&self) -> &SecretKey {
        &self.key
    }

    /// Returns the digest by which a join token names this root.
    pub fn pin(&self) -> Digest {
        Digest::of(self.certificate())
    }

    /// Returns the root as an issuer of leaves: for the first admin, before any controller is up.
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Signs a controller's issuing key: it may sign leaves, and no further authority.
    pub fn issue_intermediate(
        &self,
        request: &[u8],
        controller: &ControllerId,
        now: WallTime,
    ) -> Result<CertificateDer<'static>, PkiError> {
        let subject = format!("trireme {} issuing {controller}", self.issuer.fleet);
        self.issuer.sign(authority(&subject, 0)?, request, ISSUING_LIFE, now)
    }
}

/// Signs leaves with a controller's issuing key.
#[derive(Debug)]
pub struct Issuer {
    fleet: FleetName,
    certificate: CertificateDer<'static>,
    not_after: WallTime,
    signer: rcgen::Issuer<'static, KeyPair>,
    is_root: bool,
}

impl Issuer {
    /// Takes up an issuing certificate and its key.
    pub fn new(
        fleet: FleetName,
        certificate: CertificateDer<'static>,
        key: &SecretKey,
    ) -> Result<Self, PkiError> {
        let (rest, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|_| PkiError::Issuer("it is not valid DER"))?;
        if !rest.is_empty() {
            return Err(PkiError::Issuer("it is not valid DER"));
        }
        if !parsed.is_ca() {
            return Err(PkiError::Issuer("it is a leaf"));
        }
        let pair = key.pair()?;
        if parsed.public_key().raw != pair.subject_public_key_info() {
            return Err(PkiError::Issuer("its key is another one"));
        }
        let not_after = end(&parsed);
        let signer = rcgen::Issuer::from_ca_cert_der(&certificate, pair)
            .map_err(|_| PkiError::Issuer("its usages or names are not ours"))?;
        Ok(Self { fleet, certificate, not_after, signer, is_root: false })
    }

    /// Returns the fleet whose identities are issued.
    pub const fn fleet(&self) -> &FleetName {
        &self.fleet
    }

    /// Returns the moment from which nothing can be issued any more.
    pub const fn not_after(&self) -> WallTime {
        self.not_after
    }

    /// Issues an agent's leaf, good as a client only.
    pub fn issue_agent(
        &self,
        request: &[u8],
        region: &RegionId,
        node: &NodeId,
        now: WallTime,
    ) -> Result<Issued, PkiError> {
        let (fleet, region, node) = (self.fleet.clone(), region.clone(), node.clone());
        let identity = Identity::Agent { fleet, region, node: node.clone() };
        let params = leaf(&identity, node.as_str(), None)?;
        self.finish(params, request, MACHINE_LIFE, now)
    }

    /// Issues a controller's leaf, good as a server and as a client.
    pub fn issue_controller(
        &self,
        request: &[u8],
        region: &RegionId,
        controller: &ControllerId,
        now: WallTime,
    ) -> Result<Issued, PkiError> {
        let (fleet, region) = (self.fleet.clone(), region.clone());
        let identity = Identity::Controller { fleet, region, controller: controller.clone() };
        let mut params = leaf(&identity, controller.as_str(), None)?;
        let name = controller_dns_name(&self.fleet, controller);
        let name = name.try_into().map_err(PkiError::Encode)?;
        params.subject_alt_names.push(SanType::DnsName(name));
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        self.finish(params, request, MACHINE_LIFE, now)
    }

    /// Issues a person's leaf, good as a client only; the role is its organisation.
    pub fn issue_user(
        &self,
        request: &[u8],
        name: &UserName,
        role: Role,
        now: WallTime,
    ) -> Result<Issued, PkiError> {
        let identity = Identity::User { fleet: self.fleet.clone(), name: name.clone() };
        let params = leaf(&identity, name.as_str(), Some(role))?;
        self.finish(params, request, USER_LIFE, now)
    }

    fn finish(
        &self,
        params: CertificateParams,
        request: &[u8],
        life: Span,
        now: WallTime,
    ) -> Result<Issued, PkiError> {
        let leaf = self.sign(params, request, life, now)?;
        let verified = Identity::from_certificate(&leaf)
            .map_err(|_| PkiError::Issuer("what it signed is no identity"))?;
        let mut chain = vec![leaf];
        if !self.is_root {
            chain.push(self.certificate.clone());
        }
        Ok(Issued { chain, verified })
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        request: &[u8],
        life: Span,
        now: WallTime,
    ) -> Result<CertificateDer<'static>, PkiError> {
        if now >= self.not_after {
            return Err(PkiError::Expired(self.not_after));
        }
        let key = public_key(request)?;
        // A leaf that outlives its issuer would be refused by every verifier anyway.
        validity(&mut params, now, now.0.saturating_add(life.0).min(self.not_after.0));
        let certificate = params.signed_by(&key, &self.signer).map_err(PkiError::Encode)?;
        Ok(certificate.into())
    }
}

/// Returns the digest of a request's public key, once the requester has proved to hold it.
pub fn key_digest(request: &[u8]) -> Result<Digest, PkiError> {
    Ok(Digest::of(&public_key(request)?.subject_public_key_info()))
}

/// Returns the public key of a request, and nothing else of it.
fn public_key(request: &[u8]) -> Result<SubjectPublicKeyInfo, PkiError> {
    if request.len() > REQUEST_LEN_MAX {
        return Err(PkiError::Request);
    }
    let (rest, parsed) =
        X509CertificationRequest::from_der(request).map_err(|_| PkiError::Request)?;
    if !rest.is_empty() {
        return Err(PkiError::Request);
    }
    let info = parsed.certification_request_info.subject_pki.raw;
    let key = SubjectPublicKeyInfo::from_der(info).map_err(|_| PkiError::KeyKind)?;
    if ![&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519].contains(&key.algorithm()) {
        return Err(PkiError::KeyKind);
    }
    parsed.verify_signature().map_err(|_| PkiError::Possession)?;
    Ok(key)
}

/// Returns the start of every certificate: random serial, subject, nothing inherited.
fn fresh(common_name: &str) -> Result<CertificateParams, PkiError> {
    let mut serial = [0_u8; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| PkiError::Random)?;
    // Positive and of full length, so that its hexadecimal form has always 32 digits.
    serial[0] = serial[0] & 0x3f | 0x40;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn authority(subject: &str, path_len: u8) -> Result<CertificateParams, PkiError> {
    let mut params = fresh(subject)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf(
    identity: &Identity,
    common_name: &str,
    role: Option<Role>,
) -> Result<CertificateParams, PkiError> {
    let mut params = fresh(common_name)?;
    if let Some(role) = role {
        params.distinguished_name.push(DnType::OrganizationName, role.as_str());
    }
    let uri = identity.to_string().try_into().map_err(PkiError::Encode)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// Returns when a certificate ends, whosever it is; `None` if it is none.
pub fn not_after(der: &[u8]) -> Option<WallTime> {
    Some(end(&X509Certificate::from_der(der).ok()?.1))
}

fn end(certificate: &X509Certificate<'_>) -> WallTime {
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    WallTime(seconds.saturating_mul(1000))
}

fn validity(params: &mut CertificateParams, now: WallTime, not_after_ms: u64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let moment = |ms: u64| epoch + Duration::from_secs(ms / 1000);
    params.not_before = moment(now.0.saturating_sub(BACKDATE.0));
    params.not_after = moment(not_after_ms);
}

#[cfg(test)]
mod tests;
