//! The controller's part of the fleet's authority: its issuing key, and its own certificate.
//!
//! ```text
//! <dir>/issuing.key   made here, mode 0600, never leaves this disk nor enters Raft
//! <dir>/issuing.pem   signed by the operator's root when this controller is added
//! <dir>/root.pem      the root everybody trusts
//! ```
//!
//! The leaf that the controller presents lives in memory only: it is issued to a fresh key at
//! every start and renewed at two thirds of its life. What is issued to whom is decided by the
//! callers; this module neither authorises nor records.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use trireme_proto::digest::Digest;
use trireme_proto::id::{ControllerId, RegionId};
use trireme_proto::identity::FleetName;
use trireme_proto::key::{KeyError, SecretKey, certificates_from_pem, certificates_to_pem};
use trireme_proto::keyfile::{self, FileError};
use trireme_proto::pki::{Issuer, PkiError};
use trireme_proto::time::{Span, WallTime};
use trireme_proto::tls::{Credentials, TlsError};

/// How often the wall clock is compared with the moment of renewal: a clock that jumps, or a
/// machine that slept, is noticed within this time.
const RENEWAL_TICK: Duration = Duration::from_mins(1);
/// How long before its end the issuing certificate is complained about: the operator's root key
/// may lie in a safe.
const ISSUING_WARNING: Span = Span::secs(60 * 24 * 3600);

/// Tells why the controller has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file's content is no key or certificate.
    #[error("{path} is not usable", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// A key could not be made.
    #[error("cannot make a key")]
    Key(#[from] KeyError),
    /// The issuing certificate does not do.
    #[error("cannot issue certificates")]
    Issue(#[from] PkiError),
    /// The issued leaf does not do.
    #[error("cannot use the certificate issued to ourselves")]
    Tls(#[from] TlsError),
    /// The system's random source failed.
    #[error("system's random source failed")]
    Random,
}

/// Files of an authority that is set up or taken up.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Names the directory; nothing is touched yet.
    pub const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Returns whether the root has signed this controller's issuing key.
    pub fn is_signed(&self) -> bool {
        self.file("issuing.pem").exists() && self.file("root.pem").exists()
    }

    /// Returns the request for the root to sign, making the key on first use.
    pub fn issuing_request(&self) -> Result<Vec<u8>, AuthorityError> {
        keyfile::create_private_dir(&self.dir)?;
        let path = self.file("issuing.key");
        let key = if path.exists() {
            self.issuing_key()?
        } else {
            let key = SecretKey::generate()?;
            keyfile::write_private(&path, key.to_pem().as_bytes())?;
            key
        };
        Ok(key.request()?)
    }

    /// Takes in what the root signed, after proving that it fits the key on this disk.
    pub fn install(
        &self,
        fleet: &FleetName,
        root_pem: &[u8],
        issuing_pem: &[u8],
    ) -> Result<(), AuthorityError> {
        let roots = parse(&self.file("root.pem"), root_pem)?;
        let issuing = parse(&self.file("issuing.pem"), issuing_pem)?;
        Issuer::new(fleet.clone(), issuing[0].clone(), &self.issuing_key()?)?;
        keyfile::write_public(&self.file("root.pem"), certificates_to_pem(&roots).as_bytes())?;
        let issuing = certificates_to_pem(&issuing[..1]);
        keyfile::write_public(&self.file("issuing.pem"), issuing.as_bytes())?;
        Ok(())
    }

    /// Takes up the authority and issues the controller's own certificate.
    pub fn load(
        &self,
        fleet: &FleetName,
        region: &RegionId,
        controller: &ControllerId,
        now: WallTime,
    ) -> Result<Authority, AuthorityError> {
        let read = |name: &str| {
            let path = self.file(name);
            parse(&path, &keyfile::read_public(&path)?)
        };
        let (roots, issuing) = (read("root.pem")?, read("issuing.pem")?);
        let issuer = Issuer::new(fleet.clone(), issuing[0].clone(), &self.issuing_key()?)?;
        let key = SecretKey::generate()?;
        let issued = issuer.issue_controller(&key.request()?, region, controller, now)?;
        let credentials = Credentials::new(roots, issued.chain, &key)?;
        let (region, controller) = (region.clone(), controller.clone());
        Ok(Authority { issuer, region, controller, credentials })
    }

    fn issuing_key(&self) -> Result<SecretKey, AuthorityError> {
        let path = self.file("issuing.key");
        let pem = keyfile::read_private(&path)?;
        SecretKey::from_pem(&pem).map_err(|source| AuthorityError::Content { path, source })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

type Chain = Vec<rustls::pki_types::CertificateDer<'static>>;

fn parse(path: &Path, pem: &[u8]) -> Result<Chain, AuthorityError> {
    let content = |source| AuthorityError::Content { path: path.to_owned(), source };
    certificates_from_pem(pem).map_err(content)
}

/// A controller's issuing key at work.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer,
    region: RegionId,
    controller: ControllerId,
    credentials: Credentials,
}

impl Authority {
    /// Returns the issuer of leaves for agents and people.
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Returns the digest by which tokens name the fleet's root.
    pub fn pin(&self) -> Digest {
        Digest::of(&self.credentials.roots()[0])
    }

    /// Returns the controller's own credentials; they are renewed in place.
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Issues the controller a new leaf for a new key.
    pub fn renew(&self, now: WallTime) -> Result<(), AuthorityError> {
        let key = SecretKey::generate()?;
        let request = key.request()?;
        let issued = self.issuer.issue_controller(&request, &self.region, &self.controller, now)?;
        Ok(self.credentials.replace(issued.chain, &key)?)
    }

    /// Renews whenever it is due, by the wall clock, until told to stop.
    pub async fn keep_renewed(&self, shutdown: CancellationToken) -> Result<(), AuthorityError> {
        let mut due = self.due()?;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(RENEWAL_TICK) => {}
            }
            let now = wall_now();
            if now < due {
                continue;
            }
            // A failure is tried again at the next tick; a third of its life is left for that.
            match self.renew(now) {
                Ok(()) => info!(until = %self.credentials.verified().not_after, "renewed"),
                Err(error) => error!(%error, "cannot renew the controller's certificate"),
            }
            self.warn_of_the_issuers_end(now);
            due = self.due()?;
        }
    }

    fn due(&self) -> Result<WallTime, AuthorityError> {
        let random = getrandom::u32().map_err(|_| AuthorityError::Random)?;
        Ok(self.credentials.verified().renew_at(random))
    }

    fn warn_of_the_issuers_end(&self, now: WallTime) {
        let end = self.issuer.not_after();
        if now.0.saturating_add(ISSUING_WARNING.0) >= end.0 {
            warn!(%end, "the issuing certificate ends soon: have the root sign a new one");
        }
    }
}

