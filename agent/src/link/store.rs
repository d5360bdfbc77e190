//! The node's identity on disk: key and certificate, the fleet's root, the known controllers.
//!
//! Key and chain lie in one private file, so that a crash in a renewal leaves an old pair or a new
//! one, never a key without its certificate.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use trireme_proto::id::ControllerId;
use trireme_proto::key::{KeyError, SecretKey, certificates_to_pem};
use trireme_proto::keyfile::{
    FileError, create_private_dir, read_private, read_public, write_private, write_public,
};
use trireme_proto::tls::{Credentials, Server, TlsError};
use trireme_proto::wire::{ControllerAddress, ControllerList};

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

/// Controllers, as one of them told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Who they are.
    pub known: Vec<Known>,
    /// Recovery epoch and log index at which that was so: the later counts.
    pub place: (u64, u64),
    /// Those that were removed and are not to be believed.
    #[serde(default)]
    pub removed: BTreeSet<ControllerId>,
}

impl Told {
    /// Reads a list; `None` is what controllers tell that know of no places.
    pub fn of(list: Option<ControllerList>, otherwise: Vec<ControllerAddress>) -> Self {
        let (controllers, place, removed) = match list {
            Some(list) => (list.controllers, (list.epoch, list.at), list.removed),
            None => (otherwise, (0, 0), Vec::new()),
        };
        let removed = removed.iter().filter_map(|name| name.parse().ok()).collect();
        let known = controllers
            .into_iter()
            .map(|one| Known { address: one.address, region: Some(one.region) });
        Self { known: known.collect(), place, removed }
    }
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
    pub fn controllers(&self) -> Told {
        let bytes = read_public(&self.known()).unwrap_or_default();
        let before =
            |_| serde_json::from_slice(&bytes).map(|known| Told { known, ..Told::default() });
        // Lost or damaged it costs no more than the next Welcome.
        serde_json::from_slice(&bytes).or_else(before).unwrap_or_default()
    }

    /// Returns whom to take for a controller.
    pub fn accepted(&self) -> Server {
        Server::AnyBut(self.controllers().removed)
    }

    /// Remembers the controllers, unless a later list is known: one that was removed and does not
    /// know it must not lead the node back to those before.
    pub fn save_controllers(&self, told: &Told) -> Result<(), StoreError> {
        let known = self.controllers();
        if told.known.is_empty() || told.place < known.place || *told == known {
            return Ok(());
        }
        let json = serde_json::to_vec(told).expect("strings and numbers have no failing parts");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(address: &str, place: (u64, u64), removed: &[&str]) -> Told {
        let known = vec![Known { address: address.to_owned(), region: Some("aws".to_owned()) }];
        Told { known, place, removed: removed.iter().map(|name| name.parse().unwrap()).collect() }
    }

    /// A controller that missed its removal leads no node back to those who were there before.
    #[test]
    fn of_two_lists_of_controllers_the_later_counts() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        create_private_dir(&store.dir).unwrap();
        assert_eq!(store.accepted(), Server::AnyBut(BTreeSet::new()));
        let later = told("c2:1", (1, 90), &["c1"]);
        store.save_controllers(&later).unwrap();
        for earlier in [told("c1:1", (1, 89), &[]), told("c1:1", (0, 900), &[])] {
            store.save_controllers(&earlier).unwrap();
            assert_eq!(store.controllers(), later);
        }
        store.save_controllers(&Told { known: vec![], ..told("", (2, 0), &[]) }).unwrap();
        assert_eq!(store.controllers(), later, "nobody is no list");
        assert_eq!(store.accepted(), Server::AnyBut(["c1".parse().unwrap()].into()));
        store.save_controllers(&told("c3:1", (2, 1), &["c1", "c2"])).unwrap();
        assert_eq!(store.controllers().known[0].address, "c3:1");
    }

    #[test]
    fn a_list_without_a_place_is_read_as_the_earliest() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        create_private_dir(&store.dir).unwrap();
        std::fs::write(store.known(), r#"[{"address":"c1:1","region":"aws"}]"#).unwrap();
        assert_eq!(store.controllers(), told("c1:1", (0, 0), &[]));
    }
}
