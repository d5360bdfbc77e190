//! Drains, cordons, the freeze and exceptions to rules.

use std::collections::BTreeSet;

use trireme_proto::action::{Progress, ServiceState};
use trireme_proto::id::{OverrideId, Place};
use trireme_proto::plan::{Operation, Scope};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;

use super::{Log, WAVES};
use crate::state::command::{Body, Outcome};
use crate::state::ledger::{RULE_AT_LEAST, RULE_FREEZE, RULE_ONE_REGION, RULE_PRECEDENCE};
use crate::state::{testing, traffic, waves};

fn place(text: &str) -> Place {
    text.parse().unwrap()
}

impl Log {
    fn drain(&mut self, text: &str) -> Result<Outcome, Problem> {
        let evidence = self.evidence();
        self.apply(Body::Drain { place: place(text), reason: "disk".to_owned(), evidence })
    }

    fn give_back(&mut self, text: &str) -> Result<Outcome, Problem> {
        self.apply(Body::Return { place: place(text), reason: String::new() })
    }

    fn allow(&mut self, rules: &[&str], lasts: Span) -> Result<OverrideId, Problem> {
        let rules: BTreeSet<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
        let (service, reason) = (Some("web".parse().unwrap()), "night".to_owned());
        match self.apply(Body::Override { rules, service, lasts, reason })? {
            Outcome::Overridden(id) => Ok(id),
            other => panic!("{other:?}"),
        }
    }

    fn answer(&self) -> Vec<String> {
        let web = &self.fleet.services[&"web".parse().unwrap()].manifest;
        traffic::targets(&self.fleet, web).iter().map(ToString::to_string).collect()
    }
}

#[test]
fn a_drained_region_is_out_of_traffic_and_counts_as_down_until_it_is_returned() {
    let mut log = Log::serving();
    log.drain("region/aws").unwrap();
    assert_eq!(log.answer(), ["aliyun-1", "aliyun-2", "gcp-1", "gcp-2"]);
    // Nothing else may be taken from the service meanwhile.
    let refused = log.drain("region/gcp").unwrap_err();
    assert_eq!(refused.rule.as_deref(), Some(RULE_ONE_REGION));
    log.give_back("region/aws").unwrap();
    assert_eq!(log.answer().len(), 6);
    assert!(log.fleet.grants.values().all(|grant| !grant.is_held()));
    log.drain("region/gcp").unwrap();
}

#[test]
fn a_drain_is_refused_where_too_few_regions_would_serve() {
    let mut log = Log::serving();
    for name in WAVES[1] {
        let record = log.fleet.nodes.get_mut(&name.parse().unwrap()).unwrap();
        record.observed.values_mut().for_each(|seen| seen.state = ServiceState::NotServing);
    }
    let refused = log.drain("region/aws").unwrap_err();
    assert_eq!((refused.code, refused.rule.as_deref()), (Code::Refused, Some(RULE_AT_LEAST)));
    assert_eq!(log.answer(), ["aws-1", "aws-2", "gcp-1", "gcp-2"], "nothing was drained");
    // One node of two leaves its region serving.
    log.drain("node/aws-1").unwrap();
}

#[test]
fn a_node_within_a_drained_region_stays_away_until_the_region_comes_back() {
    let mut log = Log::serving();
    log.drain("node/aws-1").unwrap();
    log.drain("region/aws").unwrap();
    log.give_back("node/aws-1").unwrap();
    assert_eq!(log.answer(), ["aliyun-1", "aliyun-2", "gcp-1", "gcp-2"]);
    let refused = log.give_back("node/aws-1").unwrap_err();
    assert_eq!(refused.message, "node/aws-1 is drained as part of region/aws");
    log.give_back("region/aws").unwrap();
    assert_eq!(log.answer().len(), 6);
}

#[test]
fn an_upgrade_that_was_under_way_does_not_send_clients_to_a_drained_node() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    log.switch(id, 0, WAVES[0]);
    log.drain("node/aws-1").unwrap();
    log.report("aws-1", Progress::Done);
    log.report("aws-2", Progress::Done);
    assert!(log.answer().contains(&"aws-2".to_owned()));
    assert!(!log.answer().contains(&"aws-1".to_owned()));
}

