//! The node's identity on disk: key and certificate, the fleet's root, the known controllers.
//!
//! Key and chain lie in one private file, so that a crash in a renewal leaves an old pair or a new
//! one, never a key without its certificate.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use trireme_proto::key::{KeyError, SecretKey, certificates_to_pem};
use trireme_proto::keyfile::{
    FileError, create_private_dir, read_private, read_public, write_private, write_public,
};
use trireme_proto::tls::{Credentials, TlsError};

use super::order::Known;

/// Tells why the identity cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The files do not make an identity.
    #[error("identity in {dir} is not usable: remove the node and join anew", dir = dir.display())]
    Identity {
        /// Where it lies.
        dir: PathBuf,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// A key could not be made or read.
    #[error("no usable key")]
    Key(#[from] KeyError),
}

/// The directory that holds the identity.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Returns the store in the agent's data directory.
    pub fn new(data: &Path) -> Self {
        Self { dir: data.join("identity") }
    }

    /// Reads the identity; `None` if the node has not joined.
    pub fn load(&self) -> Result<Option<Credentials>, StoreError> {
        let Some(pair) = present(read_private(&self.pair()))? else { return Ok(None) };
        let root = read_public(&self.root())?;
        let credentials = Credentials::from_pem(&root, &pair, &pair);
        credentials
            .map(Some)
            .map_err(|source| StoreError::Identity { dir: self.dir.clone(), source })
    }

    /// Writes the identity that a fleet has given.
    pub fn save_first(
        &self,
        root: CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        key: &SecretKey,
    ) -> Result<(), StoreError> {
        write_public(&self.root(), certificates_to_pem(&[root]).as_bytes())?;
        // Last, because its presence says that the node has joined.
        self.save(chain, key)?;
        // The same key lies in the pair; a copy that stays behind is as private.
        std::fs::remove_file(self.joining()).unwrap_or_default();
        Ok(())
    }

    /// Writes a renewed identity.
    pub fn save(&self, chain: &[CertificateDer<'_>], key: &SecretKey) -> Result<(), StoreError> {
        let mut pem = key.to_pem();
        pem.push_str(&certificates_to_pem(chain));
        Ok(write_private(&self.pair(), pem.as_bytes())?)
    }

    /// Returns the key to join with: the same one until that has worked, so that a request whose
    /// answer was lost can be repeated.
    pub fn joining_key(&self) -> Result<SecretKey, StoreError> {
        create_private_dir(&self.dir)?;
        if let Some(pem) = present(read_private(&self.joining()))? {
            return Ok(SecretKey::from_pem(&pem)?);
        }
        let key = SecretKey::generate()?;
        write_private(&self.joining(), key.to_pem().as_bytes())?;
        Ok(key)
    }

    /// Returns the controllers that were last told of.
    pub fn controllers(&self) -> Vec<Known> {
        let bytes = read_public(&self.known()).unwrap_or_default();
        // Lost or damaged it costs no more than the next Welcome.
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Remembers the controllers.
    pub fn save_controllers(&self, controllers: &[Known]) -> Result<(), StoreError> {
        let json = serde_json::to_vec(controllers).expect("strings alone have no failing parts");
        Ok(write_public(&self.known(), &json)?)
    }

    fn pair(&self) -> PathBuf {
        self.dir.join("node.pem")
    }

    fn root(&self) -> PathBuf {
        self.dir.join("root.pem")
    }

    fn joining(&self) -> PathBuf {
        self.dir.join("joining.key")
    }

    fn known(&self) -> PathBuf {
        self.dir.join("controllers.json")
    }
}

/// Turns a missing file into `None`.
fn present<T>(read: Result<T, FileError>) -> Result<Option<T>, FileError> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
