//! Every command that a program of ours prints for copying can be copied: it parses with the very
//! tree of commands, with all that it needs.
//!
//! Commands are found in the sources of all programs, where texts say `trictl ...`: they end at the
//! end of the text, or at a quote, a backtick, a comma, a semicolon or a parenthesis. What is filled
//! in at run time stands in braces; what a person must fill in is in capitals, such as `WHY`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use trireme_ctl::cli::tree;
use trireme_ctl::lang::Lang;

use crate::tree::split;

/// What may stand for something that is filled in at run time.
const VALUES: [&str; 15] = [
    "web",
    "node",
    "operator",
    "1",
    "1h",
    "1.0.0",
    "web@1.0.0:0123456789ab",
    "upgrade-7",
    "grant-3",
    "a/b",
    "2026-11-01T00:00:00Z",
    "channel",
    "restart",
    "answer",
    "status",
];

/// What stands for something that a person fills in.
const CAPITALS: &[(&str, &str)] = &[
    ("BREAK", "break-7"),
    ("CONTROLLER", "c1"),
    ("FILE", "web.yaml"),
    ("HOST:PORT", "c1.example:7444"),
    ("ID", "silence-3"),
    ("KEY=VALUE", "role=web"),
    ("KIND.FIELD", "service.checks"),
    ("KIND/NAME", "service/web"),
    ("ADDRESS", "10.1.0.3"),
    ("NAME", "web"),
    ("NETWORK", "10.0.0.0/8"),
    ("NODE", "aws-1"),
    ("REGION", "aws"),
    ("ROLE", "operator"),
    ("SERVICE", "web"),
    ("VERSION", "1.4.2"),
    ("WHAT", "nothing"),
    ("WHY", "maintenance"),
];

/// A command as it is printed, and where.
#[derive(Debug)]
struct Printed {
    file: PathBuf,
    words: Vec<String>,
}

/// Returns the sources of everything that prints, tests aside.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut left: Vec<_> =
        ["agent", "controller", "ctl", "proto"].map(|part| root.join(part).join("src")).into();
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let tests = name == "tests.rs" || name.ends_with("_tests.rs");
        let tests = tests || path.parent().is_some_and(|dir| dir.ends_with("tests"));
        let source = path.extension().is_some_and(|extension| extension == "rs");
        if source && !tests && name != "fixture.rs" {
            found.push(path);
        }
    }
    assert!(found.len() > 200, "only {} sources", found.len());
    found
}

/// Returns a source without its tests and comments, with texts that go over several lines joined.
fn told(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut text = String::new();
    for line in lines {
        let goes_on = line.strip_suffix('\\');
        let part = goes_on.unwrap_or(line);
        let begins = text.is_empty() || text.ends_with('\n');
        text += if begins { part } else { part.trim_start() };
        if goes_on.is_none() {
            text.push('\n');
        }
    }
    text
}

/// Returns the commands in texts.
fn commands_in_texts(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("trictl ") {
        let rest = &text[at..];
        let end = rest.find(['"', '`', ',', ';', '(', ')', '\n']).unwrap_or(rest.len());
        let line = rest[..end].split("\\n").next().unwrap_or_default();
        // A sentence about the program is no command.
        let named = line["trictl ".len()..].starts_with(|c: char| c.is_ascii_lowercase());
        if named && !line.contains("{app}") {
            found.push(split(line.trim_end_matches(['.', ' ', ':'])));
        }
    }
    found
}

/// Returns the commands that are put together word by word.
fn commands_of_words(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, start) in text.match_indices("app.command(&[") {
        let list = text[at + start.len()..].split("])").next().unwrap_or_default();
        let mut words = vec!["trictl".to_owned()];
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let literal = word.strip_prefix('"').and_then(|word| word.strip_suffix('"'));
            words.push(literal.map_or_else(|| format!("{{{word}}}"), str::to_owned));
        }
        found.push(words);
    }
    found
}

/// Returns a word with `value` for each part in braces.
fn filled(word: &str, braces: &[String], values: &[&str]) -> String {
    let named = CAPITALS.iter().find(|(capitals, _)| *capitals == word);
    let mut word = named.map_or_else(|| word.to_owned(), |(_, value)| (*value).to_owned());
    for (brace, value) in braces.iter().zip(values) {
        word = word.replace(brace, value);
    }
    word
}

/// Returns the different parts in braces.
fn braces(words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for word in words {
        let mut rest = word.as_str();
        while let Some((start, end)) = rest.find('{').zip(rest.find('}')) {
            let brace = rest[start..=end].to_owned();
            rest = &rest[end + 1..];
            // An unnamed one is another thing each time, and the same will do.
            if !found.contains(&brace) {
                found.push(brace);
            }
        }
    }
    found
}

/// Returns words without what is glued to something filled in: flags that are there or not.
fn bare(words: &[String]) -> Vec<String> {
    let cut = |word: &String| match word.split_once("}{") {
        Some((first, _)) => format!("{first}}}"),
        None => word.clone(),
    };
    words.iter().map(cut).collect()
}

/// Returns why a command cannot be copied, if it cannot.
fn fault(words: &[String]) -> Option<String> {
    let words = &bare(words);
    let braces = braces(words);
    assert!(braces.len() <= 3, "{words:?} has too many parts to try");
    let mut first = None;
    let choices = VALUES.len().pow(u32::try_from(braces.len()).unwrap());
    for choice in 0..choices {
        let digit = |n: u32| VALUES[choice / VALUES.len().pow(n) % VALUES.len()];
        let values = [digit(0), digit(1), digit(2)];
        let line: Vec<String> = words.iter().map(|word| filled(word, &braces, &values)).collect();
        match tree(Lang::En).try_get_matches_from(&line) {
            Ok(_) => return None,
            Err(error) if error.kind() == ErrorKind::DisplayHelp => return None,
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    first.map(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

#[test]
fn every_printed_command_can_be_copied() {
    let mut printed = Vec::new();
    for file in sources() {
        let text = told(&std::fs::read_to_string(&file).unwrap());
        let found = commands_in_texts(&text).into_iter().chain(commands_of_words(&text));
        printed.extend(found.map(|words| Printed { file: file.clone(), words }));
    }
    assert!(printed.len() >= 100, "only {} commands were found", printed.len());
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for Printed { file, words } in printed {
        if seen.insert(words.clone())
            && let Some(why) = fault(&words)
        {
            faults.push(format!("{}: {}: {why}", file.display(), words.join(" ")));
        }
    }
    assert!(faults.is_empty(), "{} cannot be copied:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn what_is_not_complete_is_found() {
    let fault = |line: &str| fault(&split(line));
    assert_eq!(fault("trictl why upgrade/{id}"), None);
    assert_eq!(fault("trictl node remove {node} --reason WHY --confirm {node}"), None);
    assert!(fault("trictl node remove {node}").is_some(), "it needs a reason");
    assert!(fault("trictl nodes list").is_some(), "there is no such command");
    assert!(fault("trictl get node --jsn").is_some(), "there is no such flag");
    let texts = commands_in_texts("hint(\"look: trictl get node, then\") \"trictl is a program\"");
    assert_eq!(
        texts,
        [["trictl", "get", "node"].map(str::to_owned).to_vec(), split("trictl is a program")]
    );
    let words = commands_of_words("app.command(&[\"why\", &id])");
    assert_eq!(words, [["trictl", "why", "{&id}"].map(str::to_owned).to_vec()]);
}
