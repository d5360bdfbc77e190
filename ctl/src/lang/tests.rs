//! The catalogue is complete, and says nothing that nobody asks for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::cli::tree;

/// Where the words of the command line itself begin; those before are clap's.
const OWN: &str = "# --- options of every command ---";

fn translated_keys() -> BTreeSet<&'static str> {
    entries().into_iter().map(|(english, _)| english).collect()
}

/// Returns every text of the tree that clap takes from us.
fn helps(command: &Command, found: &mut BTreeSet<String>) {
    let mut add = |text: Option<&StyledStr>| {
        let text = text.map(ToString::to_string).unwrap_or_default();
        found.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    };
    if !command.is_hide_set() {
        add(command.get_about());
        add(command.get_long_about());
        for arg in command.get_arguments() {
            add(arg.get_help());
            add(arg.get_long_help());
            for value in arg.get_possible_values() {
                add(value.get_help());
            }
        }
        command.get_subcommands().for_each(|inner| helps(inner, found));
    }
}

/// Returns the sources that make text for people, tests and comments aside.
fn sources(of: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut left: Vec<PathBuf> = of.iter().map(|part| root.join(part).join("src")).collect();
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !(name.ends_with("tests.rs") || name == "fixture.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
                found.push(lines.collect::<Vec<_>>().join("\n"));
            }
        }
    }
    found
}

/// Returns what stands between quotes.
fn literals(source: &str) -> Vec<String> {
    let (mut found, mut word, mut escaped) = (Vec::new(), None::<String>, false);
    for c in source.chars() {
        match (&mut word, c) {
            (Some(inner), _) if escaped => {
                escaped = false;
                inner.push(c);
            }
            (Some(_), '\\') => escaped = true,
            (Some(_), '"') => found.extend(word.take()),
            (Some(inner), _) => inner.push(c),
            (None, '"') => word = Some(String::new()),
            (None, _) => {}
        }
    }
    found
}

fn is_heading(word: &str) -> bool {
    let capitals = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "-/".contains(c);
    word.len() > 1
        && word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(capitals)
}

/// Returns what tables say: headings, and the line where there are no rows.
fn tables() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in sources(&["ctl"]).iter().filter(|source| source.contains("table(")) {
        // What stands for a value is no heading.
        let source = &source.replace("value_name = \"", "value_name = \"<");
        found.extend(literals(source).into_iter().filter(|word| is_heading(word)));
        for (at, call) in source.match_indices("table(") {
            let mut depth = 1;
            let inner = source[at + call.len()..].split_inclusive(['(', ')']).take_while(|part| {
                let open = depth > 0;
                depth += if part.ends_with('(') { 1 } else { -1 };
                open
            });
            let last = literals(&inner.collect::<String>()).into_iter().next_back();
            found.extend(last.filter(|word| !word.is_empty() && !is_heading(word)));
        }
        for part in source.split("let empty = ").skip(1) {
            found.extend(literals(part).into_iter().next());
        }
    }
    assert!(found.len() > 100, "{found:?}");
    found
}

#[test]
fn every_help_and_every_table_is_translated() {
    let mut wanted = tables();
    helps(&tree(Lang::En), &mut wanted);
    let known = translated_keys();
    let missing: Vec<_> = wanted.iter().filter(|text| !known.contains(text.as_str())).collect();
    let list = missing.iter().map(|text| format!("{text}\n    ?")).collect::<Vec<_>>().join("\n");
    assert!(missing.is_empty(), "ctl/src/lang/zh.txt lacks {}:\n{list}", missing.len());
}

