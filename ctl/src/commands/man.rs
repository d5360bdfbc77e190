//! `trictl man`: the manual, a page for each command.

use std::fs;
use std::path::{Path, PathBuf};

use clap_mangen::Man;
use serde::Serialize;
use trireme_proto::problem::Problem;

use crate::App;
use crate::cli;
use crate::error::{Failure, Outcome, failed};
use crate::lang::Lang;

/// Write the manual, a page for each command
///
/// `man -M DIR trictl` reads it if DIR is the parent of a directory man1 that it was written to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory for the pages; made if there is none
    dir: PathBuf,
}

#[derive(Debug, Serialize)]
struct Pages {
    items: Vec<PathBuf>,
}

/// Writes the pages and prints where they are.
pub(super) fn run(app: &App, args: &Args) -> Result<Outcome, Failure> {
    let pages = Pages { items: write(&args.dir, app.out.lang())? };
    app.out.value(&pages, |pages| {
        let lines: Vec<_> = pages.items.iter().map(|page| page.display().to_string()).collect();
        lines.join("\n")
    })?;
    Ok(Outcome::Done)
}

fn write(dir: &Path, lang: Lang) -> Result<Vec<PathBuf>, Problem> {
    let refused = |error| failed(format!("cannot write pages to {}", dir.display()), &error);
    fs::create_dir_all(dir).map_err(refused)?;
    let mut tree = cli::tree(lang);
    tree.build();
    let mut pages = Vec::new();
    let mut left = vec![tree];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().filter(|inner| !inner.is_hide_set()).cloned());
        pages.push(Man::new(command).generate_to(dir).map_err(refused)?);
    }
    pages.sort_unstable();
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_help() {
        let dir = tempfile::tempdir().unwrap();
        let pages = write(&dir.path().join("man1"), Lang::En).unwrap();
        let named = |name: &str| pages.iter().find(|page| page.ends_with(name));
        let plan = fs::read_to_string(named("trictl-upgrade-plan.1").unwrap()).unwrap();
        assert!(plan.contains("Version to go to"), "{plan}");
        assert!(named("trictl.1").is_some() && named("trictl-demo-service.1").is_none());
        assert!(pages.len() >= 40, "{}", pages.len());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = write(&file.path().join("man1"), Lang::En).unwrap_err();
        assert!(refused.message.starts_with("cannot write pages to /"), "{refused}");
    }
}
