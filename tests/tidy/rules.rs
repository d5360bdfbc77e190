//! The rules, each a function from the repository to what breaks it, as `path:line: what`.

use std::collections::BTreeSet;

use crate::manifest::{dependencies, entries, locked};
use crate::repo::Repo;
use crate::source::{Kind, Source};

/// Directories of pure code: values in, values out, the same on every controller.
pub(crate) const PURE: [&str; 4] =
    ["controller/src/state/", "controller/src/plan/", "controller/src/view/", "agent/src/plan/"];

/// Words that pure code has no use for: waiting, clocks, chance, unordered maps.
const IMPURE: [&str; 10] = [
    "async",
    "await",
    "tokio",
    "tonic",
    "Instant",
    "SystemTime",
    "rand",
    "getrandom",
    "HashMap",
    "HashSet",
];

/// Modules of the standard library that touch the machine.
const MACHINE: [&str; 5] = ["fs", "net", "env", "process", "thread"];

/// Lines that a file may have.
const LINES_MAX: usize = 600;

/// Names under which shells are found.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ash", "ksh"];

/// Packages that must not come in by any way: TLS is rustls and its provider is ring.
const BANNED: [&str; 7] = [
    "aws-lc-rs",
    "aws-lc-sys",
    "aws-lc-fips-sys",
    "openssl",
    "openssl-sys",
    "native-tls",
    "boring",
];

/// Packages of which two versions would not understand each other.
const SINGLE: [&str; 8] =
    ["rustls", "ring", "tonic", "prost", "tokio", "hyper", "openraft", "redb"];

fn at(source: &Source, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", source.path)
}

/// Pure code that mentions what would make it depend on more than its arguments.
pub(crate) fn impurities(repo: &Repo) -> Vec<String> {
    let pure = |source: &&Source| PURE.iter().any(|dir| source.path.starts_with(dir));
    let mut found = Vec::new();
    for source in repo.sources.iter().filter(pure) {
        for (index, token) in source.code.iter().enumerate().filter(|(_, t)| !t.test) {
            if token.kind == Kind::Word && IMPURE.contains(&token.text.as_str()) {
                found.push(at(source, token.line, &token.text));
            }
            if source.reads(index, &["std", "::"]) {
                for module in modules_after(source, index + 2) {
                    found.push(at(source, token.line, &format!("std::{module}")));
                }
            }
        }
    }
    found
}

/// Returns the machine's modules named by `std::fs` or `std::{fs, net::IpAddr}`.
fn modules_after(source: &Source, index: usize) -> Vec<String> {
    let machine = |index: usize| {
        let token = source.code.get(index)?;
        MACHINE.contains(&token.text.as_str()).then(|| token.text.clone())
    };
    if !source.reads(index, &["{"]) {
        return machine(index).into_iter().collect();
    }
    let (mut depth, mut found) = (0_u32, Vec::new());
    for index in index..source.code.len() {
        match source.code[index].text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        let begins = depth == 1 && matches!(source.code[index].text.as_str(), "{" | ",");
        found.extend(machine(index + 1).filter(|_| begins));
    }
    found
}

/// Crates that name one they must not know.
pub(crate) fn entanglements(repo: &Repo) -> Vec<String> {
    let may = |member: &str| match member {
        "proto" => &[][..],
        "agent" | "controller" => &["trireme-proto", "trireme-telemetry"],
        "tests" => &[
            "trireme-proto",
            "trireme-telemetry",
            "trireme-controller",
            "trireme-agent",
            "trireme-ctl",
        ],
        _ => &["trireme-proto"],
    };
    let mut found = Vec::new();
    for (member, text) in &repo.members {
        let named = dependencies(text).into_iter().filter(|name| name.starts_with("trireme-"));
        for name in named.filter(|name| !may(member).contains(&name.as_str())) {
            found.push(format!("{member}/Cargo.toml: {name}"));
        }
    }
    found
}

