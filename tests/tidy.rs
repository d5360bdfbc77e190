//! The architecture as a test: what may know what, what pure code may not mention, and what every
//! file, dependency and document must say.
//!
//! Each rule is one test whose name is the claim and whose message says what to do. The rules
//! read the sources as text and need nothing but the standard library; lengths of functions and
//! most lints are clippy's part (`clippy.toml`, `[workspace.lints]`).

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

#[path = "tidy/manifest.rs"]
mod manifest;
#[path = "tidy/repo.rs"]
mod repo;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use repo::Repo;
use source::{Kind, Source};

type Rule = fn(&Repo) -> Vec<String>;

#[track_caller]
fn holds(rule: Rule, advice: &str) {
    let found = rule(&Repo::read());
    assert!(found.is_empty(), "{advice}\n  {}", found.join("\n  "));
}

#[test]
fn pure_code_depends_on_its_arguments_alone() {
    holds(
        rules::impurities,
        "state, plans and views must come out the same on every controller and in every replay: \
         pass times, randomness and what was read from the machine in as arguments",
    );
}

#[test]
fn programs_know_the_contract_and_not_each_other() {
    holds(
        rules::entanglements,
        "agent, controller and ctl meet in trireme-proto only: move what both need there",
    );
}

#[test]
fn one_module_knows_the_raft_library() {
    holds(
        rules::raft_leaks,
        "only controller/src/raft/ may name openraft: add what is missing to its own interface",
    );
}

#[test]
fn every_source_says_what_it_is_for() {
    holds(rules::undocumented, "begin the file with `//! ` and one sentence of purpose");
}

#[test]
fn no_source_is_longer_than_600_lines() {
    holds(rules::long_files, "split the file by what its parts are for");
}

#[test]
fn nothing_outside_tests_unwraps() {
    holds(
        rules::unwraps,
        "return an error, or write expect(\"why this cannot happen\") where it was just proved",
    );
}

#[test]
fn nothing_is_left_for_later() {
    holds(rules::leftovers, "finish it, or take it out; a test that is skipped proves nothing");
}

#[test]
fn no_program_is_run_through_a_shell() {
    holds(rules::shells, "pass the program and its arguments one by one");
}

#[test]
fn no_lint_is_silenced_for_ever() {
    holds(rules::silencers, "write #[expect(lint, reason = \"...\")]");
}

#[test]
fn an_upgrade_is_called_nothing_else() {
    holds(rules::second_words, "one word for each idea (ARCHITECTURE.md, Words): write upgrade");
}

#[test]
fn every_crate_shares_the_lints() {
    holds(rules::lax_crates, "add [lints] with workspace = true");
}

#[test]
fn every_dependency_is_used() {
    holds(rules::unused_dependencies, "take it out of Cargo.toml");
}

#[test]
fn every_dependency_is_explained() {
    holds(
        rules::unexplained_dependencies,
        "add a row to Dependencies in ARCHITECTURE.md: what for, why this one, what was refused",
    );
}

#[test]
fn there_is_one_tls_one_provider_and_one_version_of_what_must_agree() {
    holds(
        rules::locked_wrongly,
        "`cargo tree -i NAME` shows who brings it in: turn that feature off or align the versions",
    );
}

#[test]
fn documents_name_only_paths_that_exist() {
    holds(rules::dead_paths, "the document is out of date: name what is there now");
}

#[test]
fn the_changelog_tells_of_this_version() {
    let repo = Repo::read();
    let version = repo.version();
    let heading = match version.as_str() {
        "0.0.0" => "## [Unreleased]".to_owned(),
        released => format!("## [{released}]"),
    };
    assert!(
        repo.changelog.lines().any(|line| line.starts_with(&heading)),
        "the workspace is at {version}: CHANGELOG.md needs the heading `{heading}`"
    );
}

#[test]
fn the_readme_names_targets_that_the_makefile_has() {
    let repo = Repo::read();
    for wanted in ["make demo", "make test"] {
        assert!(repo.readme.contains(wanted), "README.md must say `{wanted}`");
    }
    let code: String = repo.readme.split("```").skip(1).step_by(2).collect();
    let inline = repo.readme.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    for command in code.lines().chain(inline) {
        let Some(rest) = command.trim().strip_prefix("make ") else { continue };
        let target = rest.split_whitespace().next().unwrap_or_default();
        assert!(
            repo.makefile.lines().any(|line| line.starts_with(&format!("{target}:"))),
            "README.md says `{command}`, but the Makefile has no target {target}"
        );
    }
}

