//! The context file: read whole, unknown keys refused, replaced whole and for its owner alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use trireme_proto::keyfile::{create_private_dir, read_private, write_private};

use super::ContextError;
use crate::cli::Global;

/// All contexts of a person.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// Context that is used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// Contexts by name.
    pub(crate) contexts: BTreeMap<String, Entry>,
}

/// One context as it stands in the file; paths are relative to the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Addresses of controllers as `host:port`.
    pub(crate) controllers: Vec<String>,
    /// Root certificate of the fleet.
    pub(crate) ca: PathBuf,
    /// Our certificate chain.
    pub(crate) certificate: PathBuf,
    /// Our key.
    pub(crate) key: PathBuf,
    /// Whether each change wants the fleet's name typed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) protected: bool,
    /// How the certificate is renewed, if we have logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) login: Option<Login>,
}

/// A login, as the fleet knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Our name.
    pub user: String,
    /// Name of the login.
    pub id: String,
    /// Where the next certificate is asked for, as `host:port`.
    pub enrol: Vec<String>,
}

impl File {
    /// Returns where the file is, or will be.
    pub(crate) fn path(global: &Global) -> Result<PathBuf, ContextError> {
        let home = || Some(std::env::home_dir()?.join(".config/trireme/config.yaml"));
        global.config.clone().or_else(home).ok_or(ContextError::NoHome)
    }

    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, ContextError> {
        if !path.exists() {
            return Err(ContextError::NoFile { path: path.to_owned() });
        }
        let bytes = read_private(path).map_err(ContextError::File)?;
        serde_saphyr::from_str(&String::from_utf8_lossy(&bytes))
            .map_err(|source| ContextError::Syntax { path: path.to_owned(), source })
    }

    /// Reads the file, or returns one without contexts.
    pub(crate) fn read_or_empty(path: &Path) -> Result<Self, ContextError> {
        if path.exists() { Self::read(path) } else { Ok(Self::default()) }
    }

    /// Replaces the file, readable by its owner alone.
    pub(crate) fn write(&self, path: &Path) -> Result<(), ContextError> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            create_private_dir(dir).map_err(ContextError::File)?;
        }
        write_private(path, self.to_yaml().as_bytes()).map_err(ContextError::File)
    }

    /// Returns the text of the file.
    pub(crate) fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).expect("plain strings and lists of them")
    }

    /// Returns the name of the context that counts: the one wanted, the current, the only one.
    pub(crate) fn chosen(&self, path: &Path, wanted: Option<&str>) -> Result<String, ContextError> {
        let only = || self.contexts.keys().next().filter(|_| self.contexts.len() == 1);
        let name = wanted.or(self.current.as_deref()).or_else(|| only().map(String::as_str));
        let (path, known) = (path.to_owned(), self.known());
        match name {
            None => Err(ContextError::NotChosen { path, known }),
            Some(name) if self.contexts.contains_key(name) => Ok(name.to_owned()),
            Some(name) => Err(ContextError::Unknown { name: name.to_owned(), path, known }),
        }
    }

    /// Returns the names of the contexts, for messages.
    fn known(&self) -> String {
        if self.contexts.is_empty() {
            return "none".to_owned();
        }
        self.contexts.keys().cloned().collect::<Vec<_>>().join(", ")
    }
}