/// Returns the wall clock's time.
fn wall_now() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use trireme_proto::identity::Identity;
    use trireme_proto::pki::Root;

    use super::*;

    const NOW: WallTime = WallTime(1_800_000_000_000);

    struct Setup {
        dir: tempfile::TempDir,
        fleet: FleetName,
        root: Root,
    }

    fn setup() -> Setup {
        let fleet: FleetName = "test".parse().unwrap();
        let root = Root::generate(&fleet, NOW).unwrap();
        Setup { dir: tempfile::tempdir().unwrap(), fleet, root }
    }

    impl Setup {
        fn store(&self) -> Store {
            Store::new(self.dir.path().join("pki"))
        }

        fn sign(&self, request: &[u8]) -> (String, String) {
            let c1 = "c1".parse().unwrap();
            let issuing = self.root.issue_intermediate(request, &c1, NOW).unwrap();
            let root = certificates_to_pem(std::slice::from_ref(self.root.certificate()));
            (root, certificates_to_pem(&[issuing]))
        }

        fn installed(&self) -> Authority {
            let store = self.store();
            let (root, issuing) = self.sign(&store.issuing_request().unwrap());
            store.install(&self.fleet, root.as_bytes(), issuing.as_bytes()).unwrap();
            self.load().unwrap()
        }

        fn load(&self) -> Result<Authority, AuthorityError> {
            let (region, c1) = ("aws".parse().unwrap(), "c1".parse().unwrap());
            self.store().load(&self.fleet, &region, &c1, NOW)
        }
    }

    #[test]
    fn a_controller_is_set_up_once_and_taken_up_from_disk_after() {
        let setup = setup();
        assert!(!setup.store().is_signed());
        let first = setup.installed();
        assert!(setup.store().is_signed());
        let again = setup.load().unwrap();
        let identity = first.credentials().identity();
        assert_eq!(identity.to_string(), "spiffe://test/region/aws/controller/c1");
        assert_eq!(again.credentials().identity(), identity);
        assert_eq!(again.issuer().not_after(), first.issuer().not_after());
    }

    #[test]
    fn the_request_is_always_for_the_same_key() {
        let setup = setup();
        let (_, issuing) = setup.sign(&setup.store().issuing_request().unwrap());
        setup.store().issuing_request().unwrap();
        let root = certificates_to_pem(std::slice::from_ref(setup.root.certificate()));
        setup.store().install(&setup.fleet, root.as_bytes(), issuing.as_bytes()).unwrap();
    }

    #[test]
    fn refuses_what_was_signed_for_another_key() {
        let setup = setup();
        setup.store().issuing_request().unwrap();
        let foreign = SecretKey::generate().unwrap().request().unwrap();
        let (root, issuing) = setup.sign(&foreign);
        let refusal = setup.store().install(&setup.fleet, root.as_bytes(), issuing.as_bytes());
        assert!(matches!(refusal, Err(AuthorityError::Issue(_))));
        assert!(!setup.store().is_signed(), "nothing is written by a refused install");
        assert!(matches!(setup.load(), Err(AuthorityError::File(_))));
    }

    #[test]
    fn a_renewal_has_a_new_key_and_the_same_name() {
        let authority = setup().installed();
        let before = authority.credentials().verified();
        let later = WallTime(NOW.0 + 16 * 3600 * 1000);
        authority.renew(later).unwrap();
        let after = authority.credentials().verified();
        assert_eq!(after.identity, before.identity);
        assert_ne!(after.serial, before.serial);
        assert_eq!(after.not_after, WallTime(later.0 + 24 * 3600 * 1000));
        assert!(matches!(after.identity, Identity::Controller { .. }));
    }
}