#[test]
fn nothing_in_the_catalogue_is_left_over() {
    let mut used = tables();
    helps(&tree(Lang::En), &mut used);
    let texts = sources(&["ctl", "controller", "proto"]).join("\n").replace("\\\n", "");
    let texts = texts.split_whitespace().collect::<Vec<_>>().join(" ").replace("\\\"", "\"");
    let own = &ZH[ZH.find(OWN).unwrap()..];
    let said = |english: &str| {
        let parts = english.split("{}").map(|part| part.split_whitespace().collect::<Vec<_>>());
        parts.map(|words| words.join(" ")).all(|part| texts.contains(&part))
    };
    let left: Vec<_> = translated_keys()
        .into_iter()
        .filter(|english| own.contains(&format!("\n{english}\n    ")))
        .filter(|english| !used.contains(*english) && !said(english))
        .collect();
    assert!(left.is_empty(), "nobody says: {left:#?}");
}

#[test]
fn translations_are_one_for_each_and_have_the_same_places() {
    let all = entries();
    assert_eq!(all.len(), translated_keys().len(), "something is there twice");
    let lines = ZH.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    assert_eq!(lines, 2 * all.len(), "a line has no translation");
    for (english, chinese) in all {
        let places = english.matches("{}").count();
        let named = (1..=places).filter(|n| chinese.contains(&format!("{{{n}}}"))).count();
        let unnamed = chinese.matches("{}").count();
        assert!(
            (named, unnamed) == (places, 0) || (named, unnamed) == (0, places),
            "{english}: {chinese}"
        );
        let commands = |text: &str| text.matches("trictl").count();
        assert_eq!(commands(english), commands(chinese), "{english}: {chinese}");
    }
}

#[test]
fn what_varies_is_kept_and_may_change_its_place() {
    let say = |text| Lang::Zh.say(text);
    assert_eq!(say("  to start it:"), "  启动命令:");
    assert_eq!(say("revision 7"), "修订号 7");
    assert_eq!(say("2 of 5 objects differ"), "5 个对象中有 2 个不同");
    let both =
        "to come back: trictl upgrade watch web\nto end it where it is: trictl upgrade abort web";
    let chinese = "重新跟踪: trictl upgrade watch web\n就地中止: trictl upgrade abort web";
    assert_eq!(say(both), chinese);
    assert_eq!(say("nobody has translated this"), "nobody has translated this");
    assert_eq!(Lang::En.say("revision 7"), "revision 7");
    assert_eq!(filled("{2}{1}", &["{1}".to_owned(), "b".to_owned()]), "b{1}");
}

#[test]
fn the_language_is_that_of_the_flag_then_of_the_environment() {
    let asked = |line: &str, environment: &[(&str, &str)]| {
        let args: Vec<_> = line.split(' ').map(OsString::from).collect();
        let find = |name: &str| environment.iter().find(|(known, _)| *known == name);
        Lang::asked(&args, |name| find(name).map(|(_, value)| value.into()))
    };
    assert_eq!(asked("trictl", &[]), Lang::En);
    assert_eq!(asked("trictl", &[("LANG", "zh_CN.UTF-8")]), Lang::Zh);
    assert_eq!(asked("trictl", &[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "C")]), Lang::En);
    assert_eq!(asked("trictl", &[("TRIREME_LANG", "zh"), ("LC_ALL", "C")]), Lang::Zh);
    assert_eq!(asked("trictl --lang en get", &[("TRIREME_LANG", "zh")]), Lang::En);
    assert_eq!(asked("trictl get --lang=zh", &[]), Lang::Zh);
    assert_eq!(asked("trictl note x -- --lang=zh", &[]), Lang::En);
}

#[test]
fn help_is_chinese_from_top_to_bottom() {
    let mut tree = tree(Lang::Zh).term_width(100);
    tree.build();
    let drain = tree.find_subcommand_mut("node").unwrap().find_subcommand_mut("drain").unwrap();
    let shown = drain.clone().mut_args(|arg| {
        let global = arg.get_help_heading().is_some();
        arg.hide(global)
    });
    let help = Lang::Zh.say(&shown.bin_name("trictl node drain").render_long_help().to_string());
    insta::assert_snapshot!(help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
}
