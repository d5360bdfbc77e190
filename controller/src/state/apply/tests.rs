//! Apply by value: one command at a time on a small fleet.

use std::collections::BTreeMap;

use trireme_proto::action::{Progress, Report, ServiceState, Step};
use trireme_proto::id::{GrantId, NodeId, UpgradeId};
use trireme_proto::model::Object;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::{FleetTime, Span, WallTime};
use trireme_proto::view::UpgradePhase;

mod approval;
mod aside;
mod checklist;
mod exec;
mod found;
mod note;
mod operate;
mod people;

use super::{Position, apply};
use crate::state::command::{Actor, Body, Command, Evidence, Outcome};
use crate::state::fleet::{Fleet, GrantState, Stage};
use crate::state::{testing, waves};

/// A fleet that commands are applied to, one after another.
struct Log {
    fleet: Fleet,
    at: FleetTime,
    seqs: BTreeMap<NodeId, u64>,
}

impl Log {
    fn serving() -> Self {
        let (fleet, _) = testing::serving_fleet();
        Self { fleet, at: FleetTime(1000), seqs: BTreeMap::new() }
    }

    fn evidence(&self) -> Evidence {
        testing::evidence(&self.fleet)
    }

    fn command(&self, body: Body) -> Command {
        let actor = Actor {
            subject: "user/ann".to_owned(),
            role: "admin".to_owned(),
            source: "127.0.0.1:1".to_owned(),
            request_id: "r".to_owned(),
        };
        Command { at: self.at, wall: WallTime(self.at.0), skew: Span(0), actor, origin: None, body }
    }

    fn apply(&mut self, body: Body) -> Result<Outcome, Problem> {
        let command = self.command(body);
        self.apply_command(&command)
    }

    fn apply_command(&mut self, command: &Command) -> Result<Outcome, Problem> {
        let place = Position { index: self.fleet.index + 1, term: 1 };
        let (reply, _) = apply(&mut self.fleet, place, command);
        match reply.outcome {
            Outcome::Refused(problem) => Err(problem),
            outcome => Ok(outcome),
        }
    }

    fn start(&mut self) -> Result<UpgradeId, Problem> {
        let (web, version) = ("web".parse().unwrap(), "1.1.0".parse().unwrap());
        let plan = waves::plan(&self.fleet, &web, &version)?.id();
        let evidence = self.evidence();
        match self.apply(Body::StartUpgrade { plan, evidence })? {
            Outcome::Upgrade(id) => Ok(id),
            other => panic!("{other:?}"),
        }
    }

    /// Lets a node say what became of its newest action.
    fn report(&mut self, node: &str, progress: Progress) {
        let node: NodeId = node.parse().unwrap();
        let seq = self.seqs.entry(node.clone()).or_default();
        *seq += 1;
        let action = self.fleet.nodes[&node].action.as_ref().unwrap().action.id;
        let reports = vec![Report { seq: *seq, action, progress }];
        self.apply(Body::Reports { node, incarnation: "disk".to_owned(), reports }).unwrap();
    }

    fn stage(&mut self, id: UpgradeId, wave: usize, nodes: [&str; 2]) {
        let names = nodes.iter().map(|node| node.parse().unwrap()).collect();
        self.apply(Body::Stage { upgrade: id, wave, nodes: names }).unwrap();
        for node in nodes {
            self.report(node, Progress::Done);
        }
    }

    /// Takes a wave up to its switch.
    fn switch(&mut self, id: UpgradeId, wave: usize, nodes: [&str; 2]) -> GrantId {
        self.stage(id, wave, nodes);
        let evidence = self.evidence();
        let granted = self.apply(Body::Grant { upgrade: id, wave, evidence }).unwrap();
        let Outcome::Granted(grant) = granted else { panic!("{granted:?}") };
        self.apply(Body::Settle { upgrade: id, wave, silent: Vec::new() }).unwrap();
        self.apply(Body::Switch { upgrade: id, wave }).unwrap();
        grant
    }

    fn wave(&mut self, id: UpgradeId, wave: usize, nodes: [&str; 2]) -> GrantId {
        let grant = self.switch(id, wave, nodes);
        for node in nodes {
            self.report(node, Progress::Done);
        }
        self.at = self.at.after(Span::secs(2));
        self.apply(Body::Confirm { upgrade: id, wave }).unwrap();
        for node in nodes {
            self.report(node, Progress::Done);
        }
        grant
    }

    fn node(&self, name: &str) -> &crate::state::fleet::Node {
        &self.fleet.nodes[&name.parse::<NodeId>().unwrap()]
    }

