//! Turns a specification into a running process: argv, environment, directories, own group.
//!
//! The environment holds what is listed here and nothing of the agent's own. The process leads a
//! group of its own, so that nothing meant for the agent reaches it and all its children can be
//! killed at once.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use trireme_proto::action::RunSpec;
use trireme_proto::id::ActionId;

use super::facts::{Facts, NodeFacts};
use super::layout::ServiceDir;
use super::procfs::INSTANCE;
use super::{HostError, log, release_name};

/// Where programs are looked for; the same on every node, whatever started the agent.
pub(crate) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Attempts at a program that is still open for writing: another thread that forks in the moment
/// between writing an artifact and closing it holds it open until its own exec, a matter of
/// microseconds.
const BUSY_ATTEMPTS_MAX: u32 = 20;
/// Time between such attempts.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// One attempt to run a specification.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) dir: &'a ServiceDir,
    pub(super) node: &'a NodeFacts,
    pub(super) spec: &'a RunSpec,
    pub(super) action: ActionId,
    pub(super) restart: u64,
    pub(super) instance: &'a str,
    /// Directory to run in; the service's own if `None`.
    pub(super) data: Option<&'a Path>,
}

impl Launch<'_> {
    /// Starts the process.
    pub(super) async fn spawn(&self) -> Result<Child, HostError> {
        let (program, mut command) = self.command()?;
        spawn_patiently(&mut command).await.map_err(|source| {
            let service = self.dir.service().clone();
            HostError::Spawn { service, program, source }
        })
    }

    fn command(&self) -> Result<(String, Command), HostError> {
        let argv = self.argv()?;
        let program = argv.first().cloned().unwrap_or_default();
        let mut command = self.beside(&argv)?;
        let output = log::open(&self.dir.log()).map_err(HostError::io("open", self.dir.log()))?;
        let errors = output.try_clone().map_err(HostError::io("open", self.dir.log()))?;
        command.env(INSTANCE, self.instance).stdout(output).stderr(errors);
        Ok((program, command))
    }

    /// Returns the words of the release.
    pub(super) fn argv(&self) -> Result<Vec<String>, HostError> {
        let facts = self.facts();
        let fill = |template: &String| {
            facts
                .fill(template)
                .map_err(|source| HostError::Template { release: release_name(self.spec), source })
        };
        self.spec.release.argv.iter().map(fill).collect()
    }

    fn facts(&self) -> Facts {
        let mut facts = self.dir.facts(self.node, Some(self.spec));
        if let Some(data) = self.data {
            facts.data = data.to_string_lossy().into_owned();
        }
        facts
    }

    /// Returns a program with all that the service's own process has: environment, directory, and
    /// a group of its own; but for what tells that process from others, and its output.
    pub(super) fn beside(&self, argv: &[String]) -> Result<Command, HostError> {
        let release = &self.spec.release;
        let facts = self.facts();
        let mut command = Command::new(argv.first().map_or("", String::as_str));
        command.args(argv.iter().skip(1)).env_clear().env("PATH", SEARCH_PATH);
        for (name, template) in &release.env {
            let value = facts.fill(template).map_err(|source| HostError::Template {
                release: release_name(self.spec),
                source,
            })?;
            command.env(name, value);
        }
        command
            .env("TRIREME_SERVICE", &facts.service)
            .env("TRIREME_NODE", &facts.node)
            .env("TRIREME_REGION", &facts.region)
            .env("TRIREME_VERSION", &facts.version)
            .env("TRIREME_ADDRESS", &facts.address)
            .env("TRIREME_ACTION", self.action.to_string())
            .env("TRIREME_RESTART", self.restart.to_string())
            .current_dir(&facts.data)
            .process_group(0)
            .stdin(Stdio::null());
        Ok(command)
    }
}

/// Starts a program, waiting a moment where its file is still open for writing.
pub(crate) async fn spawn_patiently(command: &mut Command) -> io::Result<Child> {
    let mut attempt = 1;
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && attempt < BUSY_ATTEMPTS_MAX =>
            {
                attempt += 1;
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            done => return done,
        }
    }
}
