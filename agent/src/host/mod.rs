//! The only door to the machine: files, processes and what the host says of them.
//!
//! ```text
//!  actions ──▶ Host (trait) ──▶ Machine ──▶ layout    releases on disk, which one is current
//!                                  │──────▶ artifact  brings a file here and proves its digest
//!                                  └──────▶ unit      one supervisor for each service:
//!                                            process    a program of the agent's own
//!                                            compose    a project of the Docker engine
//!                                            systemd    a unit of systemd
//! ```
//!
//! Every operation may be repeated, and the disruptive ones can be probed: after a crash the
//! journal asks here what was done instead of guessing. Services outlive the agent; nothing in
//! this module kills one because the agent ends.

mod allow;
mod artifact;
mod compose;
mod durable;
mod exec;
mod facts;
mod launch;
mod layout;
mod lines;
mod log;
mod look;
mod machine;
mod outside;
mod pidfd;
mod process;
mod procfs;
mod record;
mod restart;
mod systemd;
#[cfg(test)]
pub(crate) mod tests;
mod tool;
mod unit;

use std::future::Future;
use std::io;
use std::path::PathBuf;

use trireme_proto::action::RunSpec;
use trireme_proto::digest::Digest;
use trireme_proto::id::{ActionId, ServiceId, Version};
use trireme_proto::query::LogsQuestion;
use trireme_proto::time::Span;

pub use allow::{ComposeHost, Drivers, Pattern, SystemdHost};
pub use artifact::{FetchError, Fetched};
pub use compose::ComposeError;
pub use exec::{ExecError, Run};
pub use facts::{Facts, NodeFacts};
pub(crate) use launch::{SEARCH_PATH, spawn_patiently};
pub(crate) use lines::any_stamp;
pub use lines::{Lines, LinesError};
pub use look::Looked;
pub use machine::Machine;
pub(crate) use pidfd::Process;
pub use procfs::boot_id;
pub use record::Exit;
pub use systemd::SystemdError;
pub use tool::ToolError;

/// What an agent's actions need of a machine; each operation may be repeated.
pub trait Host: Send + Sync + 'static {
    /// Brings the release to the machine and proves its digest; disturbs nothing.
    fn fetch(&self, spec: &RunSpec) -> impl Future<Output = Result<Fetched, HostError>> + Send;

    /// Tells whether [`Host::fetch`] was done, by reading the whole file again.
    fn staged(&self, spec: &RunSpec) -> impl Future<Output = Probed> + Send;

    /// Waits until the service has no work in flight, at most `timeout`.
    ///
    /// `in_flight` is a URL template that answers with the number of requests in flight; without
    /// one the whole time is waited out. A service that does not run has nothing in flight.
    fn quiesce(
        &self,
        service: &ServiceId,
        in_flight: Option<&str>,
        timeout: Span,
    ) -> impl Future<Output = Quiesced> + Send;

    /// Stops the service and proves it gone; it stays down, over a reboot too.
    fn stop(&self, service: &ServiceId) -> impl Future<Output = Result<Stopped, HostError>> + Send;

    /// Tells whether the service is stopped.
    fn probe_stop(&self, service: &ServiceId) -> Probed;

    /// Makes `spec` what the next start runs; `None` if nothing is to run.
    fn point(
        &self,
        service: &ServiceId,
        spec: Option<&RunSpec>,
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Tells whether the service is pointed at `spec`.
    fn probe_point(&self, service: &ServiceId, spec: Option<&Digest>) -> Probed;

    /// Returns what the service is pointed at.
    fn current(&self, service: &ServiceId) -> Result<Option<RunSpec>, HostError>;

    /// Starts what the service is pointed at, in the name of `action`.
    ///
    /// A second start of the same specification by the same action does nothing and says so.
    /// Containers that are as they should be are started again as they are, unless `recreate`
    /// asks for new ones; a process is always a new one.
    fn start(
        &self,
        service: &ServiceId,
        action: ActionId,
        recreate: bool,
    ) -> impl Future<Output = Result<Started, HostError>> + Send;

    /// Tells whether `action` has started `spec`; whether it still runs is for checks to say.
    fn probe_start(&self, service: &ServiceId, spec: &Digest, action: ActionId) -> Probed;

    /// Returns what the machine knows of the service at this moment.
    fn observe(&self, service: &ServiceId) -> Observation;

    /// Returns what placeholders in the service's checks stand for.
    fn facts(&self, service: &ServiceId) -> Facts;

    /// Finds what the service wrote, or what is in a file that was declared for it.
    fn lines(
        &self,
        question: &LogsQuestion,
    ) -> impl Future<Output = Result<Lines, LinesError>> + Send;
}

/// Whether a step was done, as the machine itself shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// It was done.
    Done,
    /// It was not done, or not to its end.
    NotDone,
    /// The machine cannot tell, for this reason.
    Unknown(String),
}

impl Probed {
    fn from_bool(done: bool) -> Self {
        if done { Self::Done } else { Self::NotDone }
    }
}

/// How a wait for work in flight ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quiesced {
    /// The service does not run, so nothing is in flight.
    NotRunning,
    /// The service said that nothing is in flight.
    Empty,
    /// The time was up; the last answer to the question, if one was asked.
    TimedOut(Option<String>),
}

