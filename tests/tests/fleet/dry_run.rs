//! Every change of `trictl` on a running fleet, twice: as a dry run, which leaves no trace and is
//! refused exactly as the change itself is, and then in earnest.
//!
//! The commands are those of the tree that take `--dry-run` and ask a controller; one that this
//! test does not try fails it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use trireme_proto::view::UpgradePhase;

use super::rig::{Rig, Run, bounded_by, until};
use super::web::{self, Spec, WEB};

/// Some fifty changes, each tried twice and looked up in the audit twice.
const TEST_MAX: Duration = Duration::from_mins(3);
/// Commands whose dry run concerns files of one's own; `ctl/tests/cli/tree.rs` tries those.
const LOCAL: [&str; 2] = ["ca", "context"];

/// Tries changes and remembers which.
struct Trial<'r> {
    rig: &'r Rig,
    tried: BTreeSet<String>,
    accepted: BTreeSet<String>,
}

impl Trial<'_> {
    /// Returns how many changes of people were committed; refusals are recorded besides.
    async fn changes(&self) -> usize {
        let audit = self.rig.trictl(&["audit", "list", "--limit", "1000"]).await.exits(0).json();
        let by_people = |record: &&Value| {
            let actor = record["actor"].as_str().unwrap_or_default();
            actor.starts_with("user/") && record["result"] == "done"
        };
        audit["items"].as_array().unwrap().iter().filter(by_people).count()
    }

    /// Asks for a change as a dry run and in earnest; returns the latter.
    async fn twice(&mut self, leaf: &str, rest: &[&str]) -> Run {
        let words: Vec<&str> = leaf.split(' ').chain(rest.iter().copied()).collect();
        // What stands behind -- is another program's.
        let end = words.iter().position(|word| *word == "--").unwrap_or(words.len());
        let before = self.changes().await;
        let dry = [&words[..end], &["--dry-run"], &words[end..]].concat();
        let dry = self.rig.trictl(&dry).await;
        assert_eq!(self.changes().await, before, "{words:?} --dry-run has changed something");
        let real = self.rig.trictl(&words).await;
        assert_eq!(dry.code, real.code, "{words:?}: {dry:#?} but {real:#?}");
        if real.code == Some(0) {
            assert!(self.changes().await > before, "{words:?} is not in the audit");
            self.accepted.insert(leaf.to_owned());
        } else {
            let (dry, real) = (dry.problem(), real.problem());
            assert_eq!((&dry["code"], &dry["rule"]), (&real["code"], &real["rule"]), "{words:?}");
        }
        self.tried.insert(leaf.to_owned());
        real
    }

    async fn manifests(&mut self) {
        let rule = self.rig.file(
            "rule.yaml",
            "kind: AlertRule\nname: silent\nowner: ops\nreview: 2031-01-01\nseverity: P1\n\
             when: {state: node-silent}\nrunbook: https://wiki.example.com/silent\n",
        );
        self.twice("apply", &["-f", rule.to_str().unwrap()]).await.exits(0);
        self.twice("delete", &["alertrule", "silent"]).await.exits(0);
        self.twice("delete", &["alertrule", "silent"]).await.exits(9);
        self.twice("note", &["service/web", "looked after"]).await.exits(0);
    }

    async fn alerts(&mut self) {
        self.twice("alert ack", &["incident-99"]).await.exits(9);
        self.twice("alert test", &["nowhere"]).await.exits(9);
        let silence = ["--label", "region=aws", "--for", "1h", "--reason", "work"];
        let silence = self.twice("alert silence", &silence).await.exits(0).json();
        self.twice("alert unsilence", &[silence["id"].as_str().unwrap()]).await.exits(0);
    }

    async fn checklists(&mut self) {
        let daily = self.rig.file(
            "daily.yaml",
            "kind: Checklist\nname: daily\nowner: oncall\nitems:\n\
             - {name: services, title: Serves, by: {serving: {services: [web]}}}\n\
             - {name: dashboard, title: Looked at, by: {ask: {note: true}}}\n",
        );
        self.rig.apply(&daily).await.exits(0);
        self.twice("checklist run", &["daily"]).await.exits(0);
        let slow = ["daily", "dashboard", "--failed", "--note", "slow"];
        self.twice("checklist answer", &slow).await.exits(0);
        self.twice("checklist review", &["daily", "dashboard", "--note", "seen"]).await;
        self.twice("checklist close", &["daily", "--note", "restarted"]).await.exits(0);
        self.twice("checklist close", &["weekly", "--note", "none"]).await.exits(9);
    }

    async fn people(&mut self) {
        self.twice("user add", &["bob", "operator"]).await.exits(0);
        self.twice("user add", &["bob", "operator"]).await;
        self.twice("user grant", &["bob", "auditor"]).await.exits(0);
        self.twice("user revoke", &["bob", "auditor"]).await.exits(0);
        self.twice("user limit", &["bob", "--from", "127.0.0.0/8"]).await.exits(0);
        self.twice("user token", &["bob"]).await.exits(0);
        self.twice("user disable", &["bob", "--reason", "away"]).await.exits(0);
        self.twice("user enable", &["bob"]).await.exits(0);
        let remove = ["bob", "--reason", "left", "--confirm", "bob"];
        self.twice("user remove", &remove).await.exits(0);
        self.twice("user remove", &remove).await;
        let token = ["--node", "aws-9", "--region", "aws", "--address", "127.1.0.99"];
        self.twice("token create", &token).await.exits(0);
        self.twice("review users", &["--note", "as it should be"]).await.exits(0);
        self.twice("review audit", &["--note", "nothing odd"]).await.exits(0);
        self.twice("review break", &["break-99", "--note", "none"]).await.exits(9);
    }

    async fn places(&mut self) {
        let why = ["--reason", "work"];
        self.twice("region drain", &["aws", why[0], why[1]]).await.exits(0);
        self.twice("node drain", &["gcp-1", why[0], why[1]]).await.exits(10);
        self.twice("region return", &["aws"]).await.exits(0);
        self.twice("region return", &["aws"]).await.exits(9);
        self.rig.trictl(&["region", "drain", "aws", why[0], why[1]]).await.exits(0);
        let grant = self.rig.held_grants().await.unwrap().remove(0).id.to_string();
        self.twice("grants release", &[&grant, why[0], why[1]]).await.exits(0);
        self.twice("node drain", &["gcp-1", why[0], why[1]]).await.exits(0);
        self.twice("node return", &["gcp-1"]).await.exits(0);
        self.twice("node cordon", &["gcp-1", why[0], why[1]]).await.exits(0);
        self.twice("node return", &["gcp-1"]).await.exits(0);
        self.twice("freeze on", &why).await.exits(0);
        self.twice("node drain", &["gcp-1", why[0], why[1]]).await.exits(10);
        let over = ["--rule", "fleet.freeze", "--service", WEB, "--for", "1h", why[0], why[1]];
        let over = self.twice("override add", &over).await.exits(0).json();
        self.twice("override end", &[over["id"].as_str().unwrap()]).await.exits(0);
        self.twice("freeze off", &why).await.exits(0);
    }

    /// Who does not answer cannot come, and who answers needs no repair; those who can go, go.
    async fn controllers(&mut self, other: &str) {
        let (why, nowhere) = (["--reason", "work"], ["--peer", "127.0.0.1:9"]);
        let new = ["c-new", nowhere[0], nowhere[1], why[0], why[1]];
        self.twice("controller add", &new).await.exits(6);
        self.twice("controller replace", &[&[other][..], &new].concat()).await.exits(6);
        self.twice("controller repair", &[other, why[0], why[1]]).await.exits(10);
        let nobody = ["nobody", "--confirm", "nobody", why[0], why[1]];
        self.twice("controller remove", &nobody).await.exits(9);
    }

    /// Does it with a service, and waits for the end.
    async fn operate(&mut self, leaf: &str) {
        let run = self.twice(leaf, &[WEB, "--node", "aws-1"]).await.exits(0).json();
        self.rig.watch(run["id"].as_str().unwrap()).await.exits(0);
    }

    async fn upgrades(&mut self) {
        // Long enough to be steered.
        let slow = Spec { bake: "10s", ..Spec::default() };
        web::declare(self.rig, &slow, &["1.0.0", "1.1.0"]).await;
        let plan = self.rig.plan(WEB, "1.1.0").await;
        self.twice("approve", &[&plan]).await;
        let id = self.twice("upgrade start", &[&plan, "--yes"]).await.exits(0).json();
        let id = id["id"].as_str().unwrap().to_owned();
        self.twice("upgrade start", &[&plan, "--yes"]).await;
        self.twice("upgrade pause", &[&id]).await.exits(0);
        self.twice("upgrade resume", &[&id]).await.exits(0);
        self.twice("upgrade abort", &[&id]).await.exits(0);
        self.ended(&id).await;
        let id = self.rig.begin(WEB, "1.1.0").await;
        self.twice("upgrade rollback", &[&id]).await.exits(0);
        self.ended(&id).await;
        self.twice("upgrade rollback", &["upgrade-99"]).await.exits(9);
    }

    async fn ended(&self, id: &str) {
        until("the end of an upgrade", async || {
            let phase = self.rig.upgrade(id).await?.phase;
            (phase.is_final() && phase != UpgradePhase::RollbackFailed).then_some(())
        })
        .await;
    }
}

