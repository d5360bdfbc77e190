//! Languages: what people read is in English or Chinese; what programs read never changes.
//!
//! Sources speak English. The catalogue is keyed by that English, with `{}` for what varies, and is
//! consulted at the one door through which text leaves: help, tables, notes and problems, also
//! those of controllers, which know nothing of it. What is not in it stays English. clap has words
//! of its own, such as `Usage:`; they are found in the finished help.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::OnceLock;

use clap::builder::StyledStr;
use clap::{Arg, Command, ValueEnum};

/// English and Chinese.
const ZH: &str = include_str!("zh.txt");

/// Languages that people may read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// English
    #[default]
    En,
    /// Chinese
    Zh,
}

impl Lang {
    /// Returns the language that is asked for: by a flag, by `TRIREME_LANG`, by the locale.
    pub fn asked(args: &[OsString], set: impl Fn(&str) -> Option<OsString>) -> Self {
        let mut words = args.iter().take_while(|arg| *arg != OsStr::new("--"));
        while let Some(word) = words.next() {
            let word = word.to_string_lossy();
            let next = || words.clone().next().map(|next| next.to_string_lossy().into_owned());
            let flag = word.strip_prefix("--lang=").map(str::to_owned);
            let flag = flag.or_else(|| (word == "--lang").then(next).flatten());
            if let Some(lang) = flag.and_then(|word| Self::from_str(&word, false).ok()) {
                return lang;
            }
        }
        let given = |name: &&str| set(name).is_some_and(|value| !value.is_empty());
        let first = ["TRIREME_LANG", "LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find(given);
        let value = first.and_then(set).unwrap_or_default();
        if value.to_string_lossy().starts_with("zh") { Self::Zh } else { Self::En }
    }

    /// Returns text in this language, each line by itself; what it has no words for as it is.
    pub fn say(self, text: &str) -> String {
        match self {
            Self::En => text.to_owned(),
            Self::Zh => text.split('\n').map(in_chinese).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// Returns a line in Chinese, its indentation kept.
fn in_chinese(line: &str) -> String {
    let inner = line.trim();
    let start = line.len() - line.trim_start().len();
    match catalogue().find(inner) {
        Some(said) if !inner.is_empty() => {
            format!("{}{said}{}", &line[..start], &line[start + inner.len()..])
        }
        _ => line.to_owned(),
    }
}

/// What is said in Chinese.
struct Catalogue {
    lines: HashMap<&'static str, &'static str>,
    /// Lines in which something varies, those that say most first.
    patterns: Vec<(Vec<&'static str>, &'static str)>,
}

fn catalogue() -> &'static Catalogue {
    static ALL: OnceLock<Catalogue> = OnceLock::new();
    ALL.get_or_init(|| {
        let (patterns, lines): (Vec<_>, Vec<_>) =
            entries().into_iter().partition(|(english, _)| english.contains("{}"));
        let mut patterns: Vec<(Vec<_>, _)> = patterns
            .into_iter()
            .map(|(english, chinese)| (english.split("{}").collect(), chinese))
            .collect();
        patterns.sort_by_key(|(parts, _): &(Vec<&str>, _)| {
            std::cmp::Reverse(parts.iter().map(|part| part.len()).sum::<usize>())
        });
        Catalogue { lines: lines.into_iter().collect(), patterns }
    })
}

/// Returns the entries of the catalogue: a line, and below it, indented, its translation.
fn entries() -> Vec<(&'static str, &'static str)> {
    let told = ZH.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (mut found, mut english) = (Vec::new(), None);
    for line in told {
        match line.strip_prefix("    ") {
            None => english = Some(line),
            Some(chinese) => found.extend(english.take().map(|english| (english, chinese))),
        }
    }
    found
}

impl Catalogue {
    fn find(&self, line: &str) -> Option<String> {
        if let Some(chinese) = self.lines.get(line) {
            return Some((*chinese).to_owned());
        }
        self.patterns.iter().find_map(|(parts, chinese)| {
            // What varies may be a sentence too, and is shorter than all of it.
            let said = |value: &str| {
                if value.contains(' ') { in_chinese(value) } else { value.to_owned() }
            };
            let varying: Vec<_> = varying(line, parts)?.into_iter().map(said).collect();
            Some(filled(chinese, &varying))
        })
    }
}

/// Returns what stands for each `{}` between these parts, if the line is of them.
fn varying<'l>(line: &'l str, parts: &[&str]) -> Option<Vec<&'l str>> {
    let (first, rest) = parts.split_first()?;
    let (last, between) = rest.split_last()?;
    let mut left = line.strip_prefix(first)?.strip_suffix(last)?;
    let mut found = Vec::new();
    for part in between {
        let (before, after) = left.split_once(part)?;
        found.push(before);
        left = after;
    }
    found.push(left);
    found.iter().all(|value| !value.trim().is_empty()).then_some(found)
}

/// Returns a translation with values for its `{}`, or for `{1}`, `{2}` where the order differs.
fn filled(chinese: &str, values: &[String]) -> String {
    let mut text = chinese.to_owned();
    for (number, value) in values.iter().enumerate() {
        let named = format!("{{{}}}", number + 1);
        // What was filled in before may hold braces of its own.
        let place = if chinese.contains(&named) { named } else { "{}".to_owned() };
        text = text.replacen(&place, &value.replace('{', "\u{0}"), 1);
    }
    text.replace('\u{0}', "{")
}

/// Returns the tree of commands with its help in this language.
pub(crate) fn translated(tree: Command, lang: Lang) -> Command {
    if lang == Lang::En {
        return tree;
    }
    // Paragraphs are lines until clap wraps them.
    let said = |text: &StyledStr| lang.say(&text.to_string());
    let (about, long) = (tree.get_about().map(said), tree.get_long_about().map(said));
    let tree = match about {
        Some(about) => tree.about(about),
        None => tree,
    };
    let tree = match long {
        Some(long) => tree.long_about(long),
        None => tree,
    };
    let argument = |arg: Arg| {
        let (help, long) = (arg.get_help().map(said), arg.get_long_help().map(said));
        let arg = match help {
            Some(help) => arg.help(help),
            None => arg,
        };
        match long {
            Some(long) => arg.long_help(long),
            None => arg,
        }
    };
    tree.mut_args(argument).mut_subcommands(|inner| translated(inner, lang))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
