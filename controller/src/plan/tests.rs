//! What the simulation has found in the planner, by value.

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::action::{Observed, ServiceState};
use trireme_proto::id::{ActionId, NodeId, UpgradeId};
use trireme_proto::time::{FleetTime, Span, WallTime};
use trireme_proto::view::UpgradePhase;

use super::{Decision, World, plan};
use crate::presence::{Presence, Seen};
use crate::state::fleet::{Fleet, Stage, Upgrade, WaveRecord};
use crate::state::hints::Hints;
use crate::state::{Body, testing, waves};

const ID: UpgradeId = UpgradeId(7);
const NOW: FleetTime = FleetTime(10_000);

/// Returns a fleet whose first wave stands as `stages` say, under a grant if `held`.
fn fleet(stages: [Stage; 2], held: bool) -> Fleet {
    let (mut fleet, _) = testing::serving_fleet();
    let (web, version) = ("web".parse().unwrap(), "1.1.0".parse().unwrap());
    let plan = waves::plan(&fleet, &web, &version).unwrap();
    let target = fleet.run_spec(&web, &version).unwrap();
    let mut waves: Vec<WaveRecord> = plan
        .waves
        .iter()
        .map(|wave| WaveRecord {
            grant: None,
            drained_at: None,
            settled: None,
            baking: None,
            moved: NOW,
            nodes: wave.nodes.iter().map(|node| (node.clone(), Stage::Staged)).collect(),
            hints: Hints::default(),
        })
        .collect();
    for (stage, place) in stages.into_iter().zip(waves[0].nodes.values_mut()) {
        *place = stage;
    }
    if held {
        waves[0].grant = Some(testing::hold(&mut fleet, &["aws-1", "aws-2"]));
        waves[0].drained_at = Some(1);
        waves[0].settled = Some(FleetTime(0));
    }
    let upgrade = Upgrade {
        previous: BTreeMap::new(),
        stopped: BTreeSet::new(),
        target: Some(target),
        phase: UpgradePhase::Running,
        paused: None,
        reason: None,
        actor: "user/ann".to_owned(),
        started_at: WallTime(0),
        started: FleetTime(0),
        due: FleetTime(1_000_000),
        ended: None,
        waves,
        plan,
    };
    fleet.upgrades.insert(ID, upgrade);
    fleet
}

/// Returns presence in which every node was heard `age` ago.
fn presence(fleet: &Fleet, age: Span) -> Presence {
    let mut presence = Presence::default();
    let nodes = fleet.nodes.iter().map(|(id, node)| {
        let seen = Seen {
            age,
            generation: node.generation,
            agent_version: String::new(),
            observed: node.observed.clone(),
            ..Seen::default()
        };
        (id.clone(), seen)
    });
    presence.hear(NOW, &"c1".parse().unwrap(), 10, nodes.collect());
    presence
}

fn falls_ill(fleet: &mut Fleet, node: &str) {
    let node = fleet.nodes.get_mut(&node.parse::<NodeId>().unwrap()).unwrap();
    for seen in node.observed.values_mut() {
        *seen = Observed { state: ServiceState::NotServing, ..seen.clone() };
    }
}

fn decide(fleet: &Fleet, presence: &Presence) -> Decision {
    plan(&World { fleet, presence, now: NOW, term: 1 })
}

fn verbs(decision: &Decision) -> Vec<&'static str> {
    decision.proposals.iter().map(|body| body.describe().0).collect()
}

fn up() -> Stage {
    Stage::Up { switch: ActionId(1) }
}

/// A heartbeat from before the gate was passed turned a good upgrade back.
#[test]
fn a_heartbeat_from_before_the_bake_is_no_news_of_it() {
    let mut fleet = fleet([up(), up()], true);
    falls_ill(&mut fleet, "aws-1");
    let wave = &mut fleet.upgrades.get_mut(&ID).unwrap().waves[0];
    wave.baking = Some(FleetTime(NOW.0 - 500));
    let before = decide(&fleet, &presence(&fleet, Span(600)));
    assert_eq!(verbs(&before), Vec::<&str>::new());
    let after = decide(&fleet, &presence(&fleet, Span(400)));
    assert_eq!(verbs(&after), ["upgrade.fail"]);
}

/// With one node up and the service short of regions, the other was called back for ever, though
/// it served nothing that could be given back.
#[test]
fn only_what_would_serve_is_given_back() {
    let mut fleet = fleet([up(), Stage::Staged], true);
    for node in ["gcp-1", "gcp-2", "aws-2"] {
        falls_ill(&mut fleet, node);
    }
    let drained = fleet.nodes.get_mut(&"aws-2".parse::<NodeId>().unwrap()).unwrap();
    drained.drained.insert("web".parse().unwrap());
    let heard = presence(&fleet, Span(0));
    assert_eq!(verbs(&decide(&fleet, &heard)), ["upgrade.switch"]);
    let healthy = testing::serving_fleet().0.nodes[&"gcp-1".parse::<NodeId>().unwrap()].clone();
    let node = fleet.nodes.get_mut(&"aws-2".parse::<NodeId>().unwrap()).unwrap();
    node.observed = healthy.observed;
    let heard = presence(&fleet, Span(0));
    assert_eq!(verbs(&decide(&fleet, &heard)), ["upgrade.stand_down"]);
}

