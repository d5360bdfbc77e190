//! What a shell offers when Tab is pressed: the tree of commands, and names that the fleet knows.
//!
//! The shell runs `trictl` with `TRICTL_COMPLETE` set and the words typed so far behind `--`; the
//! script that makes it do so is what `trictl completion SHELL` prints. Names are asked of any
//! controller, stale ones too, and whoever does not answer at once is not waited for: a person has
//! pressed a key.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use clap_complete::{ArgValueCandidates, CompletionCandidate, env::CompleteEnv};
use serde_json::Value;
use trireme_proto::time::Span;
use trireme_proto::view::List;
use trireme_proto::wire::{Consistency, ControllersRequest, GetRequest};

use crate::cli::{Cli, Global, tree};
use crate::client::{Client, Reply};
use crate::context::{self, Context};
use crate::lang::Lang;

/// Set by the shell, to its own name, when it wants to know what to offer.
pub(crate) const VARIABLE: &str = "TRICTL_COMPLETE";

/// Longest time that a pressed key may take.
const PATIENCE: Span = Span(300);

/// Where the values of an argument come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Names of objects of this kind.
    Names(&'static str),
    /// Names of objects of the kind that was typed before.
    NamesOfKind,
    /// Upgrades that have not ended, and services.
    Upgrades,
    /// Versions of the service that was typed before.
    Versions,
    /// `KIND/NAME` of all objects of these kinds.
    Objects(&'static [&'static str]),
    Controllers,
    Contexts,
}

/// Arguments whose values are offered: command, argument, source. Those whose values clap knows
/// need no line.
const OFFERED: &[(&str, &str, Source)] = &[
    ("", "context", Source::Contexts),
    ("get", "name", Source::NamesOfKind),
    ("describe", "name", Source::NamesOfKind),
    ("why", "object", Source::Objects(&["service", "node", "upgrade", "grant", "alert"])),
    ("delete", "name", Source::NamesOfKind),
    ("alert ack", "incident", Source::Names("alert")),
    ("alert unsilence", "silence", Source::Names("silence")),
    ("alert test", "channel", Source::Names("channel")),
    ("checklist show", "checklist", Source::Names("checklist")),
    ("checklist run", "checklist", Source::Names("checklist")),
    ("checklist answer", "checklist", Source::Names("checklist")),
    ("checklist review", "checklist", Source::Names("checklist")),
    ("checklist close", "checklist", Source::Names("checklist")),
    ("note", "object", Source::Objects(&["region", "service", "node", "upgrade"])),
    ("upgrade plan", "service", Source::Names("service")),
    ("upgrade plan", "to", Source::Versions),
    ("upgrade status", "upgrade", Source::Upgrades),
    ("upgrade watch", "upgrade", Source::Upgrades),
    ("upgrade pause", "upgrade", Source::Upgrades),
    ("upgrade resume", "upgrade", Source::Upgrades),
    ("upgrade abort", "upgrade", Source::Upgrades),
    ("upgrade rollback", "upgrade", Source::Upgrades),
    ("grants release", "grant", Source::Names("grant")),
    ("service status", "service", Source::Names("service")),
    ("service status", "region", Source::Names("region")),
    ("service status", "nodes", Source::Names("node")),
    ("service top", "service", Source::Names("service")),
    ("service top", "region", Source::Names("region")),
    ("service top", "nodes", Source::Names("node")),
    ("service exec", "service", Source::Names("service")),
    ("service exec", "node", Source::Names("node")),
    ("service debug", "service", Source::Names("service")),
    ("service debug", "node", Source::Names("node")),
    ("service logs", "services", Source::Names("service")),
    ("service logs", "nodes", Source::Names("node")),
    ("service logs", "region", Source::Names("region")),
    ("node remove", "node", Source::Names("node")),
    ("node drain", "node", Source::Names("node")),
    ("node cordon", "node", Source::Names("node")),
    ("node return", "node", Source::Names("node")),
    ("region drain", "region", Source::Names("region")),
    ("region return", "region", Source::Names("region")),
    ("service start", "service", Source::Names("service")),
    ("service start", "regions", Source::Names("region")),
    ("service start", "confirm", Source::Names("service")),
    ("service stop", "confirm", Source::Names("service")),
    ("service restart", "confirm", Source::Names("service")),
    ("service recreate", "confirm", Source::Names("service")),
    ("service start", "nodes", Source::Names("node")),
    ("service stop", "service", Source::Names("service")),
    ("service stop", "regions", Source::Names("region")),
    ("service stop", "nodes", Source::Names("node")),
    ("service restart", "service", Source::Names("service")),
    ("service restart", "regions", Source::Names("region")),
    ("service restart", "nodes", Source::Names("node")),
    ("service recreate", "service", Source::Names("service")),
    ("service recreate", "regions", Source::Names("region")),
    ("service recreate", "nodes", Source::Names("node")),
    ("override add", "service", Source::Names("service")),
    ("override end", "override", Source::Names("override")),
    ("node remove", "confirm", Source::Names("node")),
    ("token create", "region", Source::Names("region")),
    ("controller transfer", "to", Source::Controllers),
];

