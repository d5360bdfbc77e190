//! Where the fleet is and who we are: flags, environment, then the context file.
//!
//! ```yaml
//! current: prod
//! contexts:
//!   prod:
//!     controllers: [c1.example:7443, c2.example:7443, c3.example:7443]
//!     ca: root.pem            # paths are relative to this file
//!     certificate: user.pem
//!     key: user.key           # readable by its owner alone, as this file
//!     protected: true         # changes want the fleet's name typed
//!     login: {user: ann, id: k3v9x0qa, enrol: [c1.example:7444]}  # how the certificate is renewed
//! ```
//!
//! The file is not read when flags or environment say everything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use trireme_proto::identity::{FleetName, Identity};
use trireme_proto::keyfile::{FileError, read_private, read_public};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::WallTime;
use trireme_proto::tls::{Credentials, TlsError};

mod file;

use crate::cli::Global;
use crate::error::caused;

pub use self::file::Login;
pub(crate) use self::file::{Entry, File};

/// Controllers a context may name: a Raft group has three or five, and a name may be known twice.
const CONTROLLERS_MAX: usize = 16;

/// Tells why it is not known where the fleet is or who we are.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Nobody said anything.
    #[error("no fleet to talk to: there is no context file {path}", path = path.display())]
    NoFile {
        /// File that was looked for.
        path: PathBuf,
    },
    /// There is no home directory to look in.
    #[error("no fleet to talk to: neither --config nor a home directory is known")]
    NoHome,
    /// The file cannot be read, or others can.
    #[error("context file cannot be used")]
    File(#[source] FileError),
    /// The file is not what it should be.
    #[error("context file {path} is not valid", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        #[source]
        source: serde_saphyr::Error,
    },
    /// The file knows several contexts and none is chosen.
    #[error("no context chosen in {path}: it has {known}", path = path.display())]
    NotChosen {
        /// The file.
        path: PathBuf,
        /// Contexts there are.
        known: String,
    },
    /// The file does not know the context.
    #[error("no context `{name}` in {path}: it has {known}", path = path.display())]
    Unknown {
        /// Context asked for.
        name: String,
        /// The file.
        path: PathBuf,
        /// Contexts there are.
        known: String,
    },
    /// No controller, or too many.
    #[error("context `{0}` names {1} controllers: write 1 to {CONTROLLERS_MAX} as HOST:PORT")]
    Controllers(String, usize),
    /// Certificate or key cannot be read.
    #[error("{what} cannot be read")]
    Material {
        /// Which of them.
        what: &'static str,
        /// Why.
        #[source]
        source: FileError,
    },
    /// Certificate and key are no identity.
    #[error("certificate {path} and its key cannot be used", path = path.display())]
    Credentials {
        /// The certificate.
        path: PathBuf,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The certificate is a machine's.
    #[error("certificate {path} is of {identity}, not of a person", path = path.display())]
    NotAPerson {
        /// The certificate.
        path: PathBuf,
        /// Whose it is.
        identity: Box<Identity>,
    },
    /// The certificate has ended.
    #[error("certificate of {identity} expired at {not_after}")]
    Expired {
        /// Whose it is.
        identity: Box<Identity>,
        /// When it ended.
        not_after: WallTime,
    },
}

impl From<ContextError> for Problem {
    fn from(error: ContextError) -> Self {
        let (code, hint) = match &error {
            ContextError::NoFile { .. } | ContextError::NoHome => (
                Code::Usage,
                "log in (`trictl login --enrol HOST:PORT`), name one with --config, or give \
                 --controller, --ca, --cert and --key",
            ),
            ContextError::NotChosen { .. } | ContextError::Unknown { .. } => {
                (Code::Usage, "name one with --context, or set `current` in the file")
            }
            ContextError::NotAPerson { .. } => (
                Code::Denied,
                "`trictl ca issue-user --name NAME --role ROLE` makes a certificate for a person",
            ),
            ContextError::Expired { .. } => (
                Code::Denied,
                "log in with a token from an admin: `trictl login --enrol HOST:PORT`",
            ),
            ContextError::File(_)
            | ContextError::Syntax { .. }
            | ContextError::Controllers(..)
            | ContextError::Material { .. }
            | ContextError::Credentials { .. } => {
                let problem = Problem::new(Code::Usage, error.to_string());
                return caused(problem, &error);
            }
        };
        caused(Self::new(code, error.to_string()), &error).hint(hint)
    }
}

/// Where a fleet is and who we are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Name in the file; `flags` if everything was given otherwise.
    pub name: String,
    /// Addresses of controllers as `host:port`, in the order they are tried.
    pub controllers: Vec<String>,
    /// Root certificate of the fleet.
    pub ca: PathBuf,
    /// Our certificate chain.
    pub certificate: PathBuf,
    /// Our key.
    pub key: PathBuf,
    /// Whether each change wants the fleet's name typed.
    pub protected: bool,
    /// How the certificate is renewed, if we have logged in.
    pub login: Option<Login>,
    /// File that says where the controllers are; none if that was given otherwise.
    pub file: Option<PathBuf>,
}