/// Found by simulation: the end of a drain opened a node that an upgrade was about to switch.
#[test]
fn a_return_leaves_alone_what_an_upgrade_has_led_clients_away_from() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    log.drain("node/aws-1").unwrap();
    log.stage(id, 0, WAVES[0]);
    let evidence = log.evidence();
    let refused = log.apply(Body::Grant { upgrade: id, wave: 0, evidence }).unwrap_err();
    assert_eq!(refused.rule.as_deref(), Some(RULE_PRECEDENCE));
    log.give_back("node/aws-1").unwrap();
    let evidence = log.evidence();
    log.apply(Body::Grant { upgrade: id, wave: 0, evidence }).unwrap();
    log.drain("region/aws").unwrap();
    log.give_back("region/aws").unwrap();
    assert_eq!(log.answer(), ["aliyun-1", "aliyun-2", "gcp-1", "gcp-2"]);
    log.apply(Body::Settle { upgrade: id, wave: 0, silent: Vec::new() }).unwrap();
    log.apply(Body::Switch { upgrade: id, wave: 0 }).unwrap();
    for name in WAVES[0] {
        log.report(name, Progress::Done);
    }
    assert_eq!(log.answer().len(), 6);
}

/// Found by simulation: what was done to a drained node kept its grant after the node's return.
#[test]
fn work_on_a_drained_node_gives_its_grant_back_when_it_is_confirmed() {
    let mut log = Log::serving();
    log.drain("region/aws").unwrap();
    let service = "web".parse().unwrap();
    let scope =
        Scope { nodes: WAVES[0].map(|name| name.parse().unwrap()).into(), ..Scope::default() };
    let (reason, evidence) = ("leak".to_owned(), log.evidence());
    let operation = Operation::Restart;
    let body = Body::Operate { service, operation, scope, reason, evidence };
    let Outcome::Upgrade(id) = log.apply(body).unwrap() else { panic!() };
    let grant = log.wave(id, 0, WAVES[0]);
    assert!(!log.fleet.grants[&grant].is_held());
    assert_eq!(log.answer(), ["aliyun-1", "aliyun-2", "gcp-1", "gcp-2"], "it is drained still");
    log.give_back("region/aws").unwrap();
    assert!(log.fleet.grants.values().all(|grant| !grant.is_held()));
    assert_eq!(log.answer().len(), 6);
}

#[test]
fn work_passes_drained_and_cordoned_nodes_by_unless_they_are_named() {
    let mut log = Log::serving();
    log.drain("node/aws-1").unwrap();
    let reason = "memory errors".to_owned();
    log.apply(Body::Cordon { node: "gcp-2".parse().unwrap(), reason }).unwrap();
    assert_eq!(log.answer().len(), 5, "a cordoned node goes on serving");
    let (web, version) = ("web".parse().unwrap(), "1.1.0".parse().unwrap());
    let plan = waves::plan(&log.fleet, &web, &version).unwrap();
    let aside: Vec<(String, &str)> =
        plan.aside.iter().map(|(node, why)| (node.to_string(), why.as_str())).collect();
    let expected = [
        ("aws-1".to_owned(), "node/aws-1 was drained by user/ann"),
        ("gcp-2".to_owned(), "cordoned by user/ann"),
    ];
    assert_eq!(aside, expected);
    let touched: Vec<&str> =
        plan.waves.iter().flat_map(|w| &w.nodes).map(trireme_proto::id::NodeId::as_str).collect();
    assert_eq!(touched, ["aws-2", "aliyun-1", "aliyun-2", "gcp-1"]);
    log.give_back("node/gcp-2").unwrap();
    assert!(log.fleet.cordons.is_empty());
}

#[test]
fn what_is_neither_drained_nor_there_cannot_be_returned() {
    let mut log = Log::serving();
    let refused = log.give_back("node/aws-1").unwrap_err();
    assert_eq!(refused.message, "node/aws-1 is neither drained nor cordoned");
    assert_eq!(log.give_back("region/mars").unwrap_err().message, "there is no region/mars");
    assert_eq!(log.drain("node/aws-9").unwrap_err().message, "there is no node/aws-9");
    log.drain("node/aws-1").unwrap();
    let twice = log.drain("node/aws-1").unwrap_err();
    assert_eq!(twice.message, "node/aws-1 was drained by user/ann: disk");
}

/// The grant of a drain is ended by its return; a word against it ends the drain as well.
#[test]
fn releasing_the_grant_of_a_drain_ends_the_drain() {
    let mut log = Log::serving();
    let Outcome::Granted(grant) = log.drain("region/aws").unwrap() else { panic!() };
    log.apply(Body::ReleaseGrant { grant, reason: "wrong one".to_owned() }).unwrap();
    assert!(log.fleet.drains.is_empty());
    assert_eq!(log.answer().len(), 6);
}