/// Returns the commands that take `--dry-run` and ask a controller.
fn expected() -> BTreeSet<String> {
    fn walk(command: &clap::Command, words: &str, found: &mut BTreeSet<String>) {
        if command.get_arguments().any(|arg| arg.get_long() == Some("dry-run")) {
            found.insert(words.to_owned());
        }
        for inner in command.get_subcommands() {
            walk(inner, format!("{words} {}", inner.get_name()).trim(), found);
        }
    }
    let mut found = BTreeSet::new();
    walk(&<trireme_ctl::cli::Cli as clap::CommandFactory>::command(), "", &mut found);
    found.retain(|leaf| !LOCAL.contains(&leaf.split(' ').next().unwrap()));
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_any_change_leaves_no_trace_and_is_refused_as_the_change_is() {
    bounded_by(TEST_MAX, async {
        let rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0"]).await;
        let mut trial = Trial { rig: &rig, tried: BTreeSet::new(), accepted: BTreeSet::new() };
        trial.manifests().await;
        trial.alerts().await;
        trial.checklists().await;
        trial.people().await;
        trial.places().await;
        let look = ["nothing", "--node", "aws-1", "--reason", "look", "--", "true"];
        for leaf in ["service exec", "service debug"] {
            trial.twice(leaf, &look).await.exits(9);
        }
        for leaf in ["service stop", "service start", "service restart", "service recreate"] {
            trial.operate(leaf).await;
        }
        trial.upgrades().await;
        let leader = rig.leader(None).await;
        let other = rig.fleet.controllers().iter().find(|one| one.name != leader).unwrap();
        let other = other.name.to_string();
        trial.twice("controller transfer", &["--to", &other]).await.exits(0);
        trial.twice("controller transfer", &["--to", "nobody"]).await;
        trial.controllers(&other).await;
        let remove = ["gcp-1", "--reason", "gone", "--confirm", "gcp-1"];
        trial.twice("node remove", &remove).await;
        assert_eq!(trial.tried, expected(), "what is tried and what there is");
        assert!(trial.accepted.len() >= 30, "too few were accepted: {:?}", trial.accepted);
    })
    .await;
}