    fn version(&self, name: &str) -> String {
        self.node(name).installed[&"web".parse().unwrap()].release.version.to_string()
    }
}

const WAVES: [[&str; 2]; 3] = [["aws-1", "aws-2"], ["aliyun-1", "aliyun-2"], ["gcp-1", "gcp-2"]];

/// DVN-36, DVN-37.
#[test]
fn an_upgrade_takes_one_region_after_another_and_succeeds() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    for (wave, nodes) in WAVES.into_iter().enumerate() {
        let grant = log.wave(id, wave, nodes);
        assert!(matches!(log.fleet.grants[&grant].state, GrantState::Released { .. }));
        assert!(nodes.iter().all(|node| log.node(node).drained.is_empty()));
    }
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::Succeeded);
    assert!(log.fleet.releases.values().all(|v| v[&"1.1.0".parse().unwrap()].good));
}

/// DVN-40.
#[test]
fn nothing_is_granted_before_every_artifact_of_the_region_is_there() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    log.apply(Body::Stage { upgrade: id, wave: 0, nodes: vec!["aws-1".parse().unwrap()] }).unwrap();
    log.report("aws-1", Progress::Done);
    let evidence = log.evidence();
    let refused = log.apply(Body::Grant { upgrade: id, wave: 0, evidence }).unwrap_err();
    assert_eq!(refused.message, format!("wave 0 of {id} is not next"));
}

/// DVN-43, and the seeds' trap: their rollback restarted what the name meant by then.
#[test]
fn a_rollback_returns_to_what_was_recorded_and_not_to_a_name() {
    let mut log = Log::serving();
    let before = log.node("aws-1").installed[&"web".parse().unwrap()].clone();
    let id = log.start().unwrap();
    log.switch(id, 0, WAVES[0]);
    // Meanwhile the name 1.0.0 comes to mean something else, as a moved tag would.
    let versions = log.fleet.releases.get_mut(&"web".parse().unwrap()).unwrap();
    versions.get_mut(&"1.0.0".parse().unwrap()).unwrap().manifest.argv.push("--bad".to_owned());
    log.report("aws-1", Progress::Done);
    let reason = "check health: status 500".to_owned();
    log.report("aws-2", Progress::FailedUndone { step: Step::Gate, reason });
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::RollingBack);
    let evidence = log.evidence();
    let nodes = vec!["aws-1".parse().unwrap(), "aws-2".parse().unwrap()];
    log.apply(Body::TakeBack { upgrade: id, wave: 0, nodes: nodes.clone(), evidence }).unwrap();
    log.apply(Body::Settle { upgrade: id, wave: 0, silent: Vec::new() }).unwrap();
    log.apply(Body::Revert { upgrade: id, wave: 0, nodes }).unwrap();
    for node in WAVES[0] {
        let action = &log.node(node).action.as_ref().unwrap().action.kind;
        let trireme_proto::action::ActionKind::Revert { previous, .. } = action else {
            panic!("{action:?}")
        };
        assert_eq!(previous.as_ref(), Some(&before));
        log.report(node, Progress::Done);
    }
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::RolledBack);
    assert!(log.fleet.grants.values().all(|grant| !grant.is_held()));
    assert_eq!((log.version("aws-1"), log.version("gcp-1")), ("1.0.0".into(), "1.0.0".into()));
}

#[test]
fn a_second_upgrade_is_refused_with_the_holder_named() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    let refused = log.start().unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert_eq!(refused.message, format!("service web is being upgraded by {id}"));
    assert_eq!(refused.why, ["user/ann started it, to 1.1.0"]);
}

#[test]
fn a_plan_that_went_stale_is_refused() {
    let mut log = Log::serving();
    let (web, version) = ("web".parse().unwrap(), "1.1.0".parse().unwrap());
    let plan = waves::plan(&log.fleet, &web, &version).unwrap().id();
    log.fleet.services.get_mut(&web).unwrap().revision += 1;
    let evidence = log.evidence();
    let refused = log.apply(Body::StartUpgrade { plan, evidence }).unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.message.contains("is stale"), "{}", refused.message);
    assert!(log.fleet.upgrades.is_empty());
}

#[test]
fn an_upgrade_is_refused_while_another_region_is_down() {
    let mut log = Log::serving();
    for node in WAVES[2] {
        let node = log.fleet.nodes.get_mut(&node.parse::<NodeId>().unwrap()).unwrap();
        node.observed.values_mut().for_each(|seen| seen.state = ServiceState::NotServing);
    }
    let refused = log.start().unwrap_err();
    assert_eq!((refused.code, refused.rule.as_deref()), (Code::Refused, Some("serving.at_least")));
    assert!(refused.why[1].starts_with("region gcp would not"), "{:?}", refused.why);
}