/// I12: under a freeze nothing new is taken, and what was begun goes on.
#[test]
fn a_freeze_stops_new_work_and_lets_begun_work_end() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    log.switch(id, 0, WAVES[0]);
    log.apply(Body::Freeze { reason: "incident".to_owned() }).unwrap();
    let twice = log.apply(Body::Freeze { reason: "again".to_owned() }).unwrap_err();
    assert_eq!(twice.code, Code::Conflict);
    for name in WAVES[0] {
        log.report(name, Progress::Done);
    }
    log.at = log.at.after(Span::secs(2));
    log.apply(Body::Confirm { upgrade: id, wave: 0 }).unwrap();
    for name in WAVES[0] {
        log.report(name, Progress::Done);
    }
    log.stage(id, 1, WAVES[1]);
    let evidence = log.evidence();
    let refused = log.apply(Body::Grant { upgrade: id, wave: 1, evidence }).unwrap_err();
    assert_eq!(refused.rule.as_deref(), Some(RULE_FREEZE));
    assert_eq!(log.drain("node/gcp-1").unwrap_err().rule.as_deref(), Some(RULE_FREEZE));
    log.apply(Body::Thaw { reason: "over".to_owned() }).unwrap();
    let evidence = log.evidence();
    log.apply(Body::Grant { upgrade: id, wave: 1, evidence }).unwrap();
    assert_eq!(log.apply(Body::Thaw { reason: String::new() }).unwrap_err().code, Code::Conflict);
}

#[test]
fn a_rollback_goes_on_during_a_freeze() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    for (wave, nodes) in WAVES.into_iter().enumerate() {
        log.wave(id, wave, nodes);
    }
    log.apply(Body::Freeze { reason: "incident".to_owned() }).unwrap();
    log.apply(Body::RollbackUpgrade { upgrade: id, reason: String::new() }).unwrap();
    let nodes = vec!["gcp-1".parse().unwrap(), "gcp-2".parse().unwrap()];
    let evidence = log.evidence();
    log.apply(Body::TakeBack { upgrade: id, wave: 2, nodes, evidence }).unwrap();
}

#[test]
fn an_override_sets_exactly_the_named_rule_aside_for_its_service_and_time() {
    let mut log = Log::serving();
    log.drain("region/aws").unwrap();
    let id = log.allow(&[RULE_ONE_REGION], Span::secs(600)).unwrap();
    let other = log.drain("region/gcp").unwrap_err();
    assert_eq!(other.rule.as_deref(), Some(RULE_AT_LEAST), "the next rule still holds");
    // One node leaves the region serving: only the rule that was set aside stood against it.
    let Outcome::Granted(grant) = log.drain("node/gcp-1").unwrap() else { panic!() };
    assert_eq!(log.fleet.grants[&grant].overrides, BTreeSet::from([id]));
    log.give_back("node/gcp-1").unwrap();
    log.at = log.at.after(Span::secs(600));
    let refused = log.drain("node/gcp-1").unwrap_err();
    assert_eq!(refused.rule.as_deref(), Some(RULE_ONE_REGION), "its time is up");
}

#[test]
fn an_override_can_be_ended_and_must_name_rules_that_exist() {
    let mut log = Log::serving();
    let id = log.allow(&[RULE_FREEZE], Span::secs(600)).unwrap();
    log.apply(Body::EndOverride { id, reason: String::new() }).unwrap();
    let gone = log.apply(Body::EndOverride { id, reason: String::new() }).unwrap_err();
    assert_eq!(gone.code, Code::NotFound);
    assert_eq!(log.allow(&["all"], Span::secs(600)).unwrap_err().message, "there is no rule all");
    assert_eq!(log.allow(&[], Span::secs(600)).unwrap_err().code, Code::Usage);
    assert_eq!(log.allow(&[RULE_FREEZE], Span::secs(1)).unwrap_err().code, Code::Usage);
}

/// Manual work goes before upgrades, on the services that it touches.
#[test]
fn what_an_operator_holds_stops_upgrades_of_the_same_service() {
    let mut log = Log::serving();
    log.drain("node/aws-1").unwrap();
    let refused = log.start().unwrap_err();
    assert_eq!(refused.rule.as_deref(), Some(RULE_PRECEDENCE));
    // Another service's upgrades are none of its business.
    let mut fleet = log.fleet.clone();
    let mut api = testing::web();
    api.name = "api".parse().unwrap();
    let record = crate::state::fleet::ServiceRecord { manifest: api, revision: 1 };
    fleet.services.insert("api".parse().unwrap(), record);
    let takes = BTreeSet::from([("gcp-1".parse().unwrap(), "api".parse().unwrap())]);
    let ask = crate::state::ledger::Ask::new(crate::state::fleet::Class::Upgrade, &takes);
    let judged = crate::state::ledger::judge(&fleet, &testing::evidence(&fleet), ask);
    assert_ne!(judged.err().and_then(|problem| problem.rule).as_deref(), Some(RULE_PRECEDENCE));
}
