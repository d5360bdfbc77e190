//! Certificates and keys → TLS 1.3 configurations, mutual, with renewal while connections run.
//!
//! [`Credentials`] are what one program is: its chain, its key and the roots it trusts. Every
//! handshake asks them anew, so a renewed certificate serves from the next connection on. The
//! `ring` provider is named explicitly; no process-wide default is needed or installed. Sessions
//! are never resumed, because a resumed one would skip the check of the client's certificate.
//! No file is touched here, and no clock read but by rustls for validity.
//!
//! ```text
//! main listener       server_config()            client must present a certificate of the fleet
//! join listener       joining_server_config()    no client certificate; root sent along
//! client              client_config(server)      presents ours; the other end is a controller
//! client with token   joining_client_config(pin) presents none; root found by the token's pin
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::sync::watch;

use crate::digest::Digest;
use crate::id::ControllerId;
use crate::identity::{FleetName, Identity, IdentityError, Verified, controller_dns_name};
use crate::key::{KeyError, SecretKey, certificates_from_pem};

/// HTTP/2, the only protocol spoken inside.
const ALPN: &[u8] = b"h2";

/// Tells why credentials or a configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A text holds no usable key or certificate.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The leaf is not one of ours.
    #[error("own certificate is not usable")]
    Identity(#[from] IdentityError),
    /// The chain is empty, or the key is another one.
    #[error("own certificate and key do not fit together")]
    Pair(#[source] rustls::Error),
    /// A trusted root cannot be used.
    #[error("root certificate is not usable")]
    Root(#[source] rustls::Error),
    /// No root at all, so nobody could be trusted.
    #[error("no usable root certificate")]
    NoRoot(#[source] VerifierBuilderError),
    /// Renewal must not change who we are.
    #[error("renewed certificate is for {renewed}, but this is {current}")]
    OtherIdentity {
        /// Who we are.
        current: Box<Identity>,
        /// Whom the certificate names.
        renewed: Box<Identity>,
    },
    /// An address is no `host:port`.
    #[error("`{0}` is not an address: expected host:port")]
    Address(String),
    /// The provider does not speak TLS 1.3.
    #[error("cannot set up TLS 1.3")]
    Setup(#[source] rustls::Error),
}

/// Tells why a server was refused although its chain may be sound.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
enum ServerRefused {
    #[error("server has no valid identity: {0}")]
    Identity(IdentityError),
    #[error("server is {0}, not the controller asked for")]
    Other(String),
    #[error("server's root is not the one that the join token names")]
    Pin,
}

/// rustls prints the cause of a refusal by its `Debug`, so that is what people read.
impl fmt::Debug for ServerRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<ServerRefused> for rustls::Error {
    fn from(refused: ServerRefused) -> Self {
        CertificateError::Other(OtherError(Arc::new(refused))).into()
    }
}

/// Which controller a client accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Only this one: for peers, where it matters who answers.
    Controller(ControllerId),
    /// Any controller of our fleet: for agents and people.
    AnyController,
    /// Any but these, which were removed, and those for whom these have signed.
    AnyBut(BTreeSet<ControllerId>),
}

/// What a program is and whom it trusts; clones share one state.
#[derive(Clone)]
pub struct Credentials(Arc<Shared>);

struct Shared {
    roots: Vec<CertificateDer<'static>>,
    store: Arc<RootCertStore>,
    current: ArcSwap<CertifiedKey>,
    verified: watch::Sender<Verified>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&*self.0.verified.borrow()).finish()
    }
}

impl Credentials {
    /// Makes credentials of the trusted roots, our chain (leaf first) and the leaf's key.
    pub fn new(
        roots: Vec<CertificateDer<'static>>,
        chain: Vec<CertificateDer<'static>>,
        key: &SecretKey,
    ) -> Result<Self, TlsError> {
        let store = Arc::new(root_store(&roots)?);
        let (certified, verified) = certify(chain, key)?;
        Ok(Self(Arc::new(Shared {
            roots,
            store,
            current: ArcSwap::from_pointee(certified),
            verified: watch::Sender::new(verified),
        })))
    }

    /// Makes credentials of PEM texts; chain and key may be one bundle, given twice.
    pub fn from_pem(roots: &[u8], chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let (roots, chain) = (certificates_from_pem(roots)?, certificates_from_pem(chain)?);
        Self::new(roots, chain, &SecretKey::from_pem(key)?)
    }

    /// Takes up a renewed certificate; connections made from now on use it.
    pub fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: &SecretKey,
    ) -> Result<(), TlsError> {
        let (certified, renewed) = certify(chain, key)?;
        let current = self.verified();
        // A person's roles are the fleet's record; what a certificate says of them may differ.
        if renewed.identity != current.identity {
            return Err(TlsError::OtherIdentity {
                current: Box::new(current.identity),
                renewed: Box::new(renewed.identity),
            });
        }
        self.0.current.store(Arc::new(certified));
        self.0.verified.send_replace(renewed);
        Ok(())
    }

    /// Returns what our current leaf says.
    pub fn verified(&self) -> Verified {
        self.0.verified.borrow().clone()
    }

    /// Returns who we are.
    pub fn identity(&self) -> Identity {
        self.0.verified.borrow().identity.clone()
    }

    /// Returns a receiver that wakes at every renewal.
    pub fn watch(&self) -> watch::Receiver<Verified> {
        self.0.verified.subscribe()
    }

    /// Returns the roots we trust.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.0.roots
    }

    /// Returns our chain, leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.current.load().cert.clone()
    }

    /// Returns our chain and what signs with the key of its leaf (ECDSA P-256 over SHA-256, DER).
    pub fn signer(
        &self,
    ) -> (Vec<CertificateDer<'static>>, impl Fn(&[u8]) -> Option<Vec<u8>> + use<>) {
        let current = self.0.current.load_full();
        let chain = current.cert.clone();
        let sign = move |text: &[u8]| {
            let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
            current.key.choose_scheme(&schemes)?.sign(text).ok()
        };
        (chain, sign)
    }

    /// Returns the configuration of a listener that demands a certificate of the fleet.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.0.store), provider())
                .build()
                .map_err(TlsError::NoRoot)?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Setup)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Resolver { shared: self.clone(), with_root: false }));
        Ok(Arc::new(without_resumption(config)))
    }

    /// Returns the configuration of the listener for those who have no certificate yet.
    pub fn joining_server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver { shared: self.clone(), with_root: true }));
        Ok(Arc::new(without_resumption(config)))
    }

    /// Returns the configuration of a client that presents our certificate.
    pub fn client_config(&self, server: &Server) -> Result<Arc<ClientConfig>, TlsError> {
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.0.store), provider())
                .build()
                .map_err(TlsError::NoRoot)?;
        let fleet = Some(self.identity().fleet().clone());
        let verifier =
            ControllerVerifier { trust: Trust::Roots(verifier), fleet, server: server.clone() };
        let config = client_builder(verifier)?.with_client_cert_resolver(Arc::new(Resolver {
            shared: self.clone(),
            with_root: false,
        }));
        Ok(Arc::new(client_defaults(config)))
    }
}

