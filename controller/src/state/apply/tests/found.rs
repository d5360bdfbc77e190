//! What the simulation has found in apply, by value.

use super::*;
use crate::state::ledger;

fn undone() -> Progress {
    Progress::FailedUndone { step: Step::Gate, reason: "not healthy".to_owned() }
}

fn dirty() -> Progress {
    Progress::FailedDirty { step: Step::Start, reason: "cannot execute".to_owned() }
}

fn nodes(names: [&str; 2]) -> Vec<NodeId> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

impl Log {
    fn stage_of(&self, id: UpgradeId, wave: usize, node: &str) -> &Stage {
        &self.fleet.upgrades[&id].waves[wave].nodes[&node.parse::<NodeId>().unwrap()]
    }

    fn is_held(&self, grant: GrantId) -> bool {
        self.fleet.grants[&grant].is_held()
    }

    /// Adds a second service on the same nodes, and upgrades it.
    fn start_another(&mut self) -> UpgradeId {
        let name = "api".parse().unwrap();
        let service = trireme_proto::model::Service { name, ..testing::web() };
        let release = trireme_proto::model::Release {
            service: service.name.clone(),
            ..testing::release("1.0.0")
        };
        let objects = vec![Object::Service(service.clone()), Object::Release(release)];
        let evidence = Evidence::default();
        self.apply(Body::Apply { base_revision: 0, objects, evidence }).unwrap();
        for node in self.fleet.nodes.values_mut() {
            let never = testing::observed(ServiceState::NeverStarted, None);
            node.observed.insert(service.name.clone(), never);
        }
        let plan = waves::plan(&self.fleet, &service.name, &"1.0.0".parse().unwrap()).unwrap();
        let evidence = self.evidence();
        match self.apply(Body::StartUpgrade { plan: plan.id(), evidence }).unwrap() {
            Outcome::Upgrade(id) => id,
            other => panic!("{other:?}"),
        }
    }
}

/// I6: the action of one upgrade was lost when another service's was committed on its node.
#[test]
fn an_action_under_way_is_not_pushed_aside_by_another_upgrade() {
    let mut log = Log::serving();
    let web = log.start().unwrap();
    log.switch(web, 0, WAVES[0]);
    let before = log.node("aws-1").action.clone();
    let api = log.start_another();
    log.apply(Body::Stage { upgrade: api, wave: 0, nodes: nodes(WAVES[0]) }).unwrap();
    assert_eq!(log.node("aws-1").action, before);
    assert_eq!(log.stage_of(api, 0, "aws-1"), &Stage::Waiting);
    log.report("aws-1", Progress::Done);
    log.apply(Body::Stage { upgrade: api, wave: 0, nodes: nodes(WAVES[0]) }).unwrap();
    assert!(matches!(log.stage_of(api, 0, "aws-1"), Stage::Staging { .. }));
}

/// A node that was called back while its neighbour went on stayed drained, and its grant held,
/// when the upgrade had long gone back.
#[test]
fn what_never_began_returns_to_traffic_when_the_rest_of_its_wave_goes_back() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    let grant = log.switch(id, 0, WAVES[0]);
    log.report("aws-1", Progress::Accepted);
    let reason = "short of regions".to_owned();
    log.apply(Body::StandDown { upgrade: id, wave: 0, reason }).unwrap();
    log.report("aws-2", Progress::Done);
    assert_eq!(log.stage_of(id, 0, "aws-2"), &Stage::Staged);
    log.report("aws-1", undone());
    let back = vec!["aws-1".parse().unwrap()];
    log.apply(Body::Revert { upgrade: id, wave: 0, nodes: back }).unwrap();
    log.report("aws-1", Progress::Done);
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::RolledBack);
    assert!(log.fleet.nodes.values().all(|node| node.drained.is_empty()));
    assert!(!log.is_held(grant));
}

/// While an upgrade was being aborted, what nobody had begun could not be called back: the leader
/// proposed it for ever, and apply refused.
#[test]
fn an_aborted_upgrade_calls_back_what_nobody_has_begun() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    let grant = log.switch(id, 0, WAVES[0]);
    log.apply(Body::AbortUpgrade { upgrade: id, reason: "enough".to_owned() }).unwrap();
    let reason = "short of regions".to_owned();
    log.apply(Body::StandDown { upgrade: id, wave: 0, reason }).unwrap();
    for node in WAVES[0] {
        assert!(matches!(log.stage_of(id, 0, node), Stage::Reverting { .. }), "{node}");
        log.report(node, Progress::Done);
    }
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::Aborted);
    assert_eq!(log.fleet.upgrades[&id].reason.as_deref(), Some("enough"));
    assert!(log.fleet.nodes.values().all(|node| node.drained.is_empty()));
    assert!(!log.is_held(grant));
}

