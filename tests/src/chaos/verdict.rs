//! What the history of the clients and the logs of the daemons say about a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;

use super::checker::{Model, Op, Verdict, check};
use super::history::{History, What, Written};
use super::register::{Register, Revision, registers, revisions};
use super::report::Outcome;

/// Longest search for an order of one object's history; longer leaves it undecided.
const SEARCH_MAX: Duration = Duration::from_mins(1);

/// Checks that every object's history is linearizable.
pub async fn judge(history: &History, keys: usize, initial: u64, outcome: &mut Outcome) {
    let events = history.events();
    let is_open = |what: &What| matches!(what, What::Write { written: Written::Unknown, .. });
    outcome.unanswered = events.iter().filter(|event| is_open(&event.what)).count();
    outcome.answered = events.len() - outcome.unanswered;
    let mut searches = JoinSet::new();
    for (key, history) in registers(&events, keys).into_iter().enumerate() {
        searches.spawn_blocking(move || (format!("register {key}"), search(&Register, &history)));
    }
    let revisions = revisions(&events);
    let model = Revision { initial };
    searches.spawn_blocking(move || ("revision".to_owned(), search(&model, &revisions)));
    while let Some(found) = searches.join_next().await {
        match found {
            Ok((_, Verdict::Linearizable)) => {}
            Ok((what, Verdict::Violation(story))) => {
                outcome.violations.push(format!("{what} is not linearizable: {story}"));
            }
            Ok((what, Verdict::Unknown(why))) => outcome.unknown.push(format!("{what}: {why}")),
            Err(error) => outcome.unknown.push(format!("the checker: {error}")),
        }
    }
}

fn search<M: Model>(model: &M, history: &[Op<M::Act>]) -> Verdict {
    check(model, history, SEARCH_MAX)
}

/// Returns the logs in a directory.
fn logs(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|file| file.extension().is_some_and(|kind| kind == "log")).collect()
}

/// Finds daemons that have panicked.
pub fn panics(dir: &Path) -> Vec<String> {
    let panicked = |log: PathBuf| {
        let text = fs::read(&log).ok()?;
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find(|line| line.contains("panicked at"))?;
        Some(format!("{}: {line}", log.display()))
    };
    logs(dir).into_iter().filter_map(panicked).collect()
}

/// Keeps the logs of a directory, and the history, where a person can look at them.
pub fn keep(to: &Path, dir: &Path, history: &History) -> Result<()> {
    fs::create_dir_all(to)?;
    for log in logs(dir) {
        if let Some(name) = log.file_name() {
            fs::copy(&log, to.join(name))?;
        }
    }
    let mut text = Vec::new();
    for event in history.events() {
        serde_json::to_writer(&mut text, &event)?;
        text.push(b'\n');
    }
    Ok(fs::write(to.join("history.jsonl"), text)?)
}

#[cfg(test)]
mod tests {
    use super::super::history::Event;
    use super::*;

    fn history(reads: &[Option<u64>]) -> History {
        let history = History::default();
        let event =
            |call, what| Event { client: 1, call, end: call + 1, through: "c".into(), what };
        let write = What::Write { key: 0, value: 1, base: None, written: Written::At(8) };
        history.push(event(0, write));
        for (call, found) in (1..).map(|number| 2 * number).zip(reads) {
            history.push(event(call, What::Read { key: 0, found: *found }));
        }
        history
    }

    #[tokio::test]
    async fn a_bad_history_is_a_violation_and_its_files_are_kept() {
        let mut outcome = Outcome::default();
        judge(&history(&[Some(1)]), 1, 7, &mut outcome).await;
        assert_eq!((outcome.violations.len(), outcome.answered), (0, 2));
        let bad = history(&[Some(1), None]);
        judge(&bad, 1, 7, &mut outcome).await;
        assert!(outcome.violations[0].starts_with("register 0 is not linearizable"));
        judge(&bad, 1, 8, &mut outcome).await;
        assert_eq!(outcome.violations.len(), 3, "the revision goes up by one: {outcome:?}");

        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("c-aws.log");
        fs::write(log, "all is well\nthread 'main' panicked at src/x.rs:1\n").unwrap();
        fs::write(dir.path().join("none.pid"), "panicked at").unwrap();
        assert_eq!(panics(dir.path()).len(), 1);
        let kept = dir.path().join("kept");
        keep(&kept, dir.path(), &bad).unwrap();
        assert!(kept.join("c-aws.log").is_file());
        let text = fs::read_to_string(kept.join("history.jsonl")).unwrap();
        assert_eq!(text.lines().count(), 3);
    }
}