/// Answers the shell, if it is a shell that asks; returns whether it was.
pub(crate) fn answer(args: &[OsString], lang: Lang) -> clap::error::Result<bool> {
    let words: Vec<_> = args.iter().skip_while(|arg| *arg != "--").skip(1).cloned().collect();
    CompleteEnv::with_factory(move || offering(&words, lang))
        .var(VARIABLE)
        .bin("trictl")
        .try_complete(args, std::env::current_dir().ok().as_deref())
}

/// Returns the tree of commands, which knows where to look for what `words` may go on with.
fn offering(words: &[OsString], lang: Lang) -> Command {
    OFFERED.iter().fold(tree(lang), |tree, (command, argument, source)| {
        let (words, source) = (words.to_vec(), *source);
        let look = ArgValueCandidates::new(move || look(source, &words));
        let offer = |arg: Arg| if arg.get_id() == argument { arg.add(look.clone()) } else { arg };
        // All of them are visited, or this one would become the last on the line.
        with(tree, command, &mut |found| found.mut_args(offer))
    })
}

/// Changes the command at this place of the tree.
fn with(tree: Command, path: &str, change: &mut dyn FnMut(Command) -> Command) -> Command {
    match path.split_once(' ').unwrap_or((path, "")) {
        ("", _) => change(tree),
        (first, rest) => tree.mut_subcommand(first, |inner| with(inner, rest, change)),
    }
}

/// Returns what a source has; nothing where it cannot be asked.
fn look(source: Source, words: &[OsString]) -> Vec<CompletionCandidate> {
    let typed = Typed::read(words);
    let found = match source {
        Source::Contexts => context::names(&typed.global),
        _ => typed.ask(source),
    };
    found.unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

/// What the words typed so far say.
#[derive(Debug, Default)]
struct Typed {
    global: Global,
    kind: Option<String>,
    service: Option<String>,
}

impl Typed {
    /// Reads words of which the last may be half a word, or nothing yet.
    fn read(words: &[OsString]) -> Self {
        let matches = Cli::command().ignore_errors(true).try_get_matches_from(words);
        let Ok(matches) = matches else { return Self::default() };
        let mut leaf = &matches;
        while let Some((_, inner)) = leaf.subcommand() {
            leaf = inner;
        }
        let word = |id| raw(leaf, id).and_then(|value| value.to_str()).map(str::to_owned);
        let global = Global::from_arg_matches(leaf).unwrap_or_default();
        Self { global, kind: word("kind"), service: word("service") }
    }

    /// Asks a controller.
    fn ask(&self, source: Source) -> Option<Vec<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let asked = async {
            let client = Client::new(&Context::resolve(&self.global).ok()?, PATIENCE).ok()?;
            let limit: Duration = PATIENCE.to_duration();
            tokio::time::timeout(limit, self.names(&client, source)).await.ok()?
        };
        runtime.block_on(asked)
    }

    async fn names(&self, client: &Client, source: Source) -> Option<Vec<String>> {
        match source {
            Source::Names(kind) => Some(named(kind, &list(client, kind).await?)),
            Source::NamesOfKind => {
                let kind = self.kind.as_deref()?;
                let kind = kind.strip_suffix('s').unwrap_or(kind);
                Some(named(kind, &list(client, kind).await?))
            }
            Source::Upgrades => {
                let mut items = list(client, "upgrade").await?;
                items.retain(|item| item["ended"].is_null());
                let mut found = named("upgrade", &items);
                found.extend(named("service", &list(client, "service").await?));
                Some(found)
            }
            Source::Versions => {
                let mut items = list(client, "release").await?;
                items.retain(|item| item["service"].as_str() == self.service.as_deref());
                let versions = items.iter().filter_map(|item| item["version"].as_str());
                Some(versions.map(str::to_owned).collect())
            }
            Source::Objects(kinds) => {
                let mut found = Vec::new();
                for kind in kinds {
                    let names = named(kind, &list(client, kind).await?);
                    // An incident is called by its number alone.
                    let prefix = if *kind == "alert" { String::new() } else { format!("{kind}/") };
                    found.extend(names.into_iter().map(|name| format!("{prefix}{name}")));
                }
                Some(found)
            }
            Source::Controllers => {
                let consistency = Consistency::Stale.into();
                let reply = client.controllers(ControllersRequest { consistency }).await.ok()?;
                Some(reply.value.items.iter().map(|one| one.name.to_string()).collect())
            }
            Source::Contexts => None,
        }
    }
}

