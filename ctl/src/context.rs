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
//! ```
//!
//! The file is not read when flags or environment say everything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use trireme_proto::identity::{FleetName, Identity};
use trireme_proto::keyfile::{FileError, read_private, read_public};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::WallTime;
use trireme_proto::tls::{Credentials, TlsError};

use crate::cli::Global;
use crate::error::caused;

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
                "write one (`trictl ca issue-user --controller HOST:PORT` does), name it with \
                 --config, or give --controller, --ca, --cert and --key",
            ),
            ContextError::NotChosen { .. } | ContextError::Unknown { .. } => {
                (Code::Usage, "name one with --context, or set `current` in the file")
            }
            ContextError::NotAPerson { .. } => {
                (Code::Denied, "`trictl ca issue-user` makes a certificate for a person")
            }
            ContextError::Expired { .. } => {
                (Code::Denied, "have a new one issued: `trictl ca issue-user --name NAME`")
            }
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    current: Option<String>,
    contexts: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    controllers: Vec<String>,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// Where a fleet is and who we are there.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        let path = match &global.config {
            Some(path) => path.clone(),
            None => default_path().ok_or(ContextError::NoHome)?,
        };
        let (name, entry) = load(&path, global.context.as_deref())?;
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
        if verified.not_after <= now() {
            return Err(ContextError::Expired { identity, not_after: verified.not_after });
        }
        Ok(credentials)
    }

    /// Returns the text of a context file with this one context, paths as they are.
    pub fn to_yaml(&self, fleet: &FleetName) -> String {
        let json = |text: &str| serde_json::Value::from(text).to_string();
        let controllers: Vec<_> = self.controllers.iter().map(|address| json(address)).collect();
        let path = |path: &Path| json(&path.display().to_string());
        format!(
            "current: {name}\ncontexts:\n  {name}:\n    controllers: [{controllers}]\n    \
             ca: {ca}\n    certificate: {certificate}\n    key: {key}\n",
            name = json(fleet.as_str()),
            controllers = controllers.join(", "),
            ca = path(&self.ca),
            certificate = path(&self.certificate),
            key = path(&self.key),
        )
    }
}

/// Returns the wall time, for the ends of certificates.
pub(crate) fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Returns the names of the contexts in the file.
pub(crate) fn names(global: &Global) -> Option<Vec<String>> {
    let path = global.config.clone().or_else(default_path)?;
    Some(read(&path).ok()?.contexts.into_keys().collect())
}

fn default_path() -> Option<PathBuf> {
    Some(std::env::home_dir()?.join(".config/trireme/config.yaml"))
}

fn read(path: &Path) -> Result<File, ContextError> {
    if !path.exists() {
        return Err(ContextError::NoFile { path: path.to_owned() });
    }
    let bytes = read_private(path).map_err(ContextError::File)?;
    serde_saphyr::from_str(&String::from_utf8_lossy(&bytes))
        .map_err(|source| ContextError::Syntax { path: path.to_owned(), source })
}

fn load(path: &Path, wanted: Option<&str>) -> Result<(String, Entry), ContextError> {
    let mut file = read(path)?;
    let known = file.contexts.keys().cloned().collect::<Vec<_>>().join(", ");
    let only =
        || if file.contexts.len() == 1 { file.contexts.keys().next().cloned() } else { None };
    let name = wanted.map(str::to_owned).or(file.current).or_else(only);
    let path = path.to_owned();
    let Some(name) = name else {
        return Err(ContextError::NotChosen { path, known });
    };
    match file.contexts.remove(&name) {
        Some(entry) => Ok((name, entry)),
        None => Err(ContextError::Unknown { name, path, known }),
    }
}

#[cfg(test)]
mod tests {
    use trireme_proto::keyfile::{write_private, write_public};

    use super::*;

    const TWO: &str = "contexts:
  a: {controllers: ['127.0.0.1:1'], ca: ca.crt, certificate: a.crt, key: a.key}
  b: {controllers: ['127.0.0.1:2'], ca: /x/ca.crt, certificate: b.crt, key: b.key}
";

