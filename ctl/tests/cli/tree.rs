//! Every command of the tree, by its own examples: help, documents, problems and exit codes are the
//! same everywhere, and a new command is tried without being named here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::StreamExt as _;
use serde_json::Value;
use trireme_ctl::cli::tree;
use trireme_ctl::examples;
use trireme_ctl::lang::Lang;

use crate::fleet::{Fleet, Run, closed, command, finish};

/// Commands run at a time.
const AT_ONCE: usize = 6;

/// Exit codes of DESIGN section 8.
const CODES: [i32; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130];

/// Commands that ask no controller.
const LOCAL: [&str; 8] =
    ["explain", "login", "context", "ca", "dev", "completion", "man", "version"];

/// Commands that change nothing, or that say here why they take no `--dry-run`.
const NO_DRY_RUN: &[(&str, &str)] = &[
    ("diff", "reads"),
    ("get", "reads"),
    ("describe", "reads"),
    ("explain", "reads"),
    ("why", "reads"),
    ("version", "reads"),
    ("completion", "reads"),
    ("upgrade plan", "reads: it is the dry run"),
    ("upgrade status", "reads"),
    ("upgrade watch", "reads"),
    ("review list", "reads"),
    ("service status", "reads"),
    ("service top", "reads"),
    ("status", "reads"),
    ("service logs", "reads"),
    ("region list", "reads"),
    ("freeze status", "reads"),
    ("override list", "reads"),
    ("checklist list", "reads"),
    ("checklist show", "reads"),
    ("alert list", "reads"),
    ("alert silences", "reads"),
    ("alert notices", "reads"),
    ("alert review", "reads"),
    ("grants list", "reads"),
    ("node list", "reads"),
    ("user list", "reads"),
    ("context list", "reads"),
    ("context show", "reads"),
    ("controller status", "reads"),
    ("audit list", "reads"),
    ("audit verify", "reads"),
    ("audit export", "writes new files alone, where it is told to"),
    ("man", "writes pages where it is told to"),
    ("login", "a token works once: to judge it is to use it up"),
    ("dev up", "a fleet for trying things out"),
    ("dev status", "reads"),
    ("dev down", "a fleet for trying things out"),
    ("demo", "a fleet of its own, gone afterwards"),
];

/// Returns every command that does something, as its words.
fn leaves() -> Vec<(String, clap::Command)> {
    fn walk(command: &clap::Command, words: &str, found: &mut Vec<(String, clap::Command)>) {
        if command.get_subcommands().next().is_none() && !command.is_hide_set() {
            found.push((words.trim().to_owned(), command.clone()));
        }
        for inner in command.get_subcommands() {
            walk(inner, &format!("{words} {}", inner.get_name()), found);
        }
    }
    let (mut found, mut tree) = (Vec::new(), tree(Lang::En));
    tree.build();
    walk(&tree, "", &mut found);
    assert!(found.len() >= 80, "only {} commands", found.len());
    found
}

/// Splits a line as a shell does, up to a pipe.
pub(crate) fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for c in line.split(" | ").next().unwrap_or_default().chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Runs commands in a directory, some at a time.
async fn run_all(
    lines: Vec<(String, Vec<String>)>,
    config: &Path,
    dir: &Path,
) -> Vec<(String, Vec<String>, Run)> {
    let run = async |(leaf, words): (String, Vec<String>)| {
        let mut command = command();
        command.env("TRICTL_CONFIG", config).env("HOME", dir).current_dir(dir).args(&words);
        (leaf, words, finish(command).await)
    };
    futures_util::stream::iter(lines.into_iter().map(run)).buffer_unordered(AT_ONCE).collect().await
}

/// Returns the first example of each command, without the program's name.
fn example_of_each(also: &[&str]) -> Vec<(String, Vec<String>)> {
    let example = |(leaf, command): (String, clap::Command)| {
        let line = examples::of(&leaf).first();
        let line = line.unwrap_or_else(|| panic!("trictl {leaf} has no line in examples.rs"));
        let mut words = split(line).split_off(1);
        let yes = command.get_arguments().any(|arg| arg.get_long() == Some("yes"));
        // What stands behind -- is another program's.
        let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
        let also = yes.then_some("--yes").into_iter().chain(also.iter().copied());
        words.splice(end..end, also.map(str::to_owned));
        (leaf, words)
    };
    leaves().into_iter().map(example).collect()
}

fn is_local(leaf: &str) -> bool {
    LOCAL.contains(&leaf.split(' ').next().unwrap())
}

/// Fails unless a run that went wrong has told so in the one shape.
fn assert_problem(leaf: &str, run: &Run) {
    assert_eq!(run.stdout, "", "trictl {leaf} went wrong and printed: {run:?}");
    let problem = run.problem();
    assert!(problem["code"].is_string(), "trictl {leaf}: {run:?}");
    assert!(problem["message"].as_str().is_some_and(|text| !text.is_empty()), "{leaf}: {run:?}");
    for (field, value) in problem.as_object().unwrap() {
        let known = ["code", "message", "why", "rule", "hint", "request_id", "retryable"];
        assert!(known.contains(&field.as_str()), "trictl {leaf} tells {field}: {value}");
    }
}