/// How a stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Whether there was a process to stop.
    pub was_running: bool,
    /// Whether it had to be killed because it did not stop in its time.
    pub killed: bool,
}

/// How a start ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// A process was started.
    Now {
        /// Its process id.
        pid: u32,
    },
    /// The same action had started the same specification before; nothing was done.
    Already,
}

/// What the machine knows of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Whether it runs.
    pub state: RunState,
    /// Digest of the specification that runs or last ran.
    pub spec: Option<Digest>,
    /// Version of that, for people.
    pub version: Option<Version>,
    /// Action that started it.
    pub action: Option<ActionId>,
    /// Starts since that action's own.
    pub restart: u64,
}

/// Whether a service runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// Nothing was ever started.
    NeverStarted,
    /// It was stopped on request.
    Stopped,
    /// Its process runs.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// It was asked to stop and has not yet gone.
    Stopping {
        /// Its process id.
        pid: u32,
    },
    /// It ended by itself and will be started again after a pause.
    Backoff {
        /// Why, for people.
        why: String,
    },
    /// It ended by itself and its restart policy leaves it so.
    Exited {
        /// How it ended.
        exit: Exit,
    },
    /// It runs, but who runs it says that it is not well, or does not answer.
    Unwell {
        /// Its process id, if known.
        pid: u32,
        /// What is said of it.
        why: String,
    },
    /// A part of it does not run and nothing will start it again; other parts may run.
    Broken {
        /// Which part, and how it ended.
        why: String,
    },
}

impl RunState {
    /// Returns the process by which this run is told from others.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Running { pid } | Self::Stopping { pid } | Self::Unwell { pid, .. } => Some(*pid),
            Self::NeverStarted
            | Self::Stopped
            | Self::Backoff { .. }
            | Self::Exited { .. }
            | Self::Broken { .. } => None,
        }
    }
}

impl Observation {
    fn nothing() -> Self {
        Self { state: RunState::NeverStarted, spec: None, version: None, action: None, restart: 0 }
    }

    /// Returns whether a process of the service runs.
    pub fn is_running(&self) -> bool {
        self.state.pid().is_some()
    }
}

/// Tells why the machine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The artifact did not arrive whole.
    #[error("release {release} cannot be staged")]
    Fetch {
        /// Service and version.
        release: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// A file could not be read or written.
    #[error("cannot {verb} {path}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the agent's own does not say what it should.
    #[error(
        "{path} is damaged: make sure that the service does not run, remove the file, \
         and start the agent again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The release was never staged on this node.
    #[error("release {release} is not on this node: stage it first")]
    NotStaged {
        /// Service and version.
        release: String,
    },
    /// Nothing to start.
    #[error("service {service} is pointed at nothing: there is nothing to start")]
    NothingCurrent {
        /// The service.
        service: ServiceId,
    },
    /// The node's own configuration does not let the fleet do this.
    #[error(transparent)]
    NotAllowed(#[from] allow::NotAllowed),
    /// The driver cannot run such a release.
    #[error("release {release} cannot be run")]
    Misfit {
        /// Service and version.
        release: String,
        /// Why.
        #[source]
        source: trireme_proto::model::Misfit,
    },
    /// A compose project could not be worked on.
    #[error("project {project} cannot be worked on")]
    Compose {
        /// Name of the project.
        project: String,
        /// Why.
        #[source]
        source: ComposeError,
    },
    /// A unit of systemd could not be worked on.
    #[error("unit {unit} cannot be worked on")]
    Systemd {
        /// Name of the unit.
        unit: String,
        /// Why.
        #[source]
        source: SystemdError,
    },
    /// Something else runs.
    #[error("service {service} already runs version {version}, started by {action}: stop it first")]
    Occupied {
        /// The service.
        service: ServiceId,
        /// What runs.
        version: Version,
        /// What started it.
        action: ActionId,
    },
    /// A template of the release cannot be filled in.
    #[error("release {release} cannot be run")]
    Template {
        /// Service and version.
        release: String,
        /// Why.
        #[source]
        source: facts::FillError,
    },
    /// The program could not be started.
    #[error("service {service} cannot be started: program {program} does not run")]
    Spawn {
        /// The service.
        service: ServiceId,
        /// First of its argv.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process did not go, not even killed.
    #[error("service {service} cannot be stopped: process {pid} is still there after SIGKILL")]
    StillRunning {
        /// The service.
        service: ServiceId,
        /// Its process.
        pid: u32,
    },
    /// The agent is ending.
    #[error("service {service} is no longer supervised: the agent is ending")]
    Ending {
        /// The service.
        service: ServiceId,
    },
}

impl HostError {
    fn io(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { verb, path, source }
    }
}

/// Returns a release's name for people.
fn release_name(spec: &RunSpec) -> String {
    format!("{}@{}", spec.release.service, spec.release.version)
}

/// Runs file work off the runtime's only thread: one slow fsync must not delay a heartbeat.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking work that has begun is never cancelled, and a runtime that is shutting
            // down polls nobody who could see this.
            Err(_) => std::future::pending().await,
        },
    }
}
