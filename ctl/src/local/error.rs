//! Why a fleet on this machine could not be made, started or taken down.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use trireme_proto::key::KeyError;
use trireme_proto::keyfile::FileError;
use trireme_proto::pki::PkiError;
use trireme_proto::problem::{Code, Problem};

use crate::error::{Failure, caused};

/// Tells why a fleet on this machine could not be made, started or taken down.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A program of ours is not there.
    #[error("program {} is not there", .0.display())]
    NoProgram(PathBuf),
    /// There is a fleet already.
    #[error("a fleet is running in {}", .0.display())]
    Running(PathBuf),
    /// There is none.
    #[error("there is no fleet in {}", .0.display())]
    NoFleet(PathBuf),
    /// An earlier start did not come to its end.
    #[error("the fleet in {} was never completed", .0.display())]
    Unfinished(PathBuf),
    /// The directory holds something else.
    #[error("directory {} is not empty and holds no fleet", .0.display())]
    Foreign(PathBuf),
    /// Somebody has an address that the fleet needs.
    #[error("address {address} is in use")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// An address cannot be used for another reason.
    #[error("address {address} cannot be listened on")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More than the addresses of this machine can tell apart.
    #[error("{given} {what} are more than {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// What was asked for.
        given: usize,
        /// What there is room for.
        max: usize,
    },
    /// A file could not be used.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file with a key or certificate could not be used.
    #[error("identity of the fleet cannot be kept")]
    File(#[from] FileError),
    /// A key could not be made or read.
    #[error("identity of the fleet cannot be made")]
    Key(#[from] KeyError),
    /// A certificate could not be issued.
    #[error("identity of the fleet cannot be issued")]
    Pki(#[from] PkiError),
    /// A record of the fleet is not what it should be.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A program said no.
    #[error("{what} failed")]
    Command {
        /// What it was to do.
        what: String,
        /// What it said.
        said: String,
    },
    /// A daemon ended by itself.
    #[error("{name} has ended: {how}")]
    Ended {
        /// Which.
        name: String,
        /// Exit code or signal.
        how: String,
        /// The end of its log.
        log: String,
    },
    /// Something took too long.
    #[error("{what} did not happen within {seconds} s")]
    TooLong {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What was seen last.
        seen: String,
    },
    /// Processes that could not be ended.
    #[error("{count} processes of the fleet in {} could not be ended", dir.display())]
    Left {
        /// Whose.
        dir: PathBuf,
        /// How many.
        count: usize,
    },
    /// A controller refused, or could not be reached.
    #[error("{what}: {problem}")]
    Refused {
        /// What was asked.
        what: String,
        /// What it said.
        problem: Box<Problem>,
    },
}

impl LocalError {
    pub(super) fn io(
        verb: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { verb, path, source }
    }

    /// Wraps what a controller said to `what`.
    pub(super) fn refused(what: impl Into<String>) -> impl FnOnce(Failure) -> Self {
        let what = what.into();
        move |failure| {
            let problem = match failure {
                Failure::Problem(problem) => problem,
                Failure::Closed => Box::new(Problem::new(Code::Failed, failure.to_string())),
            };
            Self::Refused { what, problem }
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Running(_) | Self::InUse { .. } | Self::Foreign(_) | Self::Unfinished(_) => {
                Code::Conflict
            }
            Self::NoFleet(_) => Code::NotFound,
            Self::TooMany { .. } => Code::Usage,
            Self::Refused { problem, .. } => problem.code,
            _ => Code::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoProgram(_) => "build all programs: cargo build; or name their directory with \
                                   --programs DIR"
                .to_owned(),
            Self::Running(dir) | Self::Unfinished(dir) => {
                format!("take it down: trictl dev down --dir {}", dir.display())
            }
            Self::NoFleet(dir) => format!("start one: trictl dev up --dir {}", dir.display()),
            Self::Foreign(_) => "choose another directory with --dir".to_owned(),
            Self::InUse { address } => format!(
                "an earlier fleet may hold it: trictl dev down; else `ss -lntup 'sport = :{}'` \
                 names the holder",
                address.port()
            ),
            Self::Left { dir, .. } => {
                format!("look at them: lsof +D {}; then run it again", dir.display())
            }
            Self::Refused { problem, .. } => return problem.hint.clone(),
            _ => return None,
        })
    }
}

impl From<LocalError> for Problem {
    fn from(error: LocalError) -> Self {
        let mut problem = caused(Self::new(error.code(), error.to_string()), &error);
        match &error {
            LocalError::Command { said, .. } => problem.why.extend(lines(said)),
            LocalError::Ended { log, .. } => problem.why.extend(lines(log)),
            LocalError::TooLong { seen, .. } => problem.why.extend(lines(seen)),
            LocalError::Refused { problem: inner, .. } => problem.why.clone_from(&inner.why),
            _ => {}
        }
        problem.hint = error.hint();
        problem
    }
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Self {
        Problem::from(error).into()
    }
}

fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned)
}
