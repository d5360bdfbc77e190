//! Programs that an admin runs beside a service: with its environment and directory, or inside its
//! container. Nothing runs unless this node's own configuration lets it.
//!
//! ```text
//!  begun on disk (once) ──▶ started with a mark ──▶ output, exit ──▶ all with the mark killed ──▶ ended on disk
//!                             agent killed here: the next one kills what has the mark
//! ```

mod container;
mod mark;
mod once;
mod process;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::time::timeout;
use tracing::{info, warn};
use trireme_proto::id::ServiceId;
use trireme_proto::query::ExecQuestion;

use self::once::{Begun, Made};
use self::process::Held;
use super::compose::{ComposeError, Docker};
use super::unit::Kind;
use super::{Exit, HostError, Machine, blocking};

pub(super) use self::once::Once;

/// Time that a killed process has to vanish.
const KILL_WAIT: Duration = Duration::from_secs(5);
/// Longest name of a run.
const ID_LEN_MAX: usize = 64;

/// Tells why a program was not run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The node's own configuration does not let anybody.
    #[error(
        "programs may not be run beside {0} on this node: its administrator may add it to \
         `drivers.exec` in the agent's configuration"
    )]
    NotAllowed(ServiceId),
    /// It was begun before.
    #[error("run {0} was begun on this node before; nothing is run twice")]
    Again(String),
    /// It has no name that could be remembered.
    #[error("a run without a name of letters, digits and - is not begun")]
    Nameless,
    /// The service was never here.
    #[error("nothing of {0} was ever started on this node")]
    Unknown(ServiceId),
    /// It is a unit: its user and its sandbox are systemd's to give, and the agent's own are others.
    #[error("{0} is a unit of systemd: programs are not run beside units yet; log in to the node")]
    Unit(ServiceId),
    /// Several containers run, and none or an unknown one was named.
    #[error("name one of the containers that run with --container: {0}")]
    Which(String),
    /// The first word would be read as several.
    #[error("`{0}` cannot begin a debug run in a container: no blank and no quote may be in it")]
    Entrypoint(String),
    /// No container runs.
    #[error("no container of {0} runs; start it, or make a debug run")]
    NoneRuns(ServiceId),
    /// The program could not be started.
    #[error("{program} does not run")]
    Spawn {
        /// First of its argv.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The engine did not do what it was asked.
    #[error("the docker engine does not run it")]
    Engine(#[from] ComposeError),
    /// The host cannot be worked on.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// A program that runs; dropping it kills it with all that it has started.
pub struct Run {
    /// Process or container that it runs in or as.
    pub instance: String,
    /// What it writes: 1 for stdout, 2 for stderr.
    pub output: BoxStream<'static, (u32, Bytes)>,
    /// How it ends.
    pub exit: BoxFuture<'static, Exit>,
    guard: Guard,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Run {
    /// Kills what is left of it and reads nothing more of it; returns whether nothing is left.
    pub async fn clear(&mut self) -> bool {
        self.output = stream::empty().boxed();
        self.guard.clear().await
    }
}

/// What a run may leave behind.
#[derive(Debug)]
struct Remains {
    id: String,
    made: Option<Made>,
    docker: Arc<Docker>,
    once: Arc<Once>,
}

impl Remains {
    /// Ends and removes all of it and records that nothing is left; returns whether so.
    async fn clear(&self, held: Option<&Held>) -> bool {
        let mut gone = true;
        if let Some(held) = held {
            held.kill_group();
            gone = timeout(KILL_WAIT, held.ended()).await.is_ok();
        }
        gone &= mark::kill_all(&self.id).await;
        gone &= self.remove().await;
        let id = &self.id;
        if !gone {
            warn!(id, "something of a run is still there");
            return false;
        }
        if let Err(error) = self.once.end(id).await {
            // The next agent looks for it in vain, no more.
            warn!(id, %error, "the end of a run is not on disk");
        }
        true
    }

    /// Removes what was made for it; returns whether it is gone.
    async fn remove(&self) -> bool {
        let removed = match &self.made {
            None => return true,
            Some(Made::Dir(path)) => {
                let path = path.clone();
                blocking(move || match std::fs::remove_dir_all(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.to_string()),
                    Ok(()) | Err(_) => Ok(()),
                })
                .await
            }
            Some(Made::Container(name)) => {
                self.docker.remove(name).await.map_err(|error| error.to_string())
            }
        };
        if let Err(error) = &removed {
            warn!(id = self.id, error, "what was made for a run cannot be removed");
        }
        removed.is_ok()
    }
}

/// Sees to it that nothing of a run stays.
#[derive(Debug)]
struct Guard {
    remains: Arc<Remains>,
    /// Its process, if it is the agent's own.
    held: Option<Arc<Held>>,
    cleared: bool,
}

impl Guard {
    async fn clear(&mut self) -> bool {
        self.cleared = self.remains.clear(self.held.as_deref()).await;
        self.cleared
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.cleared {
            return;
        }
        let (remains, held) = (Arc::clone(&self.remains), self.held.take());
        if let Some(held) = &held {
            held.kill_group();
        }
        #[expect(clippy::disallowed_methods, reason = "ends when nothing of the run is left")]
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { remains.clear(held.as_deref()).await });
        }
    }
}

impl Machine {
    /// Starts a program beside a service, if this node lets it and it was not started before.
    pub async fn exec(&self, question: &ExecQuestion) -> Result<Run, ExecError> {
        let ExecQuestion { id, service, .. } = question;
        if !self.may_exec(service) {
            return Err(ExecError::NotAllowed(service.clone()));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if id.is_empty() || id.len() > ID_LEN_MAX || !id.chars().all(plain) {
            return Err(ExecError::Nameless);
        }
        let unit = self.unit(service).ok_or_else(|| ExecError::Unknown(service.clone()))?;
        let made = match (unit.kind, question.debug) {
            (Kind::Systemd, _) => return Err(ExecError::Unit(service.clone())),
            (_, false) => None,
            (Kind::Process, true) => Some(Made::Dir(unit.dir.file(&format!("debug-{id}")))),
            (Kind::Compose, true) => Some(Made::Container(format!("trireme-debug-{id}"))),
        };
        if !self.once().begin(id, made.clone()).await? {
            return Err(ExecError::Again(id.clone()));
        }
        // From here on whatever goes wrong leaves nothing behind.
        let remains = Arc::new(self.remains(id, made));
        let guard = Guard { remains, held: None, cleared: false };
        let run = match (unit.kind, question.debug) {
            (Kind::Systemd, _) => Err(ExecError::Unit(service.clone())),
            (Kind::Process, _) => process::start(self, &unit.dir, question, guard).await,
            (Kind::Compose, false) => container::start(self, &unit.dir, question, guard).await,
            (Kind::Compose, true) => container::debug(self, &unit.dir, question, guard).await,
        };
        if let Ok(run) = &run {
            info!(id, %service, instance = run.instance, "a program is run for an admin");
        }
        run
    }

    fn remains(&self, id: &str, made: Option<Made>) -> Remains {
        let (docker, once) = (Arc::clone(self.docker()), Arc::clone(self.once()));
        Remains { id: id.to_owned(), made, docker, once }
    }

    /// Ends what an agent that was killed has left of runs.
    pub(super) async fn end_runs(&self) {
        for Begun { id, made, .. } in self.once().open_runs().await {
            info!(id, "what is left of a run is ended");
            self.remains(&id, made).clear(None).await;
        }
    }
}
