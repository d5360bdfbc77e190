//! Restarts, stops and starts: upgrades that change no release.

use trireme_proto::action::{ActionKind, Progress, ServiceState, Step};
use trireme_proto::id::UpgradeId;
use trireme_proto::plan::{Operation, Scope};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::UpgradePhase;

use super::{Log, WAVES};
use crate::state::command::{Body, Outcome};
use crate::state::fleet::{Class, Stage};
use crate::state::ledger::{RULE_AT_LEAST, RULE_ONE_REGION};
use crate::state::testing;

fn region(name: &str) -> Scope {
    Scope { regions: [name.parse().unwrap()].into(), ..Scope::default() }
}

fn node(name: &str) -> Scope {
    Scope { nodes: [name.parse().unwrap()].into(), ..Scope::default() }
}

impl Log {
    fn operate(&mut self, operation: Operation, scope: Scope) -> Result<UpgradeId, Problem> {
        let service = "web".parse().unwrap();
        let (reason, evidence) = ("because".to_owned(), self.evidence());
        match self.apply(Body::Operate { service, operation, scope, reason, evidence })? {
            Outcome::Upgrade(id) => Ok(id),
            other => panic!("{other:?}"),
        }
    }

    /// Lets nodes say how the service stands there.
    fn seen(&mut self, nodes: [&str; 2], state: ServiceState) {
        for name in nodes {
            let record = self.fleet.nodes.get_mut(&name.parse().unwrap()).unwrap();
            for seen in record.observed.values_mut() {
                seen.state = state;
            }
        }
    }

    fn stop(&mut self) -> UpgradeId {
        let id = self.operate(Operation::Stop, region("aws")).unwrap();
        self.switch(id, 0, WAVES[0]);
        for name in WAVES[0] {
            let action = &self.node(name).action.as_ref().unwrap().action.kind;
            assert!(matches!(action, ActionKind::Halt(_)), "{action:?}");
            self.report(name, Progress::Done);
        }
        self.seen(WAVES[0], ServiceState::NotServing);
        id
    }
}

/// DVN-04, TSP-08: a restart goes region by region under the ledger, and changes no release.
#[test]
fn a_restart_takes_one_region_after_another_and_keeps_the_release() {
    let mut log = Log::serving();
    let id = log.operate(Operation::Restart, Scope::default()).unwrap();
    for (wave, nodes) in WAVES.into_iter().enumerate() {
        let grant = log.wave(id, wave, nodes);
        assert_eq!(log.fleet.grants[&grant].class, Class::Manual);
        assert!(!log.fleet.grants[&grant].is_held());
    }
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::Succeeded);
    assert_eq!(log.version("aws-1"), "1.0.0");
    assert!(!log.fleet.releases[&"web".parse().unwrap()][&"1.1.0".parse().unwrap()].good);
}

/// TSP-08: one node is restarted under the same rule as a region.
#[test]
fn a_restart_of_one_node_is_refused_where_its_region_is_needed() {
    let mut log = Log::serving();
    log.seen(WAVES[1], ServiceState::NotServing);
    // One of two nodes leaves the region serving.
    log.operate(Operation::Restart, node("aws-1")).unwrap();
    let mut log = Log::serving();
    log.seen(WAVES[1], ServiceState::NotServing);
    log.seen(["aws-2", "aws-2"], ServiceState::NotServing);
    let refused = log.operate(Operation::Restart, node("aws-1")).unwrap_err();
    assert_eq!(refused.rule.as_deref(), Some(RULE_AT_LEAST));
}

#[test]
fn a_restart_that_fails_puts_back_what_ran() {
    let mut log = Log::serving();
    let id = log.operate(Operation::Restart, region("aws")).unwrap();
    log.switch(id, 0, WAVES[0]);
    log.report("aws-1", Progress::Done);
    let reason = "check health: status 500".to_owned();
    log.report("aws-2", Progress::FailedUndone { step: Step::Gate, reason });
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::RollingBack);
}

/// DVN-04: what is stopped stays down, counts as down, and is given back by a proven start.
#[test]
fn a_stop_holds_its_grant_until_a_start_is_confirmed() {
    let mut log = Log::serving();
    let id = log.stop();
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::Succeeded);
    let held: Vec<_> = log.fleet.grants.values().filter(|grant| grant.is_held()).collect();
    assert_eq!(held.len(), 1);
    assert!(log.node("aws-1").stopped.contains(&"web".parse().unwrap()));
    // The next region would be the second.
    let refused = log.operate(Operation::Restart, region("gcp")).unwrap_err();
    assert_eq!(refused.rule.as_deref(), Some(RULE_ONE_REGION));

    let start = log.operate(Operation::Start, Scope::default()).unwrap();
    let skipped = log.fleet.upgrades[&start].waves[1].nodes.values();
    assert!(skipped.clone().all(|stage| matches!(stage, Stage::Skipped { .. })), "{skipped:?}");
    log.wave(start, 0, WAVES[0]);
    assert_eq!(log.fleet.upgrades[&start].phase, UpgradePhase::Succeeded);
    assert!(log.fleet.grants.values().all(|grant| !grant.is_held()));
    assert!(log.node("aws-1").stopped.is_empty() && log.node("aws-1").drained.is_empty());
}