/// Returns the configuration of a client that has only a join token: the server must be a
/// controller whose chain ends in the root with the token's digest.
pub fn joining_client_config(pin: Digest) -> Result<Arc<ClientConfig>, TlsError> {
    let (trust, server) = (Trust::Pin(pin), Server::AnyController);
    let config =
        client_builder(ControllerVerifier { trust, fleet: None, server })?.with_no_client_auth();
    Ok(Arc::new(client_defaults(config)))
}

/// Returns the name handed to rustls where one is required; [`ControllerVerifier`] checks the
/// real one, which it knows from whom it was asked for. It is never sent.
pub(crate) fn placeholder_name() -> ServerName<'static> {
    ServerName::try_from("controller.trireme").expect("a constant valid name")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn root_store(roots: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(TlsError::Root)?;
    }
    Ok(store)
}

fn certify(
    chain: Vec<CertificateDer<'static>>,
    key: &SecretKey,
) -> Result<(CertifiedKey, Verified), TlsError> {
    let leaf = chain.first().ok_or(KeyError::NoCertificate)?;
    let verified = Identity::from_certificate(leaf)?;
    let certified = CertifiedKey::from_der(chain, key.to_rustls(), &ring::default_provider())
        .map_err(TlsError::Pair)?;
    Ok((certified, verified))
}

