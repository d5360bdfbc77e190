//! The fleet's root: made, kept and used on the operator's own machine; no controller is asked.
//!
//! ```text
//! trictl ca init             DIR/{root.pem, root.key, fleet}  root.key never leaves the directory
//! trictl ca sign-controller  c1's request ──▶ {root.pem, issuing.pem} for c1's disk
//! trictl ca issue-user       DIR/users/ann/{root.pem, user.pem, user.key, config.yaml}
//! ```

mod init;
mod issue_user;
mod sign_controller;

use std::path::{Path, PathBuf};

use trireme_proto::identity::FleetName;
use trireme_proto::key::{KeyError, SecretKey, certificates_from_pem};
use trireme_proto::keyfile::{FileError, read_private, read_public};
use trireme_proto::pki::{PkiError, Root};
use trireme_proto::problem::{Code, Problem};

use crate::App;
use crate::error::{Failure, Outcome, caused};

/// What to do with the fleet's root.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Init(init::Args),
    SignController(sign_controller::Args),
    IssueUser(issue_user::Args),
}

/// Runs one of them.
pub(super) fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Init(args) => init::run(app, &args),
        Command::SignController(args) => sign_controller::run(app, &args),
        Command::IssueUser(args) => issue_user::run(app, &args),
    }
}

/// Tells what is wrong with the root's directory or what it should sign.
#[derive(Debug, thiserror::Error)]
enum CaError {
    #[error("there is a root in {} already: it is not replaced", .0.display())]
    Exists(PathBuf),
    #[error("{} holds no root of a fleet", .0.display())]
    NoRoot(PathBuf),
    #[error("{} is no signing request", .0.display())]
    Request(PathBuf),
    #[error("file cannot be used")]
    File(#[from] FileError),
    #[error("root in {} cannot be used", .0.display())]
    Root(PathBuf, #[source] PkiError),
    #[error("root in {} cannot be used", .0.display())]
    RootKey(PathBuf, #[source] KeyError),
    #[error("cannot make a key")]
    Key(#[from] KeyError),
    #[error("cannot issue the certificate")]
    Issue(#[from] PkiError),
}

impl From<CaError> for Failure {
    fn from(error: CaError) -> Self {
        let (code, hint) = match &error {
            CaError::Exists(_) => (Code::Conflict, Some("choose another directory with --dir")),
            CaError::NoRoot(_) => (
                Code::Usage,
                Some("name its directory with --dir, or: trictl ca init --fleet NAME"),
            ),
            CaError::Request(_) => {
                (Code::Usage, Some("give the request that the controller wrote, PEM or DER"))
            }
            CaError::File(_)
            | CaError::Root(..)
            | CaError::RootKey(..)
            | CaError::Key(_)
            | CaError::Issue(_) => (Code::Failed, None),
        };
        let mut problem = caused(Problem::new(code, error.to_string()), &error);
        problem.hint = hint.map(str::to_owned);
        problem.into()
    }
}

/// The root's certificate, by the name under which controllers look for it too.
const ROOT_FILE: &str = "root.pem";

/// Where a root is kept.
#[derive(Debug, clap::Args)]
struct Dir {
    /// Directory of the root
    #[arg(long, value_name = "DIR", default_value = "trireme-ca")]
    dir: PathBuf,
}

impl Dir {
    fn certificate(&self) -> PathBuf {
        self.dir.join(ROOT_FILE)
    }

    fn key(&self) -> PathBuf {
        self.dir.join("root.key")
    }

    fn fleet(&self) -> PathBuf {
        self.dir.join("fleet")
    }

    /// Takes up the root, refusing a key that others can read.
    fn load(&self) -> Result<Root, CaError> {
        if !self.certificate().exists() {
            return Err(CaError::NoRoot(self.dir.clone()));
        }
        let no_root = || CaError::NoRoot(self.dir.clone());
        let bad_key = |error| CaError::RootKey(self.dir.clone(), error);
        let fleet = String::from_utf8(read_public(&self.fleet())?).map_err(|_| no_root())?;
        let fleet: FleetName = fleet.trim().parse().map_err(|_| no_root())?;
        let chain = certificates_from_pem(&read_public(&self.certificate())?).map_err(bad_key)?;
        let key = SecretKey::from_pem(&read_private(&self.key())?).map_err(bad_key)?;
        let certificate = chain.into_iter().next().ok_or_else(no_root)?;
        Root::load(fleet, certificate, key).map_err(|error| CaError::Root(self.dir.clone(), error))
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