#[test]
fn a_stop_of_more_than_may_be_missing_is_refused_at_once() {
    let mut log = Log::serving();
    let refused = log.operate(Operation::Stop, Scope::default()).unwrap_err();
    assert_eq!(refused.rule.as_deref(), Some(RULE_AT_LEAST));
    assert!(log.fleet.upgrades.is_empty());
}

#[test]
fn an_upgrade_passes_stopped_nodes_by() {
    let mut log = Log::serving();
    log.stop();
    let plan =
        crate::state::waves::plan(&log.fleet, &"web".parse().unwrap(), &"1.1.0".parse().unwrap());
    let plan = plan.unwrap();
    assert_eq!(plan.aside.len(), 2);
    let first = &plan.waves[0];
    assert_eq!((first.region.as_str(), plan.waves.len()), ("aliyun", 2));
}

#[test]
fn two_things_are_not_done_to_a_service_at_once() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    let refused = log.operate(Operation::Restart, region("aws")).unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert_eq!(refused.message, format!("service web is being upgraded by {id}"));
    assert_eq!(refused.why, ["user/ann started it, to 1.1.0"]);
}

#[test]
fn a_restart_of_what_never_ran_does_nothing_and_ends() {
    let mut log = Log::serving();
    log.fleet = testing::empty_fleet();
    let id = log.operate(Operation::Restart, Scope::default()).unwrap();
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::Succeeded);
}

#[test]
fn unknown_places_are_named() {
    let mut log = Log::serving();
    let of_node = log.operate(Operation::Restart, node("aws-9")).unwrap_err();
    assert_eq!(of_node.message, "service web has no place on node aws-9");
    let of_region = log.operate(Operation::Restart, region("mars")).unwrap_err();
    assert_eq!(of_region.message, "there is no region mars");
}

/// A restart changes no release: what an earlier upgrade recorded is still what to return to.
#[test]
fn an_upgrade_can_be_rolled_back_after_a_restart() {
    let mut log = Log::serving();
    let upgrade = log.start().unwrap();
    for (wave, nodes) in WAVES.into_iter().enumerate() {
        log.wave(upgrade, wave, nodes);
    }
    log.fleet.nodes.values_mut().for_each(|node| {
        let spec = node.installed.values().next().cloned();
        let web = "web".parse().unwrap();
        node.observed.insert(web, testing::observed(ServiceState::Serving, spec.as_ref()));
    });
    let restart = log.operate(Operation::Restart, node("gcp-1")).unwrap();
    let early = log.apply(Body::RollbackUpgrade { upgrade, reason: String::new() }).unwrap_err();
    assert_eq!(early.message, format!("service web is being restarted by {restart}"));
    log.apply(Body::AbortUpgrade { upgrade: restart, reason: String::new() }).unwrap();
    log.apply(Body::RollbackUpgrade { upgrade, reason: String::new() }).unwrap();
    assert_eq!(log.fleet.upgrades[&upgrade].phase, UpgradePhase::RollingBack);
}

/// A start that does not come up leaves the node as it was: stopped, and counted as down.
#[test]
fn a_start_that_fails_leaves_the_node_stopped() {
    let mut log = Log::serving();
    log.stop();
    let id = log.operate(Operation::Start, region("aws")).unwrap();
    log.switch(id, 0, WAVES[0]);
    for name in WAVES[0] {
        let action = &log.node(name).action.as_ref().unwrap().action.kind;
        assert!(matches!(action, ActionKind::Switch(switch) if switch.stopped), "{action:?}");
    }
    log.report("aws-1", Progress::Done);
    let reason = "check health: status 500".to_owned();
    log.report("aws-2", Progress::FailedUndone { step: Step::Gate, reason });
    let nodes: Vec<_> = WAVES[0].iter().map(|name| name.parse().unwrap()).collect();
    let evidence = log.evidence();
    log.apply(Body::TakeBack { upgrade: id, wave: 0, nodes: nodes.clone(), evidence }).unwrap();
    log.apply(Body::Settle { upgrade: id, wave: 0, silent: Vec::new() }).unwrap();
    log.apply(Body::Revert { upgrade: id, wave: 0, nodes }).unwrap();
    for name in WAVES[0] {
        log.report(name, Progress::Done);
        assert!(log.node(name).stopped.contains(&"web".parse().unwrap()));
    }
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::RolledBack);
    let held: Vec<_> = log.fleet.grants.values().filter(|grant| grant.is_held()).collect();
    assert_eq!(held.len(), 1, "the grant of the stop still counts");
}