/// Code outside the Raft module that names the Raft library.
pub(crate) fn raft_leaks(repo: &Repo) -> Vec<String> {
    let mut found = Vec::new();
    let outside = |source: &&Source| !source.path.starts_with("controller/src/raft/");
    for source in repo.sources.iter().filter(outside) {
        let named = |text: &str| text == "openraft" || text.starts_with("openraft_");
        for token in source.code.iter().filter(|t| t.kind == Kind::Word && named(&t.text)) {
            found.push(at(source, token.line, &token.text));
        }
    }
    for (member, text) in repo.members.iter().filter(|(member, _)| member != "controller") {
        let named = dependencies(text).into_iter().filter(|name| name.starts_with("openraft"));
        found.extend(named.map(|name| format!("{member}/Cargo.toml: {name}")));
    }
    found
}

/// Files that do not begin with what they are for.
pub(crate) fn undocumented(repo: &Repo) -> Vec<String> {
    let says = |text: &str| {
        let first = text.lines().next().unwrap_or_default();
        first.strip_prefix("//! ").is_some_and(|said| said.trim().len() > 10)
    };
    let silent = repo.sources.iter().filter(|source| !says(&source.text));
    silent.map(|source| at(source, 1, "no module documentation")).collect()
}

/// Files that are too long to be read at one sitting.
pub(crate) fn long_files(repo: &Repo) -> Vec<String> {
    let lines = |source: &Source| source.text.lines().count();
    let long = repo.sources.iter().filter(|source| lines(source) > LINES_MAX);
    long.map(|source| at(source, lines(source), "the last line")).collect()
}

/// Code that would panic on what it did not expect.
pub(crate) fn unwraps(repo: &Repo) -> Vec<String> {
    let mut found = Vec::new();
    for source in &repo.sources {
        for (index, token) in source.code.iter().enumerate().filter(|(_, t)| !t.test) {
            if source.reads(index, &[".", "unwrap", "("]) {
                found.push(at(source, token.line, ".unwrap()"));
            }
        }
    }
    found
}

/// Code, comments and tests that are not finished.
pub(crate) fn leftovers(repo: &Repo) -> Vec<String> {
    let notes = ["TODO", "FIXME", "XXX", "HACK"];
    let mut found = Vec::new();
    for source in &repo.sources {
        for comment in &source.comments {
            let words = comment.text.split(|c: char| !c.is_alphanumeric());
            found.extend(words.filter(|w| notes.contains(w)).map(|w| at(source, comment.line, w)));
        }
        for (index, token) in source.code.iter().enumerate() {
            let unfinished =
                ["todo", "unimplemented"].iter().any(|name| source.reads(index, &[name, "!"]));
            let skipped = source.reads(index, &["#", "[", "ignore"]);
            if unfinished || skipped {
                found.push(at(source, token.line, "left for later"));
            }
        }
    }
    found
}

/// Code outside tests that names a shell to run.
pub(crate) fn shells(repo: &Repo) -> Vec<String> {
    let shell = |text: &str| SHELLS.contains(&text.rsplit('/').next().unwrap_or_default());
    let mut found = Vec::new();
    for source in &repo.sources {
        let texts = source.code.iter().filter(|t| t.kind == Kind::Text && !t.test);
        found.extend(texts.filter(|t| shell(&t.text)).map(|t| at(source, t.line, &t.text)));
    }
    found
}

/// Attributes that silence a warning for ever; `expect` complains once it is not needed.
pub(crate) fn silencers(repo: &Repo) -> Vec<String> {
    // Generated code cannot say which lints it breaks.
    let ours = |source: &&Source| source.path != "proto/src/wire.rs";
    let mut found = Vec::new();
    for source in repo.sources.iter().filter(ours) {
        for (index, token) in source.code.iter().enumerate() {
            let plain = source.reads(index, &["#", "[", "allow", "("]);
            if plain || source.reads(index, &["#", "!", "[", "allow", "("]) {
                found.push(at(source, token.line, "allow"));
            }
        }
    }
    found
}

