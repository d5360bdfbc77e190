//! The repository as the rules see it: read once, from the directory above this crate.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::source::Source;

/// Directories that hold code or what is shipped with it.
const DIRS: [&str; 6] = ["proto", "controller", "agent", "ctl", "tests", "deploy"];

/// Endings of files that people write and the rules about words look at.
const WRITTEN: [&str; 7] = [".rs", ".proto", ".toml", ".yaml", ".service", ".snap", ".txt"];

/// What the rules look at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repo {
    /// Rust sources.
    pub(crate) sources: Vec<Source>,
    /// Every written file below the directories, with its text.
    pub(crate) texts: Vec<(String, String)>,
    /// Crates by directory, with their manifests.
    pub(crate) members: Vec<(String, String)>,
    /// Manifest of the workspace.
    pub(crate) manifest: String,
    /// Lock file.
    pub(crate) lock: String,
    /// `README.md`.
    pub(crate) readme: String,
    /// `ARCHITECTURE.md`.
    pub(crate) architecture: String,
    /// `CHANGELOG.md`.
    pub(crate) changelog: String,
    /// `Makefile`.
    pub(crate) makefile: String,
    /// Where it is.
    pub(crate) root: PathBuf,
}

impl Repo {
    /// Reads the repository that this crate is part of.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
        let text = |path: &str| {
            fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        let mut paths = Vec::new();
        for dir in DIRS {
            walk(&root, dir, &mut paths);
        }
        paths.sort();
        let written = paths.into_iter().filter(|path| WRITTEN.iter().any(|e| path.ends_with(e)));
        let texts: Vec<_> = written.map(|path| (path.clone(), text(&path))).collect();
        let members = texts
            .iter()
            .filter_map(|(path, text)| {
                let member = path.strip_suffix("/Cargo.toml")?;
                Some((member.to_owned(), text.clone()))
            })
            .collect();
        Self {
            sources: sources(&texts),
            texts,
            members,
            manifest: text("Cargo.toml"),
            lock: text("Cargo.lock"),
            readme: text("README.md"),
            architecture: text("ARCHITECTURE.md"),
            changelog: text("CHANGELOG.md"),
            makefile: text("Makefile"),
            root,
        }
    }

    /// Makes one of a single source, to try a rule on.
    pub(crate) fn of(path: &str, text: &str) -> Self {
        let texts = vec![(path.to_owned(), text.to_owned())];
        Self { sources: sources(&texts), texts, ..Self::default() }
    }

    /// Returns whether there is a file or directory at `path`.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Returns the version of the workspace.
    pub(crate) fn version(&self) -> String {
        let entries = crate::manifest::entries(&self.manifest);
        let version =
            entries.iter().find(|e| e.section == "workspace.package" && e.key == "version");
        version.map(|entry| entry.value.trim_matches('"').to_owned()).unwrap_or_default()
    }
}

/// Reads the sources among the files, and marks those that others declare for tests alone.
fn sources(texts: &[(String, String)]) -> Vec<Source> {
    let is_rust = |path: &str| Path::new(path).extension().is_some_and(|ending| ending == "rs");
    let rust = texts.iter().filter(|(path, _)| is_rust(path));
    let mut sources: Vec<Source> = rust.map(|(path, text)| Source::new(path, text)).collect();
    let tests: BTreeSet<String> =
        sources.iter().flat_map(|source| source.test_modules.iter().cloned()).collect();
    for source in &mut sources {
        let below = |module: &String| {
            source.path.strip_prefix(module.as_str()).is_some_and(|r| r.starts_with(['.', '/']))
        };
        if tests.iter().any(below) {
            for token in &mut source.code {
                token.test = true;
            }
        }
    }
    sources
}

fn walk(root: &Path, dir: &str, paths: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(root.join(dir)) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{dir}/{name}");
        if entry.file_type().unwrap().is_dir() {
            // A build directory may lie inside a crate.
            if name != "target" && !name.starts_with('.') {
                walk(root, &path, paths);
            }
        } else {
            paths.push(path);
        }
    }
}
