//! What this node lets the fleet drive beside processes: nothing that its own configuration does
//! not name.
//!
//! Whoever may write a compose file or a unit owns the host. The controllers may therefore choose
//! among what the node's administrator has written, and an agent refuses the rest, whoever asks.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// Drivers of this node, and what they may touch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drivers {
    /// docker-compose projects.
    pub compose: ComposeHost,
    /// Units of systemd.
    pub systemd: SystemdHost,
    /// Services beside which admins may run programs; none where left out.
    pub exec: Vec<Pattern>,
}

/// Which compose projects may be driven, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComposeHost {
    /// Names of projects; none where left out.
    pub projects: Vec<Pattern>,
    /// Directories that compose files may lie in, at any depth; none where left out.
    pub files: Vec<PathBuf>,
    /// Socket of the Docker engine.
    pub socket: PathBuf,
    /// How compose is called: `[/usr/bin/docker-compose]` or `[/usr/bin/docker, compose]`; where
    /// left out, the first of the two that is installed.
    pub command: Vec<String>,
    /// Directory with docker's own `config.json`, for registries that ask who is calling.
    pub credentials: Option<PathBuf>,
}

impl Default for ComposeHost {
    fn default() -> Self {
        Self {
            projects: Vec::new(),
            files: Vec::new(),
            socket: "/var/run/docker.sock".into(),
            command: Vec::new(),
            credentials: None,
        }
    }
}

/// Which units of systemd may be driven, and what they may run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SystemdHost {
    /// Full names of units; none where left out.
    pub units: Vec<Pattern>,
    /// Directories that programs besides a release's own file may lie in, at any depth; none where
    /// left out.
    pub programs: Vec<PathBuf>,
    /// Directory that the files of releases are kept in, for every user to run: a unit may have
    /// one of its own, who cannot look into the agent's.
    pub store: PathBuf,
}

impl Default for SystemdHost {
    fn default() -> Self {
        Self { units: Vec::new(), programs: Vec::new(), store: "/opt/trireme".into() }
    }
}

/// A name, or with `*` at its end the beginning of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// Tells that a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: write one, with * for the rest at its end or nowhere")]
pub struct PatternError(String);

impl Pattern {
    pub(super) fn allows(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => self.0 == name,
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;
    fn from_str(text: &str) -> Result<Self, PatternError> {
        let bare = text.strip_suffix('*').unwrap_or(text);
        if text.is_empty() || bare.contains(|c: char| c == '*' || c.is_whitespace()) {
            return Err(PatternError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Tells that the node's configuration does not let the fleet do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {name} is not allowed on this node: its administrator may add it to `{list}` in the \
     agent's configuration"
)]
pub struct NotAllowed {
    what: &'static str,
    name: String,
    list: &'static str,
}

impl ComposeHost {
    /// Checks that the fleet may drive a project from a file.
    ///
    /// The file is followed to where it lies in truth: a link does not lead out of a directory.
    pub(super) fn check(&self, project: &str, file: &Path) -> Result<(), NotAllowed> {
        if !self.projects.iter().any(|pattern| pattern.allows(project)) {
            let name = project.to_owned();
            return Err(NotAllowed { what: "project", name, list: "drivers.compose.projects" });
        }
        if lies_in(file, &self.files) {
            return Ok(());
        }
        let name = file.display().to_string();
        Err(NotAllowed { what: "compose file", name, list: "drivers.compose.files" })
    }
}

impl SystemdHost {
    /// Checks that the fleet may drive a unit.
    pub(super) fn check(&self, unit: &str) -> Result<(), NotAllowed> {
        if self.units.iter().any(|pattern| pattern.allows(unit)) {
            return Ok(());
        }
        Err(NotAllowed { what: "unit", name: unit.to_owned(), list: "drivers.systemd.units" })
    }

    /// Checks that a unit may run a program that is not the release's own file.
    pub(super) fn check_program(&self, program: &str) -> Result<(), NotAllowed> {
        if lies_in(Path::new(program), &self.programs) {
            return Ok(());
        }
        let name = program.to_owned();
        Err(NotAllowed { what: "program", name, list: "drivers.systemd.programs" })
    }
}

/// Returns whether a file lies in truth, links followed, in one of the directories.
fn lies_in(file: &Path, dirs: &[PathBuf]) -> bool {
    let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let inside = |dir: &PathBuf| {
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.clone());
        dir.is_absolute() && real.starts_with(dir)
    };
    real.is_absolute() && dirs.iter().any(inside)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_pattern_is_a_name_or_its_beginning() {
        for (pattern, name, allowed) in [
            ("dvn", "dvn", true),
            ("dvn", "dvn-2", false),
            ("dvn-*", "dvn-2", true),
            ("dvn-*", "dvn", false),
            ("*", "anything", true),
        ] {
            assert_eq!(pattern.parse::<Pattern>().unwrap().allows(name), allowed, "{pattern}");
        }
        for bad in ["", "a*b", "**", "a b"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad} passed");
        }
    }

    #[test]
    fn dvn_11_no_unit_is_driven_and_no_program_run_that_the_node_does_not_name() {
        let none = SystemdHost::default();
        assert_eq!(
            none.check("web.service").unwrap_err().to_string(),
            "unit web.service is not allowed on this node: its administrator may add it to \
             `drivers.systemd.units` in the agent's configuration"
        );
        let host = SystemdHost {
            units: patterns(&["web.service", "node@*"]),
            programs: vec!["/usr/bin".into()],
            ..none
        };
        for (unit, allowed) in [
            ("web.service", true),
            ("node@aws-1.service", true),
            ("ssh.service", false),
            ("web.service.service", false),
        ] {
            assert_eq!(host.check(unit).is_ok(), allowed, "{unit}");
        }
        assert_eq!(host.check_program("/usr/bin/env"), Ok(()));
        for program in ["/usr/bin/../sbin/chroot", "/usr/sbin/chroot", "env"] {
            let refused = host.check_program(program).unwrap_err();
            assert_eq!((refused.what, refused.name.as_str()), ("program", program));
        }
    }

    #[test]
    fn dvn_11_nothing_is_driven_that_the_node_does_not_name() {
        let dir = tempfile::tempdir().unwrap();
        let (opt, other) = (dir.path().join("opt"), dir.path().join("other"));
        for dir in [&opt, &other] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("web.yml"), "").unwrap();
        }
        symlink(other.join("web.yml"), opt.join("link.yml")).unwrap();
        let host = ComposeHost {
            projects: patterns(&["web"]),
            files: vec![opt.clone()],
            ..ComposeHost::default()
        };
        assert_eq!(host.check("web", &opt.join("web.yml")), Ok(()));
        let refused = |project: &str, file: PathBuf| host.check(project, &file).unwrap_err().name;
        assert_eq!(refused("db", opt.join("web.yml")), "db");
        for file in [
            other.join("web.yml"),
            opt.join("link.yml"),
            opt.join("../other/web.yml"),
            "web.yml".into(),
        ] {
            assert_eq!(refused("web", file.clone()), file.display().to_string());
        }
        let nothing = ComposeHost::default().check("web", &opt.join("web.yml")).unwrap_err();
        assert_eq!(
            nothing.to_string(),
            "project web is not allowed on this node: its administrator may add it to \
             `drivers.compose.projects` in the agent's configuration"
        );
    }
}
