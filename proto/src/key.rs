//! Secret keys and certificates as bytes: made, printed as PEM, read back.
//!
//! A [`SecretKey`] is wiped when dropped and never shows itself in `Debug`. Keys are ECDSA P-256:
//! every TLS stack takes them and a handshake costs little. No file is touched here; see
//! [`crate::keyfile`].

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize, Zeroizing};

/// Most certificates read from one PEM text: a chain has two or three, a bundle of roots few more.
pub const PEM_CERTIFICATES_MAX: usize = 16;

/// Tells why a key or certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text holds no PKCS #8 private key.
    #[error("no private key found: expected a PEM block `PRIVATE KEY` (PKCS #8)")]
    NoKey,
    /// The key is there but of no use.
    #[error("private key is not a valid ECDSA P-256 or Ed25519 key")]
    BadKey(#[source] rcgen::Error),
    /// The text holds no certificate, or a broken one.
    #[error("no certificate found: expected PEM blocks `CERTIFICATE`")]
    NoCertificate,
    /// More certificates than any of our files has.
    #[error("more than {PEM_CERTIFICATES_MAX} certificates in one text")]
    TooMany,
    /// The system's random source or the signing failed.
    #[error("cannot make a key or signing request")]
    Generate(#[source] rcgen::Error),
}

/// A private key in PKCS #8 form.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(Zeroizing<Vec<u8>>);

impl SecretKey {
    /// Makes a new key from the system's random source.
    pub fn generate() -> Result<Self, KeyError> {
        let mut pair = KeyPair::generate().map_err(KeyError::Generate)?;
        let key = Self(Zeroizing::new(pair.serialize_der()));
        pair.zeroize();
        Ok(key)
    }

    /// Reads a key from PEM, proving that it can be used.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyError::NoKey)?;
        let key = Self(Zeroizing::new(der.secret_pkcs8_der().to_vec()));
        key.pair()?;
        Ok(key)
    }

    /// Prints the key as PEM, for its owner's disk only.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let block = pem::Pem::new("PRIVATE KEY", self.0.as_slice());
        let text = Zeroizing::new(pem::encode_config(&block, lf()));
        block.into_contents().zeroize();
        text
    }

    /// Returns a signing request for this key: it proves possession and asks for nothing.
    pub fn request(&self) -> Result<Vec<u8>, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.pair()?).map_err(KeyError::Generate)?;
        Ok(request.der().to_vec())
    }

    /// Returns the key ready to sign; the encoded copy inside is wiped.
    pub(crate) fn pair(&self) -> Result<KeyPair, KeyError> {
        let der = PrivatePkcs8KeyDer::from(self.0.as_slice());
        let mut pair = KeyPair::try_from(&der).map_err(KeyError::BadKey)?;
        pair.zeroize();
        Ok(pair)
    }

    /// Returns the key in the form rustls takes.
    pub(crate) fn to_rustls(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.to_vec()).into()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// Prints certificates as PEM, in the order given.
pub fn certificates_to_pem(chain: &[CertificateDer<'_>]) -> String {
    let blocks: Vec<_> =
        chain.iter().map(|der| pem::Pem::new("CERTIFICATE", der.as_ref())).collect();
    pem::encode_many_config(&blocks, lf())
}

/// Prints a certificate signing request as PEM.
pub fn request_to_pem(request: &[u8]) -> String {
    pem::encode_config(&pem::Pem::new("CERTIFICATE REQUEST", request), lf())
}

/// Prints a key and its chain as one PEM text: in one file, a crash cannot part a renewed chain
/// from its key. Both readers take such a text and pick their part.
pub fn bundle_to_pem(chain: &[CertificateDer<'_>], key: &SecretKey) -> Zeroizing<String> {
    let (key, certificates) = (key.to_pem(), certificates_to_pem(chain));
    // Growing in place could leave a copy of the key behind, so room is made first.
    let mut bundle = Zeroizing::new(String::with_capacity(key.len() + certificates.len()));
    bundle.push_str(&key);
    bundle.push_str(&certificates);
    bundle
}

/// Reads the certificates of a PEM text, at least one; blocks of other kinds are passed over.
pub fn certificates_from_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        if chain.len() == PEM_CERTIFICATES_MAX {
            return Err(KeyError::TooMany);
        }
        chain.push(certificate.map_err(|_| KeyError::NoCertificate)?);
    }
    if chain.is_empty() { Err(KeyError::NoCertificate) } else { Ok(chain) }
}

fn lf() -> pem::EncodeConfig {
    pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key = SecretKey::generate().unwrap();
        assert_eq!(SecretKey::from_pem(key.to_pem().as_bytes()).unwrap(), key);
        assert_ne!(SecretKey::generate().unwrap(), key);
    }

    #[test]
    fn debug_shows_nothing_of_a_key() {
        assert_eq!(format!("{:?}", SecretKey::generate().unwrap()), "SecretKey(..)");
    }

    #[test]
    fn refuses_texts_without_a_key_or_certificate() {
        let certificate = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(matches!(SecretKey::from_pem(b""), Err(KeyError::NoKey)));
        assert!(matches!(SecretKey::from_pem(certificate.as_bytes()), Err(KeyError::BadKey(_))));
        assert!(matches!(certificates_from_pem(b"junk"), Err(KeyError::NoCertificate)));
        let many = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".repeat(17);
        assert!(matches!(certificates_from_pem(many.as_bytes()), Err(KeyError::TooMany)));
    }
}
