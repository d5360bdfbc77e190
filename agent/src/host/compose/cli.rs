//! The compose command: what it is called with.
//!
//! Only changes go through it; what runs is asked of the engine. The old command
//! (`docker-compose`) and the new one (`docker compose`) take the same words.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::record::Project;
use crate::host::SEARCH_PATH;
use crate::host::allow::ComposeHost;
use crate::host::tool::{Tool, ToolError};

/// Longest run that starts containers; images are here by then.
const UP_MAX: Duration = Duration::from_mins(3);
/// Longest run that stops containers, beyond the time they have to stop.
const STOP_MAX: Duration = Duration::from_mins(1);
/// Longest run that fetches images; actions have a shorter deadline of their own.
const PULL_MAX: Duration = Duration::from_hours(1);
/// Longest run that reads a file and tells what is in it.
const READ_MAX: Duration = Duration::from_secs(30);

/// What compose is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Start services, made anew where their image or the file changed, or all if asked to.
    Up {
        /// Whether all are made anew.
        recreate: bool,
    },
    /// Stop services.
    Stop,
    /// Fetch the images of services.
    Pull,
    /// Tell the services of the file.
    Services,
}

/// The compose command of this host.
#[derive(Debug, Clone)]
pub(super) struct Cli {
    program: Vec<String>,
    env: BTreeMap<String, String>,
}

impl Cli {
    /// Finds the command that is configured, or else installed.
    pub(super) fn find(host: &ComposeHost) -> Result<Self, ToolError> {
        let program = if host.command.is_empty() {
            detect(Path::is_file).ok_or(ToolError::Missing("docker-compose nor docker"))?
        } else {
            host.command.clone()
        };
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), SEARCH_PATH.to_owned()),
            ("DOCKER_HOST".to_owned(), format!("unix://{}", host.socket.display())),
        ]);
        if let Some(dir) = &host.credentials {
            env.insert("DOCKER_CONFIG".to_owned(), dir.display().to_string());
        }
        Ok(Self { program, env })
    }

    /// Returns the command of a debug run: a container of a service, made for it with a name and one
    /// variable more, and gone with it. Without `argv` it does what the service does.
    pub(super) fn debug(
        &self,
        project: &Project,
        pins: &Path,
        [service, name, variable]: [&str; 3],
        argv: &[String],
    ) -> Command {
        let mut words = start(&self.program, project);
        let mut say = |more: &[&str]| words.extend(more.iter().map(|&word| word.to_owned()));
        say(&["-f", &pins.to_string_lossy(), "run", "--rm", "--no-deps", "-T"]);
        say(&["--name", name, "-e", variable]);
        if let Some(program) = argv.first() {
            say(&["--entrypoint", program]);
        }
        say(&[service]);
        words.extend(argv.iter().skip(1).cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().envs(&project.env).envs(&self.env);
        command.process_group(0).stdin(Stdio::null());
        command
    }

    /// Runs a verb on a project with these pins to its end; returns what it said.
    ///
    /// What changes containers waits for `lock` and holds it.
    pub(super) async fn run(
        &self,
        project: &Project,
        pins: &Path,
        verb: Verb,
        lock: Option<&Path>,
    ) -> Result<String, ToolError> {
        let argv = argv(&self.program, project, pins, verb);
        let limit = match verb {
            Verb::Up { .. } => UP_MAX,
            Verb::Stop => STOP_MAX + project.stop_timeout.to_duration(),
            Verb::Pull => PULL_MAX,
            Verb::Services => READ_MAX,
        };
        let mut env = project.env.clone();
        env.extend(self.env.clone());
        Tool { argv: &argv, env: &env, limit, lock }.run().await
    }
}

/// Returns the first command that `is_there`.
fn detect(is_there: impl Fn(&Path) -> bool) -> Option<Vec<String>> {
    let find = |name: &str| {
        let dirs = SEARCH_PATH.split(':').map(Path::new);
        let path = dirs.map(|dir| dir.join(name)).find(|path| is_there(path))?;
        Some(path.to_string_lossy().into_owned())
    };
    find("docker-compose")
        .map(|old| vec![old])
        .or_else(|| Some(vec![find("docker")?, "compose".to_owned()]))
}

/// Returns the words that every call begins with.
fn start(program: &[String], project: &Project) -> Vec<String> {
    let words = ["-p", &project.name, "-f", &project.file].map(str::to_owned);
    [program, &words].concat()
}

/// Returns the words of one call; the two generations of compose differ in the first alone.
fn argv(program: &[String], project: &Project, pins: &Path, verb: Verb) -> Vec<String> {
    let mut argv = start(program, project);
    let mut say = |words: &[&str]| argv.extend(words.iter().map(|&word| word.to_owned()));
    if verb != Verb::Services {
        say(&["-f", &pins.to_string_lossy()]);
    }
    match verb {
        // Neither what they depend on nor anything built here: only what the release pins.
        Verb::Up { recreate } => {
            say(&["up", "-d", "--no-deps", "--no-build"]);
            if recreate {
                say(&["--force-recreate"]);
            }
        }
        Verb::Stop => {
            say(&["stop", "-t", &project.stop_secs().to_string()]);
        }
        Verb::Pull => say(&["pull", "-q"]),
        Verb::Services => return [argv, vec!["config".into(), "--services".into()]].concat(),
    }
    argv.extend(project.services.iter().cloned());
    argv
}

#[cfg(test)]
mod tests {
    use trireme_proto::time::Span;

    use super::*;

    fn project() -> Project {
        Project {
            name: "dvn".to_owned(),
            file: "/opt/dvn/docker-compose.yml".to_owned(),
            services: vec!["api".to_owned(), "relay".to_owned()],
            stop_timeout: Span(1500),
            env: BTreeMap::new(),
        }
    }

    fn words(program: &[&str], verb: Verb) -> String {
        let program: Vec<_> = program.iter().map(|&word| word.to_owned()).collect();
        argv(&program, &project(), Path::new("/a/pins.yaml"), verb).join(" ")
    }

    #[test]
    fn dvn_04_both_generations_of_compose_are_called_with_the_same_words() {
        for program in [&["/usr/bin/docker-compose"][..], &["/usr/bin/docker", "compose"]] {
            let start = program.join(" ") + " -p dvn -f /opt/dvn/docker-compose.yml";
            for (verb, rest) in [
                (
                    Verb::Up { recreate: false },
                    "-f /a/pins.yaml up -d --no-deps --no-build api relay",
                ),
                (
                    Verb::Up { recreate: true },
                    "-f /a/pins.yaml up -d --no-deps --no-build --force-recreate api relay",
                ),
                (Verb::Stop, "-f /a/pins.yaml stop -t 2 api relay"),
                (Verb::Pull, "-f /a/pins.yaml pull -q api relay"),
                (Verb::Services, "config --services"),
            ] {
                assert_eq!(words(program, verb), format!("{start} {rest}"));
            }
        }
    }

    #[test]
    fn the_command_that_is_installed_is_found() {
        let with = |there: &'static [&str]| {
            detect(move |path| there.iter().any(|one| path == Path::new(one)))
        };
        let text = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
        assert_eq!(with(&[]), None);
        assert_eq!(with(&["/usr/bin/docker"]), text(&["/usr/bin/docker", "compose"]));
        assert_eq!(
            with(&["/usr/bin/docker", "/usr/bin/docker-compose"]),
            text(&["/usr/bin/docker-compose"])
        );
    }
}
