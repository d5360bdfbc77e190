//! Whether a daemon lives and whether it is ready, told in the way that probes know.
//!
//! Alive means that the process answers, and nothing else: were it to depend on other controllers
//! or on the disk, an outage of those would become a storm of restarts. Ready means that it does
//! its work, check by check.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;

use crate::door::Answer;

/// Longest write that counts as a disk that works.
const DISK_TIME: Duration = Duration::from_secs(2);

/// One condition of being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, in one word.
    pub name: &'static str,
    /// What was found; an error where the condition does not hold.
    pub found: Result<String, String>,
}

impl Check {
    /// Returns a check that holds if `holds`, and what was found.
    pub fn new(name: &'static str, holds: bool, found: impl Into<String>) -> Self {
        let found = found.into();
        Self { name, found: if holds { Ok(found) } else { Err(found) } }
    }
}

/// Finds out whether the data directory can be written, as the daemon itself writes: to the disk.
pub async fn disk(data: PathBuf) -> Check {
    let write = tokio::task::spawn_blocking(move || probe(&data));
    match timeout(DISK_TIME, write).await {
        Ok(Ok(Ok(()))) => Check::new("disk", true, "written and synced"),
        Ok(Ok(Err(error))) => Check::new("disk", false, error.to_string()),
        Ok(Err(_)) => Check::new("disk", false, "the look at it broke"),
        Err(_) => Check::new("disk", false, format!("no write within {DISK_TIME:?}")),
    }
}

fn probe(data: &Path) -> std::io::Result<()> {
    let path = data.join(".ready");
    let file = std::fs::File::create(&path)?;
    (&file).write_all(b"ready\n")?;
    file.sync_data()?;
    std::fs::remove_file(&path)
}

/// Answers that the process lives.
pub fn live() -> Answer {
    Answer::text(200, "ok\n")
}

/// Answers whether all checks hold; `verbose` has each of them told, else those that do not.
pub fn ready(checks: &[Check], verbose: bool) -> Answer {
    let ready = checks.iter().all(|check| check.found.is_ok());
    let mut text = String::new();
    for Check { name, found } in checks {
        let line = match found {
            Ok(found) if verbose => format!("[+]{name} ok: {found}"),
            Ok(_) => continue,
            Err(fault) => format!("[-]{name} failed: {fault}"),
        };
        writeln!(text, "{line}").expect("writing to a string cannot fail");
    }
    text.push_str(if ready { "ready\n" } else { "not ready\n" });
    Answer::text(if ready { 200 } else { 503 }, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_is_written_to_and_left_as_it_was() {
        let dir = std::env::temp_dir().join(format!("trireme-disk-{}", std::process::id()));
        assert!(disk(dir.clone()).await.found.is_err(), "it is not there");
        std::fs::create_dir(&dir).unwrap();
        assert!(disk(dir.clone()).await.found.is_ok());
        // Nothing is left in it, or it could not be removed.
        std::fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn one_check_that_fails_makes_not_ready_and_is_told() {
        let good = Check::new("leader", true, "c1 leads");
        let bad = Check::new("disk", false, "no space left");
        assert_eq!(ready(std::slice::from_ref(&good), false), Answer::text(200, "ready\n"));
        let both = [good, bad];
        let text = "[-]disk failed: no space left\nnot ready\n";
        assert_eq!(ready(&both, false), Answer::text(503, text));
        let text = format!("[+]leader ok: c1 leads\n{text}");
        assert_eq!(ready(&both, true), Answer::text(503, text));
    }
}