    fn file(text: &str) -> (tempfile::TempDir, Global) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        write_private(&path, text.as_bytes()).unwrap();
        (dir, Global { config: Some(path), ..Global::default() })
    }

    #[test]
    fn flags_win_over_the_file_and_paths_are_relative_to_it() {
        let (dir, mut global) = file(TWO);
        global.context = Some("b".to_owned());
        global.key = Some("mine.key".into());
        let context = Context::resolve(&global).unwrap();
        assert_eq!(context.controllers, ["127.0.0.1:2"]);
        assert_eq!(context.ca, Path::new("/x/ca.crt"));
        assert_eq!(context.certificate, dir.path().join("b.crt"));
        assert_eq!(context.key, Path::new("mine.key"));
        global.controllers = vec!["127.0.0.1:9".to_owned()];
        assert_eq!(Context::resolve(&global).unwrap().controllers, ["127.0.0.1:9"]);
    }

    #[test]
    fn the_file_is_not_needed_when_flags_say_everything() {
        let global = Global {
            config: Some("/nonexistent".into()),
            controllers: vec!["127.0.0.1:9".to_owned()],
            ca: Some("ca".into()),
            cert: Some("cert".into()),
            key: Some("key".into()),
            ..Global::default()
        };
        assert_eq!(Context::resolve(&global).unwrap().name, "flags");
    }

    fn problem(global: &Global) -> Problem {
        Context::resolve(global).unwrap_err().into()
    }

    #[test]
    fn says_what_is_wrong_with_a_context_file() {
        let (_dir, mut global) = file(TWO);
        let chosen = problem(&global);
        assert!(chosen.message.starts_with("no context chosen in "), "{chosen}");
        assert!(chosen.message.ends_with("it has a, b"), "{chosen}");
        global.context = Some("c".to_owned());
        let unknown = problem(&global);
        assert!(unknown.message.starts_with("no context `c` in "), "{unknown}");
        assert_eq!(unknown.hint.unwrap(), "name one with --context, or set `current` in the file");

        let (_dir, global) = file("contexts:\n  a:\n    controllers: []\n    cert: x\n");
        let syntax = problem(&global);
        assert!(syntax.message.ends_with("is not valid"), "{syntax}");
        assert!(syntax.why[0].contains("unknown field `cert`"), "{:?}", syntax.why);
        assert!(syntax.why[0].contains('4'), "names the line: {:?}", syntax.why);

        let none = Global { config: Some("/nonexistent".into()), ..Global::default() };
        let none = problem(&none);
        assert_eq!(none.message, "no fleet to talk to: there is no context file /nonexistent");
        assert_eq!(none.code, Code::Usage);
        assert!(none.hint.is_some());
    }

    #[test]
    fn refuses_a_context_file_that_others_can_read() {
        let (dir, global) = file(TWO);
        write_public(&dir.path().join("config.yaml"), TWO.as_bytes()).unwrap();
        let exposed = problem(&global);
        assert_eq!(exposed.message, "context file cannot be used");
        assert!(exposed.why[0].contains("chmod 600"), "{:?}", exposed.why);
    }

    #[test]
    fn refuses_a_context_without_controllers() {
        let (_dir, global) =
            file("contexts: {a: {controllers: [], ca: ca, certificate: c, key: k}}");
        assert_eq!(
            problem(&global).message,
            "context `a` names 0 controllers: write 1 to 16 as HOST:PORT"
        );
    }

    #[test]
    fn a_written_context_is_read_back() {
        let context = Context {
            name: "prod".to_owned(),
            controllers: vec!["127.0.0.1:1".to_owned(), "[::1]:2".to_owned()],
            ca: "ca.crt".into(),
            certificate: "it's.crt".into(),
            key: "k".into(),
        };
        let (dir, global) = file(&context.to_yaml(&"prod".parse().unwrap()));
        let read = Context::resolve(&global).unwrap();
        assert_eq!((read.name.as_str(), &read.controllers), ("prod", &context.controllers));
        assert_eq!(read.certificate, dir.path().join("it's.crt"));
    }
}