impl Context {
    /// Finds the context: flags and environment win over the file.
    pub fn resolve(global: &Global) -> Result<Self, ContextError> {
        let context = match (&global.ca, &global.cert, &global.key) {
            (Some(ca), Some(cert), Some(key)) if !global.controllers.is_empty() => Self {
                name: "flags".to_owned(),
                controllers: global.controllers.clone(),
                ca: ca.clone(),
                certificate: cert.clone(),
                key: key.clone(),
                ..Self::default()
            },
            _ => Self::from_file(global)?,
        };
        if (1..=CONTROLLERS_MAX).contains(&context.controllers.len()) {
            Ok(context)
        } else {
            Err(ContextError::Controllers(context.name, context.controllers.len()))
        }
    }

    fn from_file(global: &Global) -> Result<Self, ContextError> {
        let path = File::path(global)?;
        let mut file = File::read(&path)?;
        let name = file.chosen(&path, global.context.as_deref())?;
        let entry = file.contexts.remove(&name).expect("it was just found there");
        // Another certificate than the file's is not renewed in its place.
        let replaced = global.cert.is_some() || global.key.is_some() || global.ca.is_some();
        let beside = path.parent().unwrap_or(Path::new(""));
        let own =
            |flag: &Option<PathBuf>, file: &Path| flag.clone().unwrap_or_else(|| beside.join(file));
        let given = !global.controllers.is_empty();
        Ok(Self {
            name,
            controllers: if given { global.controllers.clone() } else { entry.controllers },
            ca: own(&global.ca, &entry.ca),
            certificate: own(&global.cert, &entry.certificate),
            key: own(&global.key, &entry.key),
            protected: entry.protected,
            login: entry.login.filter(|_| !replaced),
            file: (!given).then_some(path),
        })
    }

    /// Reads certificate and key, refusing what a controller would refuse anyway.
    pub fn credentials(&self) -> Result<Credentials, ContextError> {
        let material = |what| move |source| ContextError::Material { what, source };
        let ca = read_public(&self.ca).map_err(material("root certificate"))?;
        let chain = read_public(&self.certificate).map_err(material("certificate"))?;
        let key = read_private(&self.key).map_err(material("private key"))?;
        let path = self.certificate.clone();
        let credentials = Credentials::from_pem(&ca, &chain, &key)
            .map_err(|source| ContextError::Credentials { path, source })?;
        let verified = credentials.verified();
        let identity = Box::new(verified.identity);
        if !matches!(*identity, Identity::User { .. }) {
            return Err(ContextError::NotAPerson { path: self.certificate.clone(), identity });
        }
        // Who has logged in is given the next one when it is needed.
        if verified.not_after <= now() && self.login.is_none() {
            return Err(ContextError::Expired { identity, not_after: verified.not_after });
        }
        Ok(credentials)
    }

    /// Returns the text of a context file with this one context, paths as they are.
    pub fn to_yaml(&self, fleet: &FleetName) -> String {
        let (name, entry) = (fleet.to_string(), self.entry());
        let file = File { current: Some(name.clone()), contexts: BTreeMap::from([(name, entry)]) };
        file.to_yaml()
    }

    /// Keeps where the controllers are now, in the file that says so.
    pub(crate) fn moved(&self, told: &[String], enrol: &[String]) -> Result<(), ContextError> {
        let Some(path) = &self.file else { return Ok(()) };
        let mut file = File::read(path)?;
        let Some(entry) = file.contexts.get_mut(&self.name) else { return Ok(()) };
        let before = entry.clone();
        // Others than the fleet's own addresses are somebody's own way to it.
        if entry.controllers.iter().any(|one| told.contains(one)) {
            entry.controllers = told.to_vec();
        }
        if let Some(login) = &mut entry.login
            && login.enrol.iter().any(|one| enrol.contains(one))
        {
            login.enrol = enrol.to_vec();
        }
        if *entry == before { Ok(()) } else { file.write(path) }
    }

    /// Returns the context as it stands in the file, paths as they are.
    pub(crate) fn entry(&self) -> Entry {
        Entry {
            controllers: self.controllers.clone(),
            ca: self.ca.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            protected: self.protected,
            login: self.login.clone(),
        }
    }
}

/// Returns the wall time, for the ends of certificates.
pub(crate) fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Returns the names of the contexts in the file.
pub(crate) fn names(global: &Global) -> Option<Vec<String>> {
    let path = File::path(global).ok()?;
    Some(File::read(&path).ok()?.contexts.into_keys().collect())
}

#[cfg(test)]
mod tests;