/// What was called back asks the ledger anew once the rest of its wave has come through.
#[test]
fn the_rest_of_a_wave_gets_a_grant_of_its_own() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    let first = log.switch(id, 0, WAVES[0]);
    log.report("aws-1", Progress::Accepted);
    let reason = "short of regions".to_owned();
    log.apply(Body::StandDown { upgrade: id, wave: 0, reason }).unwrap();
    log.report("aws-2", Progress::Done);
    log.report("aws-1", Progress::Done);
    log.at = log.at.after(Span::secs(2));
    log.apply(Body::Confirm { upgrade: id, wave: 0 }).unwrap();
    log.report("aws-1", Progress::Done);
    assert!(!log.is_held(first));
    let evidence = log.evidence();
    let second = log.apply(Body::Grant { upgrade: id, wave: 0, evidence }).unwrap();
    let Outcome::Granted(second) = second else { panic!("{second:?}") };
    let takes: Vec<_> = log.fleet.grants[&second].takes.iter().map(|(node, _)| node).collect();
    assert_eq!(takes, [&"aws-2".parse::<NodeId>().unwrap()]);
}

/// A grant taken to go back from a confirmed wave was released before anything had happened.
#[test]
fn a_wave_that_is_taken_back_holds_its_grant_until_it_has_gone_back() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    log.wave(id, 0, WAVES[0]);
    log.apply(Body::RollbackUpgrade { upgrade: id, reason: String::new() }).unwrap();
    let evidence = log.evidence();
    let back = nodes(WAVES[0]);
    log.apply(Body::TakeBack { upgrade: id, wave: 0, nodes: back.clone(), evidence }).unwrap();
    let grant = log.fleet.upgrades[&id].waves[0].grant.unwrap();
    // Any report makes apply look at every wave again.
    let (node, incarnation) = ("gcp-1".parse().unwrap(), "disk".to_owned());
    log.apply(Body::Reports { node, incarnation, reports: Vec::new() }).unwrap();
    assert!(log.is_held(grant));
    log.apply(Body::Revert { upgrade: id, wave: 0, nodes: back }).unwrap();
    for node in WAVES[0] {
        log.report(node, Progress::Done);
    }
    assert!(!log.is_held(grant));
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::RolledBack);
}

/// A rollback that waited for capacity, or for a node to be repaired, could not be left.
#[test]
fn a_rollback_that_waits_can_be_left_as_it_is() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    log.wave(id, 0, WAVES[0]);
    let grant = log.switch(id, 1, WAVES[1]);
    log.report("aliyun-1", dirty());
    let abort = || Body::AbortUpgrade { upgrade: id, reason: String::new() };
    let refused = log.apply(abort()).unwrap_err();
    assert_eq!(refused.message, format!("{id} is rolling back"));
    log.report("aliyun-2", dirty());
    log.apply(abort()).unwrap();
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::RollbackFailed);
    assert!(log.is_held(grant));
    // Asked again, it tries the dirty nodes once more.
    log.apply(Body::RollbackUpgrade { upgrade: id, reason: String::new() }).unwrap();
    assert!(matches!(log.stage_of(id, 1, "aliyun-1"), Stage::Failed { .. }));
}

/// A node that had gone back was kept from its clients for ever when the next node of its wave was
/// taken, under a grant that covered both.
#[test]
fn a_node_that_has_gone_back_stays_in_traffic_while_the_next_one_is_taken() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    log.wave(id, 0, WAVES[0]);
    log.apply(Body::RollbackUpgrade { upgrade: id, reason: String::new() }).unwrap();
    let take = |log: &mut Log, node: &str| {
        let (nodes, evidence) = (vec![node.parse().unwrap()], log.evidence());
        log.apply(Body::TakeBack { upgrade: id, wave: 0, nodes: nodes.clone(), evidence }).unwrap();
        log.apply(Body::Revert { upgrade: id, wave: 0, nodes }).unwrap();
    };
    take(&mut log, "aws-1");
    // Before the last of the wave is back, the first one is.
    let other = vec!["aws-2".parse().unwrap()];
    log.report("aws-1", Progress::Accepted);
    let evidence = log.evidence();
    log.apply(Body::TakeBack { upgrade: id, wave: 0, nodes: other, evidence }).unwrap();
    log.report("aws-1", Progress::Done);
    assert!(log.node("aws-1").drained.is_empty());
    take(&mut log, "aws-2");
    assert!(log.node("aws-1").drained.is_empty());
    log.report("aws-2", Progress::Done);
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::RolledBack);
    assert!(log.fleet.grants.values().all(|grant| !grant.is_held()));
}

/// A rollback of an upgrade that had succeeded waited for ever for a node removed since.
#[test]
fn a_node_removed_since_is_not_taken_back() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    for (wave, nodes) in WAVES.into_iter().enumerate() {
        log.wave(id, wave, nodes);
    }
    let (node, reason) = ("aws-1".parse().unwrap(), "stolen".to_owned());
    log.apply(Body::RemoveNode { node, reason }).unwrap();
    log.apply(Body::RollbackUpgrade { upgrade: id, reason: String::new() }).unwrap();
    let gone = Stage::Skipped { reason: "node aws-1 was removed".to_owned() };
    assert_eq!(log.stage_of(id, 0, "aws-1"), &gone);
    assert!(matches!(log.stage_of(id, 0, "aws-2"), Stage::Confirmed { .. }));
}

