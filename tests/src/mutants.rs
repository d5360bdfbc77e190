//! Seeded faults in our own logic, one file each in `tests/mutants/`, and what becomes of them.
//!
//! A mutant is a small edit that makes the product wrong in one way. A harness that does not notice
//! it has a hole. `make mutants` applies one after the other to a copy of the sources, builds the
//! simulation from it, and counts the histories until a promise breaks. The file of a mutant:
//!
//! ```text
//! what: does not count a held grant as down        one line, what the mutant does
//! by: model                                        which histories must catch it: model or raft
//! file: controller/src/state/ledger.rs             where; more than one edit may follow
//! <<<<
//! the text as it is, exactly once in that file
//! ====
//! the text as it becomes
//! >>>>
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

/// Which histories must catch a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hunter {
    /// The simulated fleet.
    Model,
    /// Raft on simulated disks and links.
    Raft,
}

/// A change of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The file, from the top of the project.
    pub file: PathBuf,
    /// What stands there.
    pub old: String,
    /// What takes its place.
    pub new: String,
}

/// A seeded fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// Name of its file.
    pub name: String,
    /// What it does wrong.
    pub what: String,
    /// Who must catch it.
    pub by: Hunter,
    /// Its changes.
    pub edits: Vec<Edit>,
}

impl Mutant {
    /// Reads a mutant from the text of its file.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let what = field(lines.next(), "what")?.to_owned();
        let by = match field(lines.next(), "by")? {
            "model" => Hunter::Model,
            "raft" => Hunter::Raft,
            other => bail!("`by: {other}` is neither model nor raft"),
        };
        let mut edits = Vec::new();
        while let Some(line) = lines.next() {
            let file = field(Some(line), "file")?.into();
            ensure!(lines.next() == Some("<<<<"), "`<<<<` must follow `{line}`");
            let old = block(&mut lines, "====")?;
            let new = block(&mut lines, ">>>>")?;
            edits.push(Edit { file, old, new });
        }
        ensure!(!edits.is_empty(), "it changes nothing");
        Ok(Self { name: name.to_owned(), what, by, edits })
    }

    /// Applies the mutant to the sources under `root`.
    pub fn apply(&self, root: &Path) -> Result<()> {
        for edit in &self.edits {
            let path = root.join(&edit.file);
            fs::write(&path, edit.applied(root)?)?;
        }
        Ok(())
    }
}

impl Edit {
    /// Returns the changed text of the file under `root`.
    pub fn applied(&self, root: &Path) -> Result<String> {
        let path = root.join(&self.file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let found = text.matches(&self.old).count();
        ensure!(found == 1, "its text is {found} times in {}", self.file.display());
        Ok(text.replacen(&self.old, &self.new, 1))
    }
}

fn field<'a>(line: Option<&'a str>, name: &str) -> Result<&'a str> {
    let value = line.and_then(|line| line.strip_prefix(name)?.strip_prefix(": "));
    value.with_context(|| format!("`{name}: ` is missing, found {line:?}"))
}

fn block<'a>(lines: &mut impl Iterator<Item = &'a str>, end: &str) -> Result<String> {
    let mut text = String::new();
    for line in lines {
        if line == end {
            return Ok(text);
        }
        text.push_str(line);
        text.push('\n');
    }
    bail!("`{end}` is missing")
}

/// Reads all mutants under `root`, by name.
pub fn all(root: &Path) -> Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    for entry in fs::read_dir(root.join("tests/mutants"))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).context("a name in UTF-8")?;
        let text = fs::read_to_string(&path)?;
        mutants.push(Mutant::parse(name, &text).with_context(|| format!("mutant {name}"))?);
    }
    mutants.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(mutants)
}

/// What the programs are built from.
const SOURCES: [&str; 8] =
    ["Cargo.toml", "Cargo.lock", "proto", "controller", "agent", "ctl", "tests", "deploy"];

/// Makes `to` a copy of the sources under `from`. Files that are the same stay untouched, so that
/// nothing is built again for them.
pub fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for source in SOURCES {
        copy(&from.join(source), &to.join(source))
            .with_context(|| format!("copying {source} to {}", to.display()))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        let text = fs::read(from)?;
        if fs::read(to).ok().as_ref() != Some(&text) {
            fs::write(to, text)?;
        }
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let path = entry?.path();
        if !from.join(path.file_name().context("a name")?).exists() {
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
    }
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        copy(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fewest mutants that say anything about the harness.
    const LEAST: usize = 15;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    #[test]
    fn every_mutant_fits_the_sources_and_changes_them() {
        let mutants = all(root()).unwrap();
        assert!(mutants.len() >= LEAST, "{} mutants", mutants.len());
        for mutant in mutants {
            for edit in &mutant.edits {
                edit.applied(root()).unwrap_or_else(|error| panic!("{}: {error}", mutant.name));
                assert_ne!(edit.old, edit.new, "{}", mutant.name);
            }
        }
    }

    #[test]
    fn a_mutant_that_cannot_be_read_is_refused_with_the_reason() {
        let refused = |text: &str| Mutant::parse("m", text).unwrap_err().to_string();
        assert!(refused("by: model\n").contains("`what: ` is missing"));
        assert!(refused("what: x\nby: luck\n").contains("neither model nor raft"));
        assert!(refused("what: x\nby: raft\n").contains("changes nothing"));
        assert!(refused("what: x\nby: raft\nfile: a\n<<<<\nb\n").contains("`====` is missing"));
    }

    #[test]
    fn a_copy_follows_its_source() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (from.path().join("a"), to.path().join("a"));
        fs::create_dir_all(from.join("deep")).unwrap();
        fs::write(from.join("deep/one"), "1").unwrap();
        copy(&from, &to).unwrap();
        fs::write(to.join("deep/mutated"), "x").unwrap();
        fs::write(to.join("deep/one"), "2").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("deep/one")).unwrap(), "1");
        assert!(!to.join("deep/mutated").exists());
    }
}