#[test]
fn a_repeated_command_is_answered_and_not_applied_again() {
    let mut log = Log::serving();
    let plan = waves::plan(&log.fleet, &"web".parse().unwrap(), &"1.1.0".parse().unwrap());
    let evidence = log.evidence();
    let mut command = log.command(Body::StartUpgrade { plan: plan.unwrap().id(), evidence });
    command.origin = Some(("client".to_owned(), 7));
    let first = log.apply_command(&command).unwrap();
    let audited = log.fleet.audit.seq;
    assert_eq!(log.apply_command(&command).unwrap(), first);
    assert_eq!((log.fleet.upgrades.len(), log.fleet.audit.seq), (1, audited));
    command.origin = Some(("client".to_owned(), 6));
    assert_eq!(log.apply_command(&command).unwrap_err().code, Code::Conflict);
}

#[test]
fn a_repeated_or_older_report_changes_nothing() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    log.switch(id, 0, WAVES[0]);
    log.report("aws-1", Progress::Done);
    let before = log.fleet.upgrades.clone();
    let node: NodeId = "aws-1".parse().unwrap();
    let action = log.fleet.nodes[&node].action.as_ref().unwrap().action.id;
    let progress = Progress::FailedUndone { step: Step::Gate, reason: "late".to_owned() };
    let reports = vec![Report { seq: log.seqs[&node], action, progress }];
    log.apply(Body::Reports { node, incarnation: "disk".to_owned(), reports }).unwrap();
    assert_eq!(log.fleet.upgrades, before);
}

#[test]
fn reports_from_another_disk_are_refused() {
    let mut log = Log::serving();
    let body = Body::Reports {
        node: "aws-1".parse().unwrap(),
        incarnation: "another".to_owned(),
        reports: Vec::new(),
    };
    assert_eq!(log.apply(body).unwrap_err().code, Code::Denied);
}

/// DESIGN rule 8.
#[test]
fn a_forced_grant_fences_off_late_execution() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    let grant = log.switch(id, 0, WAVES[0]);
    let before = log.node("aws-1").generation;
    log.apply(Body::ReleaseGrant { grant, reason: "the node is gone".to_owned() }).unwrap();
    assert!(matches!(log.fleet.grants[&grant].state, GrantState::Forced { .. }));
    assert_eq!(log.node("aws-1").generation, before + 1);
    assert!(log.node("aws-1").action.is_none() && log.node("aws-1").drained.is_empty());
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::Aborted);
}

/// DESIGN rule 8.
#[test]
fn a_removed_node_is_denied_for_ever_and_leaves_its_grants() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    let grant = log.switch(id, 0, WAVES[0]);
    let node: NodeId = "aws-1".parse().unwrap();
    log.apply(Body::RemoveNode { node: node.clone(), reason: "burnt".to_owned() }).unwrap();
    assert!(log.fleet.denied.contains_key("agent/aws-1"));
    assert!(!log.fleet.grants[&grant].takes.iter().any(|(taken, _)| *taken == node));
    assert!(matches!(log.fleet.upgrades[&id].waves[0].nodes[&node], Stage::Skipped { .. }));
    let token = Body::CreateToken {
        id: "t".to_owned(),
        secret_hash: secret(),
        node,
        region: "aws".parse().unwrap(),
        address: "127.0.0.1".to_owned(),
        labels: BTreeMap::new(),
        expires_at: WallTime(u64::MAX),
    };
    let refused = log.apply(token).unwrap_err();
    assert_eq!(refused.message, "node aws-1 was removed, and its name is denied for ever");
}

fn secret() -> trireme_proto::token::SecretHash {
    let pin = trireme_proto::digest::Digest::of(b"root");
    trireme_proto::token::Token::generate([1; 8], [2; 16], pin).secret_hash()
}

#[test]
fn a_token_lets_one_disk_in_once() {
    let mut log = Log::serving();
    let token = |expires_at| Body::CreateToken {
        id: "t".to_owned(),
        secret_hash: secret(),
        node: "aws-9".parse().unwrap(),
        region: "aws".parse().unwrap(),
        address: "127.0.0.9".to_owned(),
        labels: BTreeMap::new(),
        expires_at,
    };
    let join = |disk: &str| Body::Join {
        token: "t".to_owned(),
        secret_hash: secret(),
        incarnation: disk.to_owned(),
    };
    assert_eq!(log.apply(join("a")).unwrap_err().message, "token t is not of this fleet");
    log.apply(token(WallTime(log.at.0))).unwrap();
    assert!(log.apply(join("a")).unwrap_err().message.contains("expired at"));
    log.apply(token(WallTime(log.at.0 + 1))).unwrap();
    log.apply(join("a")).unwrap();
    // The answer may have been lost: the same disk may ask again, another may not.
    log.apply(join("a")).unwrap();
    let refused = log.apply(join("b")).unwrap_err();
    assert_eq!(refused.message, "token t for node aws-9 was used already");
    assert_eq!(refused.code, Code::Denied);
}