/// A grant that was ended by hand took the action of another upgrade on its node with it, which then
/// waited for ever for an action that was not there.
#[test]
fn ending_a_grant_leaves_the_action_of_another_upgrade_alone() {
    let mut log = Log::serving();
    let failed = log.start().unwrap();
    let grant = log.switch(failed, 0, WAVES[0]);
    for node in WAVES[0] {
        log.report(node, dirty());
    }
    let other = log.start_another();
    log.apply(Body::Stage { upgrade: other, wave: 0, nodes: nodes(WAVES[0]) }).unwrap();
    let before = log.node("aws-1").clone();
    log.apply(Body::ReleaseGrant { grant, reason: "repaired".to_owned() }).unwrap();
    assert_eq!(log.node("aws-1").action, before.action);
    assert!(log.node("aws-1").generation > before.generation);
    log.report("aws-1", Progress::Done);
    assert_eq!(log.stage_of(other, 0, "aws-1"), &Stage::Staged);
}

/// A node that had tried to go back by itself and failed was believed to run the new release: what
/// it said came after the last word on its switch, and was dropped.
#[test]
fn a_way_back_alone_that_failed_needs_a_person_and_holds_its_grant() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    let grant = log.switch(id, 0, WAVES[0]);
    for node in WAVES[0] {
        log.report(node, Progress::Done);
    }
    assert!(matches!(log.stage_of(id, 0, "aws-1"), Stage::Up { .. }));
    log.report("aws-1", dirty());
    let Stage::Dirty { reason, .. } = log.stage_of(id, 0, "aws-1") else { panic!() };
    assert_eq!(reason, "node aws-1 could not go back by itself, at start: cannot execute");
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::RollingBack);
    // Its neighbour, which stayed, goes back as well; the grant stays until a person has looked.
    let (back, evidence) = (vec!["aws-2".parse().unwrap()], log.evidence());
    log.apply(Body::TakeBack { upgrade: id, wave: 0, nodes: back.clone(), evidence }).unwrap();
    log.apply(Body::Revert { upgrade: id, wave: 0, nodes: back }).unwrap();
    log.report("aws-2", Progress::Done);
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::RollbackFailed);
    assert!(log.is_held(grant));
}

/// A grant that a person had ended was taken for held, and the rollback went in circles.
#[test]
fn a_failed_rollback_is_tried_again_under_a_new_grant_after_a_person_ended_the_old_one() {
    let mut log = Log::serving();
    let id = log.start().unwrap();
    let old = log.switch(id, 0, WAVES[0]);
    for node in WAVES[0] {
        log.report(node, dirty());
    }
    assert_eq!(log.fleet.upgrades[&id].phase, UpgradePhase::RollbackFailed);
    log.apply(Body::ReleaseGrant { grant: old, reason: "repaired".to_owned() }).unwrap();
    log.apply(Body::RollbackUpgrade { upgrade: id, reason: String::new() }).unwrap();
    let evidence = log.evidence();
    let back = nodes(WAVES[0]);
    log.apply(Body::TakeBack { upgrade: id, wave: 0, nodes: back, evidence }).unwrap();
    let new = log.fleet.upgrades[&id].waves[0].grant.unwrap();
    assert!(new != old && log.is_held(new));
}

/// A failed rollback's grant stood in the way for ever, though the nodes had long been repaired by
/// a later upgrade.
#[test]
fn a_later_upgrade_that_is_confirmed_ends_the_grant_of_a_failed_rollback() {
    let mut log = Log::serving();
    let failed = log.start().unwrap();
    let grant = log.switch(failed, 0, WAVES[0]);
    for node in WAVES[0] {
        log.report(node, dirty());
    }
    let later = log.start().unwrap();
    log.wave(later, 0, WAVES[0]);
    assert!(matches!(log.fleet.grants[&grant].state, GrantState::Released { .. }));
}

/// The reason named no node when a region had too few of them.
#[test]
fn a_region_with_too_few_nodes_says_so() {
    let mut log = Log::serving();
    let service = log.fleet.services.get_mut(&"web".parse().unwrap()).unwrap();
    service.manifest.serving.nodes = 2;
    log.fleet.nodes.remove(&"gcp-2".parse::<NodeId>().unwrap());
    let takes = [("aws-1".parse().unwrap(), "web".parse().unwrap())].into();
    let class = crate::state::fleet::Class::Upgrade;
    let ask = ledger::Ask::new(class, &takes);
    let refused = ledger::judge(&log.fleet, &log.evidence(), ask).unwrap_err();
    let why = "region gcp would not: it has 1 node(s) and needs 2";
    assert!(refused.why.iter().any(|line| line == why), "{:?}", refused.why);
}