#[test]
fn every_command_has_examples_that_parse() {
    for (leaf, _) in leaves() {
        let lines = examples::of(&leaf);
        assert!(!lines.is_empty(), "trictl {leaf} has no line in examples.rs");
        for line in lines {
            let parsed = tree(Lang::En).try_get_matches_from(split(line));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}

/// Who may change something can look first; what has no dry run is listed with the reason.
#[test]
fn every_command_that_changes_something_can_be_tried_without_changing_it() {
    let mut listed: BTreeSet<&str> = NO_DRY_RUN.iter().map(|(leaf, _)| *leaf).collect();
    let all = leaves();
    for (leaf, command) in &all {
        let dry = command.get_arguments().any(|arg| arg.get_long() == Some("dry-run"));
        let excused = listed.remove(leaf.as_str());
        assert!(dry != excused, "trictl {leaf}: --dry-run is {dry}, in the list is {excused}");
    }
    assert_eq!(listed, BTreeSet::new(), "in the list, and no commands");
}

/// What can be looked at with more or less certainty can be looked at for longer.
#[test]
fn every_list_can_be_watched() {
    let mut lists = 0;
    for (leaf, command) in leaves() {
        let has = |flag: &str| command.get_arguments().any(|arg| arg.get_long() == Some(flag));
        if has("consistency") {
            lists += 1;
            assert!(has("watch"), "trictl {leaf} has no --watch");
        }
    }
    assert!(lists >= 12, "only {lists} lists");
}

/// A command whose request carries an origin changes something.
#[test]
fn every_source_that_asks_for_a_change_can_ask_for_a_dry_run() {
    let commands = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands");
    let (mut left, mut asking) = (vec![commands], 0);
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains(".origin()") {
            asking += 1;
            assert!(text.contains("dry_run"), "{} has no dry run", path.display());
        }
    }
    assert!(asking >= 20, "only {asking} sources ask for changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_tells_its_help_with_an_example() {
    let dir = tempfile::tempdir().unwrap();
    let helps = leaves().into_iter().map(|(leaf, _)| {
        let words = leaf.split(' ').chain(["--help"]).map(str::to_owned).collect();
        (leaf, words)
    });
    for (leaf, _, run) in run_all(helps.collect(), Path::new("/nonexistent"), dir.path()).await {
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "trictl {leaf}: {run:?}");
        assert!(run.stdout.contains("Examples:\n  trictl "), "trictl {leaf}: {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_line_that_is_wrong_is_told_as_a_problem() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = Vec::new();
    for (leaf, command) in leaves() {
        let words: Vec<String> = leaf.split(' ').map(str::to_owned).collect();
        let with = |more: &[&str]| {
            let more = more.iter().map(|word| (*word).to_owned());
            words.iter().cloned().chain(more).collect::<Vec<_>>()
        };
        lines.push((leaf.clone(), with(&["--json", "--no-such-flag"])));
        lines.push((leaf.clone(), with(&["--no-such-flag", "-o", "yaml"])));
        if command.get_arguments().any(clap::Arg::is_required_set) {
            lines.push((leaf, with(&["-ojson"])));
        }
    }
    for (leaf, words, run) in run_all(lines, Path::new("/nonexistent"), dir.path()).await {
        assert_eq!(run.code, Some(2), "{words:?}: {run:?}");
        assert_problem(&leaf, &run);
        assert_eq!(run.problem()["code"], "usage", "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_needs_a_fleet_says_that_none_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let all = example_of_each(&["--json"]).into_iter();
    let lines = all.filter(|(leaf, _)| !is_local(leaf) && leaf != "demo").collect();
    prepare(dir.path());
    for (leaf, words, run) in run_all(lines, Path::new("/nonexistent/c.yaml"), dir.path()).await {
        assert_eq!(run.code, Some(2), "{words:?}: {run:?}");
        assert_problem(&leaf, &run);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_asks_says_who_did_not_answer() {
    let fleet = Fleet::new().await;
    fleet.admin(&[&closed()]).await;
    prepare(fleet.dir.path());
    let all = example_of_each(&["--json"]).into_iter();
    let lines = all.filter(|(leaf, _)| !is_local(leaf) && leaf != "demo").collect();
    for (leaf, words, run) in run_all(lines, &fleet.config(), fleet.dir.path()).await {
        assert_eq!(run.code, Some(6), "{words:?}: {run:?}");
        assert_problem(&leaf, &run);
        assert_eq!(run.problem()["retryable"], true, "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_ask_nobody_print_one_document_or_one_problem() {
    let fleet = Fleet::new().await;
    fleet.admin(&[&closed()]).await;
    prepare(fleet.dir.path());
    let all = example_of_each(&["--json"]).into_iter();
    // `dev up` would be a fleet.
    let lines = all.filter(|(leaf, _)| is_local(leaf) && leaf != "dev up").collect();
    for (leaf, words, run) in run_all(lines, &fleet.config(), fleet.dir.path()).await {
        assert!(run.code.is_some_and(|code| CODES.contains(&code)), "{words:?}: {run:?}");
        if run.code == Some(0) {
            assert!(run.json().is_object(), "{words:?}: {run:?}");
        } else {
            assert_problem(&leaf, &run);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_programs_read_is_the_same_in_every_language() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let nowhere = Path::new("/nonexistent/c.yaml");
    let lines = |lang: &'static str| {
        let all = example_of_each(&["--json", "--lang", lang]).into_iter();
        all.filter(|(leaf, _)| !is_local(leaf) && leaf != "demo").collect()
    };
    let told = async |lang| {
        let runs = run_all(lines(lang), nowhere, dir.path()).await.into_iter();
        runs.map(|(leaf, _, run)| (leaf, (run.code, run.stdout, run.stderr)))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(told("zh").await, told("en").await);
    let run = async |args: &[&str]| {
        let mut command = command();
        command.env("LANG", "zh_CN.UTF-8").args(args);
        finish(command).await
    };
    let text = run(&["get", "--config", "/nonexistent/c.yaml"]).await;
    assert_eq!(text.code, Some(2));
    let said = "错误: 没有可连接的机群: 上下文文件 /nonexistent/c.yaml 不存在\n提示: ";
    assert!(text.stderr.starts_with(said), "{text:?}");
    let help = run(&["node", "drain", "--help"]).await;
    assert!(help.stdout.contains("用法: trictl node drain"), "{help:?}");
    let wrong = run(&["node", "drain", "--no-such-flag"]).await;
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.starts_with("错误: 未知参数 '--no-such-flag'"), "{wrong:?}");
}

/// Writes what examples name.
fn prepare(dir: &Path) {
    std::fs::write(dir.join("web.yaml"), "kind: Region\nname: aws\n").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_ones_own_files_writes_none() {
    let fleet = Fleet::new().await;
    let (dir, at) = (fleet.dir.path(), closed());
    fleet.admin(&[&at]).await;
    let before = std::fs::read(fleet.config()).unwrap();
    let run = async |args: &[&str]| {
        let mut command = command();
        command.env("TRICTL_CONFIG", fleet.config()).current_dir(dir).args(args).arg("--dry-run");
        finish(command).await
    };
    let new = run(&["ca", "init", "--fleet", "other", "--dir", "new"]).await;
    assert_eq!(new.code, Some(0), "{new:?}");
    assert!(new.stderr.ends_with("dry run: nothing was changed\n"), "{new:?}");
    assert!(!dir.join("new").exists());
    let again = run(&["ca", "init", "--fleet", "other", "--dir", "ca"]).await;
    assert_eq!(again.code, Some(5), "what is refused is refused all the same: {again:?}");
    let bob = ["ca", "issue-user", "--name", "bob", "--role", "auditor", "--dir", "ca"];
    assert_eq!(run(&bob).await.code, Some(0));
    assert!(!dir.join("ca/users/bob").exists());
    for change in [&["protect", "prod"][..], &["remove", "prod"], &["use", "prod"]] {
        let run = run(&[&["context"], change].concat()).await;
        assert_eq!(run.code, Some(0), "{run:?}");
    }
    assert_eq!(run(&["context", "use", "nowhere"]).await.code, Some(2));
    assert_eq!(std::fs::read(fleet.config()).unwrap(), before);
}

fn json_of(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}: {yaml}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_the_same_in_every_form() {
    let document = serde_json::json!({"items": [
        {"id": "grant-3", "holder": "upgrade-7", "takes": ["aws-1/web"], "state": "held: yes",
         "age": "12s", "released_by": "1.0", "actor": "null"},
        {"id": "grant-4", "holder": "no", "takes": [], "state": "#", "age": "12s",
         "released_by": "- a\nb: c", "actor": "升级"},
    ]});
    let answer = document.clone();
    let fleet = Fleet::new().await;
    let script = move |_: &_, _| crate::fleet::Answer::Doc(answer.clone());
    let controller = fleet.controller("c1", script).await;
    let run = async |more: &[&str]| {
        fleet.run(&[&controller.address], &[&["grants", "list"], more].concat()).await
    };
    for json in [&["--json"][..], &["-o", "json"], &["-ojson"], &["--output=json"]] {
        assert_eq!(run(json).await.json(), document);
    }
    assert_eq!(json_of(&run(&["-o", "yaml"]).await.stdout), document);
    assert_eq!(run(&["-o", "name"]).await.stdout, "grant-3\ngrant-4\n");
    let table = run(&[]).await.stdout;
    assert_eq!((&run(&["-o", "table"]).await.stdout, table.lines().count()), (&table, 3));
    let wrong = run(&["-o", "xml"]).await;
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("[possible values: table, wide, json, yaml, name]"), "{wrong:?}");
    assert_eq!(run(&["-o", "yaml", "--json"]).await.code, Some(2));
}