/// Fleet time stands still while nobody leads: a word from before its stop counted as fresh, and a
/// region that was long gone as serving (I1).
#[test]
fn a_word_older_than_fleet_time_is_no_evidence() {
    let (fleet, _) = testing::serving_fleet();
    assert_eq!(presence(&fleet, Span(NOW.0)).nodes.len(), fleet.nodes.len());
    let older = presence(&fleet, Span(NOW.0 + 1));
    assert!(older.nodes.is_empty());
    assert!(older.evidence(NOW).nodes.is_empty());
}

/// A node that does another upgrade's action is waited for, and said to be.
#[test]
fn a_busy_node_is_waited_for() {
    let mut fleet = fleet([Stage::Staged, Stage::Skipped { reason: String::new() }], true);
    let web = "web".parse().unwrap();
    fleet.nodes.get_mut(&"aws-1".parse::<NodeId>().unwrap()).unwrap().drained.insert(web);
    testing::act(&mut fleet, "aws-1");
    let decision = decide(&fleet, &presence(&fleet, Span(0)));
    assert!(!decision.proposals.iter().any(|body| matches!(body, Body::Switch { .. })));
    assert_eq!(decision.waiting[&ID][0].predicate, "action.done");
}

/// An upgrade started again, with the rest of a region done, waited for its one dead node until the
/// deadline and then turned back for it (I19).
#[test]
fn a_lost_node_is_left_out_where_its_region_has_nothing_left_to_do() {
    let done = Stage::Skipped { reason: "runs 1.1.0 already".to_owned() };
    let mut fleet = fleet([done, Stage::Waiting], false);
    let (done, gone) = ("aws-1".parse::<NodeId>().unwrap(), "aws-2".parse::<NodeId>().unwrap());
    fleet.nodes.get_mut(&gone).unwrap().lost = true;
    let mut heard = presence(&fleet, Span(0));
    heard.nodes.remove(&gone);
    // Left out for another reason, the neighbour is no sign that the region goes on.
    assert!(!verbs(&decide(&fleet, &heard)).contains(&"upgrade.skip"));
    let upgrade = fleet.upgrades.get_mut(&ID).unwrap();
    upgrade.plan.previous.insert(done, upgrade.plan.target);
    assert!(verbs(&decide(&fleet, &heard)).contains(&"upgrade.skip"));
}

/// The limit of a wave was counted from the start of the upgrade: where the first region took longer
/// than that, the second turned back for a dead node in the very moment that it was left out (I19).
#[test]
fn a_wave_stands_still_only_once_it_is_its_turn() {
    let mut fleet = fleet([Stage::Waiting, Stage::Waiting], false);
    let later = FleetTime(NOW.0 + 1_000_000);
    let upgrade = fleet.upgrades.get_mut(&ID).unwrap();
    upgrade.due = FleetTime(u64::MAX - 1);
    for stage in upgrade.waves[0].nodes.values_mut() {
        *stage = Stage::Confirmed { switch: ActionId(1) };
    }
    upgrade.waves[0].moved = later;
    let gone = upgrade.waves[1].nodes.keys().next().unwrap().clone();
    upgrade.waves[1].nodes.insert(gone.clone(), Stage::Waiting);
    fleet.nodes.get_mut(&gone).unwrap().lost = true;
    let heard = presence(&fleet, Span(0));
    let decision = plan(&World { fleet: &fleet, presence: &heard, now: later, term: 1 });
    let verbs = verbs(&decision);
    assert!(verbs.contains(&"upgrade.skip"), "{verbs:?}");
    assert!(!verbs.contains(&"upgrade.fail"), "{verbs:?}");
}

/// A wave that another leader was given was switched by one that had not seen its nodes, nor that
/// the service had fallen short of regions since (I1).
#[test]
fn a_new_leader_switches_nobody_whom_it_has_not_seen() {
    let mut fleet = fleet([Stage::Staged, Stage::Staged], true);
    for node in ["aws-1", "aws-2"] {
        let node = fleet.nodes.get_mut(&node.parse::<NodeId>().unwrap()).unwrap();
        node.drained.insert("web".parse().unwrap());
    }
    let mut seen = presence(&fleet, Span(0));
    assert_eq!(verbs(&decide(&fleet, &seen)), ["upgrade.switch"]);
    seen.nodes.remove(&"aws-2".parse().unwrap());
    let decision = decide(&fleet, &seen);
    assert!(!verbs(&decision).contains(&"upgrade.switch"), "{:?}", verbs(&decision));
    assert_eq!(decision.waiting[&ID][0].predicate, "node.in_sight");
}