/// DESIGN rule 4.
#[test]
fn safety_numbers_are_not_lowered_while_they_are_needed() {
    let mut log = Log::serving();
    let mut service = testing::web();
    service.serving.at_least = Some(1);
    let lower = |log: &Log, service: &trireme_proto::model::Service| Body::Apply {
        base_revision: 0,
        objects: vec![Object::Service(service.clone())],
        evidence: log.evidence(),
    };
    for nodes in [WAVES[1], WAVES[2]] {
        for node in nodes {
            let node = log.fleet.nodes.get_mut(&node.parse::<NodeId>().unwrap()).unwrap();
            node.observed.values_mut().for_each(|seen| seen.state = ServiceState::NotServing);
        }
    }
    let body = lower(&log, &service);
    let refused = log.apply(body).unwrap_err();
    assert_eq!(refused.rule.as_deref(), Some("serving.at_least"));
    let mut log = Log::serving();
    let body = lower(&log, &service);
    assert!(log.apply(body).is_ok());
}

#[test]
fn a_release_never_changes() {
    let mut log = Log::serving();
    let mut release = testing::release("1.0.0");
    release.argv.push("--other".to_owned());
    let body = Body::Apply {
        base_revision: 0,
        objects: vec![Object::Release(release)],
        evidence: Evidence::default(),
    };
    let refused = log.apply(body).unwrap_err();
    assert_eq!(refused.message, "release web@1.0.0 exists with other content");
}

/// DESIGN rule 15.
#[test]
fn a_leader_whose_clock_is_far_off_changes_nothing() {
    let mut log = Log::serving();
    let mut command =
        log.command(Body::PauseUpgrade { upgrade: UpgradeId(1), reason: String::new() });
    command.skew = Span(10_001);
    let refused = log.apply_command(&command).unwrap_err();
    assert_eq!(refused.rule.as_deref(), Some("clock.skew"));
    // The way out stays open.
    command.body = Body::TransferLeader { to: "c-aws".parse().unwrap() };
    let missing = log.apply_command(&command).unwrap_err();
    assert_eq!(missing.message, "there is no controller c-aws");
}

#[test]
fn pausing_freezes_the_deadline_and_resuming_arms_it_anew() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    let due = log.fleet.upgrades[&id].due;
    log.apply(Body::PauseUpgrade { upgrade: id, reason: "lunch".to_owned() }).unwrap();
    log.at = log.at.after(Span::secs(3600));
    log.apply(Body::ResumeUpgrade { upgrade: id }).unwrap();
    assert_eq!(log.fleet.upgrades[&id].due, due.after(Span::secs(3600)));
}

#[test]
fn aborting_before_anything_was_switched_gives_everything_back() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    log.stage(id, 0, WAVES[0]);
    let evidence = log.evidence();
    log.apply(Body::Grant { upgrade: id, wave: 0, evidence }).unwrap();
    assert!(!log.node("aws-1").drained.is_empty());
    log.apply(Body::AbortUpgrade { upgrade: id, reason: "not today".to_owned() }).unwrap();
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::Aborted);
    assert!(log.node("aws-1").drained.is_empty());
    assert!(log.fleet.grants.values().all(|grant| !grant.is_held()));
}

/// I13, DVN-46.
#[test]
fn every_command_leaves_one_chained_audit_entry_with_its_fields() {
    let mut log = Log::serving();
    let mut previous = log.fleet.audit.hash.clone();
    for number in 1..=3 {
        let command =
            log.command(Body::PauseUpgrade { upgrade: UpgradeId(9), reason: String::new() });
        let place = Position { index: log.fleet.index + 1, term: 1 };
        let (_, effects) = apply(&mut log.fleet, place, &command);
        let entry = effects.audit.unwrap();
        assert_eq!((entry.seq, &entry.previous), (number, &previous));
        assert_eq!(entry.hash, entry.computed_hash());
        assert_eq!((entry.actor.as_str(), entry.action.as_str()), ("user/ann", "upgrade.pause"));
        assert_eq!((entry.target.as_str(), entry.source.as_str()), ("upgrade-9", "127.0.0.1:1"));
        assert!(entry.result.starts_with("refused: there is no upgrade-9"));
        previous = entry.hash;
    }
}