#[test]
fn the_rules_look_at_the_whole_repository() {
    let repo = Repo::read();
    let members: Vec<&str> = repo.members.iter().map(|(member, _)| member.as_str()).collect();
    let (stand_in, shown) = ("controller/histogram", "proto/telemetry");
    assert_eq!(members, ["agent", "controller", stand_in, "ctl", "proto", shown, "tests"]);
    for dir in rules::PURE {
        let pure = repo.sources.iter().filter(|source| source.path.starts_with(dir));
        let code = pure.filter(|source| source.code.iter().any(|token| !token.test)).count();
        assert!(code >= 3, "{dir} has only {code} files with code: did it move?");
    }
}

#[test]
fn each_rule_sees_what_it_forbids() {
    let pure = "controller/src/plan/x.rs";
    let cases: [(Rule, &str, &str); 17] = [
        (rules::impurities, pure, "use std::time::Instant;"),
        (rules::impurities, pure, "use std::{collections::BTreeMap, net::IpAddr};"),
        (rules::impurities, pure, "fn f() { std::fs::read(\"x\"); }"),
        (rules::impurities, pure, "async fn f() {}"),
        (rules::impurities, pure, "type Seen = HashMap<u8, u8>;"),
        (rules::raft_leaks, "controller/src/server.rs", "use openraft::Raft;"),
        (rules::raft_leaks, "tests/src/x.rs", "use openraft_macros::x;"),
        (rules::undocumented, "ctl/src/x.rs", "use std::fmt;"),
        (rules::long_files, "ctl/src/x.rs", &"\n".repeat(601)),
        (rules::unwraps, "ctl/src/x.rs", "fn f() { g().unwrap(); }"),
        (rules::unwraps, "ctl/src/x.rs", "#[cfg(not(test))] fn f() { g().unwrap(); }"),
        (rules::leftovers, "ctl/src/x.rs", concat!("// TO", "DO: later")),
        (rules::leftovers, "ctl/tests/x.rs", "#[ignore = \"slow\"] fn f() {}"),
        (rules::leftovers, "ctl/src/x.rs", "fn f() { todo!() }"),
        (rules::shells, "agent/src/x.rs", "fn f() { Command::new(\"/bin/sh\"); }"),
        (rules::silencers, "ctl/src/x.rs", "#![allow(dead_code)]"),
        (rules::second_words, "ctl/src/x.rs", concat!("fn start_roll", "out() {}")),
    ];
    for (rule, path, text) in cases {
        let found = rule(&Repo::of(path, text));
        assert_eq!(found.len(), 1, "{path}: {text:?} gave {found:?}");
    }
}

#[test]
fn each_rule_lets_pass_what_it_must() {
    let pure = "controller/src/plan/x.rs";
    let cases: [(Rule, &str, &str); 9] = [
        (rules::impurities, pure, "// no tokio, no std::fs\nconst S: &str = \"HashMap\";"),
        (rules::impurities, pure, "use std::{fmt::{self, Write}, time::Duration};"),
        (rules::impurities, pure, "#[cfg(test)]\nmod tests { use std::fs; }"),
        (rules::impurities, "controller/src/server.rs", "use tokio::net::TcpListener;"),
        (rules::unwraps, "ctl/src/x.rs", "#[cfg(test)] mod tests { fn f() { g().unwrap() } }"),
        (rules::unwraps, "ctl/tests/x.rs", "fn f() { g().unwrap() }"),
        (rules::unwraps, "ctl/src/x.rs", "fn f<'a>(c: char) -> bool { c == '\"' && g(b\"x\") }"),
        (rules::shells, "agent/src/x.rs", "const S: &str = \"never a shell string\";"),
        (rules::silencers, "ctl/src/x.rs", "#[expect(dead_code, reason = \"\")] fn allow() {}"),
    ];
    for (rule, path, text) in cases {
        assert_eq!(rule(&Repo::of(path, text)), Vec::<String>::new(), "{path}: {text:?}");
    }
}

#[test]
fn sources_are_told_apart_from_what_only_looks_like_code() {
    let text = "/* a /* b */ c */ let s = r#\"x \" y\"#; let c = '\\''; let l: &'a u8; \"q\\\"r\"";
    let source = Source::new("ctl/src/x.rs", text);
    let texts = source.code.iter().filter(|token| token.kind == Kind::Text);
    assert_eq!(texts.map(|token| token.text.as_str()).collect::<Vec<_>>(), ["x \" y", "qr"]);
    assert_eq!(source.comments.len(), 1);
    let words = source.code.iter().filter(|token| token.kind == Kind::Word);
    let words: Vec<_> = words.map(|token| token.text.as_str()).collect();
    assert_eq!(words, ["let", "s", "let", "c", "let", "l", "u8"]);
}

#[test]
fn a_module_declared_for_tests_is_a_test_wherever_it_lies() {
    let source = Source::new("agent/src/plan/mod.rs", "#[cfg(test)]\npub(crate) mod testing;\n");
    assert_eq!(source.test_modules, ["agent/src/plan/testing"]);
    assert!(source.code.iter().all(|token| token.test));
}