fn without_resumption(mut config: ServerConfig) -> ServerConfig {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

fn client_builder(
    verifier: ControllerVerifier,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, TlsError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier)))
}

fn client_defaults(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

/// Presents the current certificate, in either direction.
#[derive(Debug)]
struct Resolver {
    shared: Credentials,
    /// Whether to send the root too: a joiner knows only its digest.
    with_root: bool,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.shared.0.current.load_full();
        if !self.with_root {
            return Some(current);
        }
        let chain = current.cert.iter().chain(self.shared.roots()).cloned().collect();
        Some(Arc::new(CertifiedKey::new(chain, Arc::clone(&current.key))))
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.shared.0.current.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Where a server's chain has to end.
#[derive(Debug)]
enum Trust {
    Roots(Arc<WebPkiServerVerifier>),
    Pin(Digest),
}

impl Trust {
    fn verifier(
        &self,
        chain: &[CertificateDer<'_>],
    ) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
        let pin = match self {
            Self::Roots(verifier) => return Ok(Arc::clone(verifier)),
            Self::Pin(pin) => pin,
        };
        let root = chain.iter().find(|der| Digest::of(der) == *pin).ok_or(ServerRefused::Pin)?;
        let mut store = RootCertStore::empty();
        store.add(root.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider())
            .build()
            .map_err(|_| ServerRefused::Pin.into())
    }
}

/// Accepts a server only as the controller asked for: sound chain, identity and DNS name.
#[derive(Debug)]
struct ControllerVerifier {
    trust: Trust,
    /// Our fleet; unknown to a joiner, for whom the pin stands for it.
    fleet: Option<FleetName>,
    server: Server,
}

impl ControllerVerifier {
    /// Returns the DNS name that the leaf must carry, given whom it claims to be.
    fn expected_name(&self, leaf: &CertificateDer<'_>) -> Result<String, ServerRefused> {
        let verified = Identity::from_certificate(leaf).map_err(ServerRefused::Identity)?;
        let (claimed, issuer) = (verified.identity, verified.issuer);
        let refused = || ServerRefused::Other(claimed.to_string());
        let Identity::Controller { fleet, controller, .. } = &claimed else {
            return Err(refused());
        };
        let ours = self.fleet.as_ref().is_none_or(|ours| ours == fleet);
        let asked = match &self.server {
            Server::Controller(id) => id == controller,
            Server::AnyController => true,
            Server::AnyBut(removed) => {
                let signed = |name: &ControllerId| is_issuer(&issuer, name);
                !removed.contains(controller) && !removed.iter().any(signed)
            }
        };
        if ours && asked { Ok(controller_dns_name(fleet, controller)) } else { Err(refused()) }
    }
}

/// Returns whether an authority's name is that of a controller's issuing certificate.
fn is_issuer(issuer: &str, controller: &ControllerId) -> bool {
    issuer.rsplit_once(" issuing ").is_some_and(|(_, name)| name == controller.as_str())
}

impl ServerCertVerifier for ControllerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _placeholder: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = ServerName::try_from(self.expected_name(leaf)?)
            .map_err(|_| CertificateError::NotValidForName)?;
        self.trust.verifier(chain)?.verify_server_cert(leaf, chain, &name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