/// Words for which there is another one.
pub(crate) fn second_words(repo: &Repo) -> Vec<String> {
    let words = [concat!("roll", "out"), concat!("roll", "-out"), concat!("roll", "ing update")];
    let mut found = Vec::new();
    for (path, text) in &repo.texts {
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.to_lowercase();
            let used = words.iter().filter(|word| line.contains(*word));
            found.extend(used.map(|word| format!("{path}:{number}: {word}")));
        }
    }
    found
}

/// Crates without the lints that all share.
pub(crate) fn lax_crates(repo: &Repo) -> Vec<String> {
    let shares =
        |text: &str| entries(text).iter().any(|e| e.section == "lints" && e.key == "workspace");
    let lax = repo.members.iter().filter(|(_, text)| !shares(text));
    lax.map(|(member, _)| format!("{member}/Cargo.toml: no [lints] workspace = true")).collect()
}

/// Declared dependencies that no crate takes.
pub(crate) fn unused_dependencies(repo: &Repo) -> Vec<String> {
    let taken: BTreeSet<String> =
        repo.members.iter().flat_map(|(_, text)| dependencies(text)).collect();
    let unused = declared(repo).into_iter().filter(|name| !taken.contains(name));
    unused.map(|name| format!("Cargo.toml: {name} is taken by no crate")).collect()
}

/// Returns the dependencies that the workspace declares, our own crates left out.
fn declared(repo: &Repo) -> Vec<String> {
    let names = dependencies(&repo.manifest).into_iter();
    names.filter(|name| !name.starts_with("trireme-")).collect()
}

/// Dependencies about which ARCHITECTURE.md says nothing.
pub(crate) fn unexplained_dependencies(repo: &Repo) -> Vec<String> {
    let explained: BTreeSet<&str> = repo
        .architecture
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let silent = declared(repo).into_iter().filter(|name| !explained.contains(name.as_str()));
    silent.map(|name| format!("ARCHITECTURE.md: no row for `{name}`")).collect()
}

/// Locked packages that are banned, or there in two versions that must be one.
pub(crate) fn locked_wrongly(repo: &Repo) -> Vec<String> {
    let packages = locked(&repo.lock);
    let mut found = Vec::new();
    for (name, version) in packages.iter().filter(|(name, _)| BANNED.contains(&name.as_str())) {
        found.push(format!("Cargo.lock: {name} {version} is banned"));
    }
    for name in SINGLE {
        let versions: Vec<_> = packages.iter().filter(|(one, _)| one == name).collect();
        if versions.len() != 1 {
            found.push(format!("Cargo.lock: {} versions of {name}, not 1", versions.len()));
        }
    }
    for entry in entries(&repo.manifest).iter().filter(|e| e.key.starts_with("openraft")) {
        if !entry.value.contains("\"=") {
            found.push(format!("Cargo.toml: {} is not pinned with =", entry.key));
        }
    }
    found
}

/// Paths that the documents name and that are not there.
pub(crate) fn dead_paths(repo: &Repo) -> Vec<String> {
    let mut found = Vec::new();
    for (document, text) in [("README.md", &repo.readme), ("ARCHITECTURE.md", &repo.architecture)] {
        for (number, line) in (1..).zip(text.lines()) {
            for path in line.split('`').skip(1).step_by(2) {
                let ours = repo.members.iter().any(|(member, _)| {
                    path.strip_prefix(member.as_str()).is_some_and(|rest| rest.starts_with('/'))
                });
                let plain = !path.contains([' ', '*', '<', '{', ':']);
                if (ours || path.starts_with("deploy/")) && plain && !repo.has(path) {
                    found.push(format!("{document}:{number}: {path}"));
                }
            }
        }
    }
    found
}
