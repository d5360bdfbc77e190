//! The tree of commands as a whole: every leaf explains itself and speaks JSON.

use std::fmt::Write as _;

use clap::{CommandFactory as _, Parser as _};

use super::*;

/// Calls `visit` with each command and its words, parents first.
fn walk(command: &clap::Command, words: &str, visit: &mut impl FnMut(&clap::Command, &str)) {
    visit(command, words);
    for inner in command.get_subcommands() {
        walk(inner, &format!("{words} {}", inner.get_name()), visit);
    }
}

fn built() -> clap::Command {
    let mut command = tree(Lang::En).term_width(100);
    command.build();
    command
}

#[test]
fn the_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_leaf_takes_json_and_every_argument_has_help() {
    let mut leaves = 0;
    walk(&built(), "trictl", &mut |command, words| {
        assert!(command.get_about().is_some(), "{words} has no help");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{words} {} has no help", argument.get_id());
        }
        if command.get_subcommands().next().is_none() {
            leaves += 1;
            let json = command.get_arguments().any(|arg| arg.get_long() == Some("json"));
            assert!(json, "{words} has no --json");
        }
    });
    assert!(leaves >= 27, "only {leaves} leaves");
}

#[test]
fn help_lines_are_imperative_and_end_without_a_full_stop() {
    walk(&built(), "trictl", &mut |command, words| {
        let about = command.get_about().unwrap().to_string();
        let first = about.lines().next().unwrap();
        assert!(!first.ends_with('.'), "{words}: {first}");
        assert!(first.starts_with(char::is_uppercase), "{words}: {first}");
    });
}

#[test]
fn the_help_of_every_command_is_as_reviewed() {
    let mut text = String::new();
    let global = [
        "config",
        "context",
        "controllers",
        "ca",
        "cert",
        "key",
        "timeout",
        "output",
        "json",
        "lang",
        "confirm_fleet",
    ];
    walk(&built(), "trictl", &mut |command, words| {
        // Options that every command takes are shown once, at the top.
        let shown = command.clone().mut_args(|arg| {
            let hide = words != "trictl" && global.contains(&arg.get_id().as_str());
            arg.hide(hide)
        });
        let help = shown.bin_name(words).render_long_help().to_string();
        let _ = writeln!(text, "━━━ {words}\n\n{}\n", help.trim_end());
    });
    let text = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn flags_are_repeated_in_printed_commands_and_parse_again() {
    let args = ["trictl", "--context", "prod eu", "version", "--timeout", "1m"];
    let cli = Cli::try_parse_from(args).unwrap();
    let repeat = cli.global.repeat(&["context", "timeout"]);
    assert_eq!(repeat, ["--context", "prod eu", "--timeout", "1m"]);
    let again = ["trictl", "version"].into_iter().map(str::to_owned).chain(repeat);
    let again = Cli::try_parse_from(again).unwrap();
    assert_eq!(again.global.context.as_deref(), Some("prod eu"));
    let many = ["trictl", "version", "--controller", "a:1", "--controller", "b:2"];
    let cli = Cli::try_parse_from(many).unwrap();
    assert_eq!(cli.global.repeat(&["controllers"]), ["--controller", "a:1,b:2"]);
}

#[test]
fn bad_values_are_refused_with_what_to_write() {
    let refused = |args: &[&str]| {
        let all = std::iter::once(&"trictl").chain(args);
        Cli::try_parse_from(all).unwrap_err().to_string()
    };
    let moving = refused(&["upgrade", "plan", "web", "--to", "latest"]);
    assert!(moving.contains("version `latest` is a moving tag"), "{moving}");
    let plan = refused(&["upgrade", "start", "web@1.1.0"]);
    assert!(plan.contains("does not name a plan"), "{plan}");
    let span = refused(&["version", "--timeout", "5"]);
    assert!(span.contains("write it like 500ms, 2s"), "{span}");
}

#[test]
fn words_are_quoted_where_a_shell_would_split_them() {
    assert_eq!(quoted("web@1.1.0:0123456789ab"), "web@1.1.0:0123456789ab");
    assert_eq!(quoted("a b"), "'a b'");
    assert_eq!(quoted("it's"), r"'it'\''s'");
    assert_eq!(quoted(""), "''");
}