fn raw<'m>(matches: &'m ArgMatches, id: &str) -> Option<&'m OsStr> {
    matches.try_get_raw(id).ok()??.next()
}

/// Returns all objects of a kind, however old the answer.
async fn list(client: &Client, kind: &str) -> Option<Vec<Value>> {
    let (kind, consistency) = (kind.to_owned(), Consistency::Stale.into());
    let request = GetRequest { kind, name: String::new(), consistency };
    let reply: Reply<List<Value>> = client.get(request).await.ok()?;
    Some(reply.value.items)
}

/// Returns what `get KIND NAME` calls these objects.
fn named(kind: &str, items: &[Value]) -> Vec<String> {
    let field = match kind {
        "upgrade" | "grant" | "token" | "alert" | "silence" | "notice" => "id",
        "note" => "object",
        _ => "name",
    };
    let name = |item: &Value| match (kind, item["service"].as_str(), item["version"].as_str()) {
        ("release", Some(service), Some(version)) => Some(format!("{service}@{version}")),
        _ => item[field].as_str().map(str::to_owned),
    };
    items.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    fn offered(text: &str) -> Vec<String> {
        let mut args = words(text);
        let index = args.len() - 1;
        let mut tree = offering(&args, Lang::En);
        tree.build();
        let found =
            clap_complete::engine::complete(&mut tree, std::mem::take(&mut args), index, None);
        let found = found.unwrap();
        found.iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn every_argument_that_is_offered_something_exists() {
        for (command, argument, _) in OFFERED {
            let mut seen = false;
            drop(with(Cli::command(), command, &mut |found| {
                seen = found.get_arguments().any(|arg| arg.get_id() == argument);
                found
            }));
            assert!(seen, "trictl {command} has no argument {argument}");
        }
    }

    #[test]
    fn commands_kinds_and_options_are_offered_without_any_fleet() {
        let commands = offered("trictl up");
        assert_eq!(commands, ["upgrade"]);
        assert!(offered("trictl upgrade ").contains(&"rollback".to_owned()));
        assert_eq!(offered("trictl get re"), ["region", "release"]);
        assert!(offered("trictl get node --con").contains(&"--consistency".to_owned()));
        let names = offered("trictl --config /nonexistent get node ");
        assert!(names.iter().all(|name| name.starts_with("--")), "{names:?}");
    }

    #[test]
    fn what_was_typed_before_is_understood_in_a_line_that_is_not_finished() {
        let typed = Typed::read(&words("trictl --context prod get nodes "));
        assert_eq!(
            (typed.kind.as_deref(), typed.global.context.as_deref()),
            (Some("nodes"), Some("prod"))
        );
        let typed = Typed::read(&words("trictl upgrade plan web --controller c1:1 --to "));
        assert_eq!(typed.service.as_deref(), Some("web"));
        assert_eq!(typed.global.controllers, ["c1:1"]);
        assert_eq!(Typed::read(&words("trictl nonsense ")).kind, None);
    }

    #[test]
    fn objects_are_called_what_the_other_commands_call_them() {
        let release = json!([{"service": "web", "version": "1.0.0"}]);
        assert_eq!(named("release", release.as_array().unwrap()), ["web@1.0.0"]);
        let others = json!([{"name": "a", "id": "b", "object": "c", "service": "d"}]);
        let called = |kind| named(kind, others.as_array().unwrap());
        assert_eq!([called("node"), called("grant"), called("note")], [["a"], ["b"], ["c"]]);
    }
}
