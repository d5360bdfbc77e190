//! Who may come and go, by value: every refusal with its rule.

use super::*;
use crate::state::apply::Position;
use crate::state::command::{Actor, Body, Command, Outcome};
use crate::state::testing;

/// A group of `names`, all of whom are there and up to date; ids count from one.
fn group(names: &[&str]) -> Group {
    let seats = (1_u64..).zip(names).map(|(id, name)| Seat {
        id,
        name: (*name).to_owned(),
        disk: format!("disk-{id}"),
        votes: true,
        will_vote: true,
        heard: Some(Span(10)),
        matched: Some(5000),
    });
    Group { own: 1, settled: true, last: 5000, seats: seats.collect() }
}

fn record(id: u64, region: &str) -> Controller {
    Controller {
        raft_id: id,
        region: region.parse().unwrap(),
        address: format!("10.0.0.{id}:7402"),
        enrol: format!("10.0.0.{id}:7403"),
        dns: format!("10.0.0.{id}:53"),
        peer: format!("10.0.0.{id}:7401"),
    }
}

fn fleet(names: &[&str]) -> Fleet {
    let mut fleet = testing::empty_fleet();
    fleet.controllers = (1_u64..)
        .zip(names)
        .zip(testing::REGIONS.into_iter().cycle())
        .map(|((id, name), region)| (name.parse().unwrap(), record(id, region)))
        .collect();
    fleet
}

fn newcomer(name: &str, id: u64) -> Newcomer {
    let disk = format!("new-disk-{id}");
    Newcomer { name: name.parse().unwrap(), record: record(id, "aws"), disk }
}

const THREE: [&str; 3] = ["c1", "c2", "c3"];

type Verdict = Result<Vec<String>, (String, String)>;

fn verdict(
    fleet: &Fleet,
    purpose: Purpose,
    add: impl Into<Option<Newcomer>>,
    remove: Option<&str>,
    group: &Group,
) -> Verdict {
    let add = add.into();
    let remove = remove.map(|name| name.parse::<ControllerId>().unwrap());
    match judge(fleet, purpose, add.as_ref(), remove.as_ref(), group) {
        Ok((_, warnings)) => Ok(warnings),
        Err(problem) => Err((problem.rule.unwrap_or_default(), problem.message)),
    }
}

fn rule(verdict: Verdict) -> String {
    verdict.expect_err("it was allowed").0
}

#[test]
fn a_controller_may_come_go_and_be_replaced_while_all_are_well() {
    let (fleet, group) = (fleet(&THREE), group(&THREE));
    let four = verdict(&fleet, Purpose::Add, Some(newcomer("c4", 4)), None, &group).unwrap();
    assert_eq!(four[0], "4 controllers survive the loss of 1, as 3 do: an odd number is better");
    assert!(four[1].starts_with("2 of 4 controllers are in aws: with that region"), "{four:?}");
    let two = verdict(&fleet, Purpose::Remove, None, Some("c3"), &group).unwrap();
    assert!(two[0].starts_with("2 controllers survive the loss of 0"), "{two:?}");
    let replaced = verdict(&fleet, Purpose::Replace, Some(newcomer("c4", 4)), Some("c1"), &group);
    assert_eq!(replaced, Ok(vec![]));
}

/// What is wrong with a member, and how it comes about.
type Case<'a> = (&'a str, &'a dyn Fn(&mut Seat));

#[test]
fn what_would_lose_the_quorum_is_refused_with_who_is_missing() {
    let fleet = fleet(&THREE);
    let away = |id: usize, how: &dyn Fn(&mut Seat)| {
        let mut group = group(&THREE);
        how(&mut group.seats[id - 1]);
        group
    };
    let cases: [Case<'_>; 3] = [
        ("c2 does not answer", &|seat| seat.heard = Some(Span(3001))),
        ("c2 does not answer", &|seat| seat.heard = None),
        ("c2 is behind", &|seat| seat.matched = Some(2999)),
    ];
    for (why, how) in cases {
        let group = away(2, how);
        for (purpose, add, remove) in [
            (Purpose::Add, Some(newcomer("c4", 4)), None),
            (Purpose::Remove, None, Some("c3")),
            (Purpose::Replace, Some(newcomer("c4", 4)), Some("c3")),
        ] {
            let name: Option<ControllerId> = remove.map(|name: &str| name.parse().unwrap());
            let refused = judge(&fleet, purpose, add.as_ref(), name.as_ref(), &group);
            let problem = refused.expect_err(why);
            assert_eq!(problem.rule.as_deref(), Some("controllers.quorum"), "{problem:?}");
            assert_eq!(problem.why, [why]);
        }
        // The one who is gone may go for good, and be replaced.
        verdict(&fleet, Purpose::Remove, None, Some("c2"), &group).unwrap();
        verdict(&fleet, Purpose::Replace, Some(newcomer("c4", 4)), Some("c2"), &group).unwrap();
    }
}

#[test]
fn one_may_become_two_and_the_last_may_not_leave() {
    let (alone, group) = (fleet(&["c1"]), group(&["c1"]));
    verdict(&alone, Purpose::Add, Some(newcomer("c2", 2)), None, &group).unwrap();
    let last = verdict(&alone, Purpose::Remove, None, Some("c1"), &group);
    assert_eq!(rule(last), "controllers.quorum");
    verdict(&alone, Purpose::Replace, Some(newcomer("c2", 2)), Some("c1"), &group).unwrap();
}

#[test]
fn nothing_that_was_there_before_comes_again() {
    let (mut fleet, group) = (fleet(&THREE), group(&THREE));
    let at = WallTime(0);
    let retired = Retired { name: "c0".parse().unwrap(), reason: "old".to_owned(), at };
    fleet.retired.insert(9, retired);
    fleet.denied.insert("controller/c0".to_owned(), "old".to_owned());
    let add = |newcomer| verdict(&fleet, Purpose::Add, Some(newcomer), None, &group);
    assert_eq!(rule(add(newcomer("c4", 9))), "controllers.id");
    assert_eq!(rule(add(newcomer("c4", 2))), "controllers.id");
    assert_eq!(rule(add(newcomer("c2", 4))), "controllers.id");
    assert_eq!(rule(add(newcomer("c0", 4))), "controllers.id");
    let same_disk = Newcomer { disk: "disk-3".to_owned(), ..newcomer("c4", 4) };
    assert_eq!(rule(add(same_disk)), "controllers.id");
    let mut shared = newcomer("c4", 4);
    shared.record.dns = "10.0.0.2:53".to_owned();
    assert_eq!(rule(add(shared)), "controllers.address");
    add(newcomer("c4", 4)).unwrap();
}

#[test]
fn a_repair_is_of_one_that_does_not_answer_and_keeps_its_name_and_address() {
    let (fleet, mut group) = (fleet(&THREE), group(&THREE));
    let mut again = newcomer("c2", 4);
    again.record = Controller { raft_id: 4, ..record(2, "aliyun") };
    let repair = |group: &Group, again: &Newcomer| {
        verdict(&fleet, Purpose::Repair, Some(again.clone()), Some("c2"), group)
    };
    assert_eq!(rule(repair(&group, &again)), "controllers.alive");
    group.seats[1].heard = Some(Span::secs(60));
    assert_eq!(repair(&group, &again), Ok(vec![]));
    let mut elsewhere = again.clone();
    elsewhere.record.peer = "10.0.0.3:7401".to_owned();
    assert_eq!(rule(repair(&group, &elsewhere)), "controllers.address");
    let same_id = Newcomer { record: record(2, "aliyun"), ..again };
    assert_eq!(rule(repair(&group, &same_id)), "controllers.id");
}

fn applied(fleet: &mut Fleet, index: u64, step: Step) -> Outcome {
    let command = Command {
        at: FleetTime(index),
        wall: WallTime(index),
        skew: Span(0),
        actor: Actor {
            subject: "user/ann".to_owned(),
            role: "admin".to_owned(),
            source: "test".to_owned(),
            request_id: String::new(),
        },
        origin: None,
        body: Body::Regroup { step },
    };
    // As it is in the log.
    let text = serde_json::to_vec(&command).unwrap();
    let command = serde_json::from_slice(&text).unwrap();
    crate::state::apply(fleet, Position { index, term: 1 }, &command).0.outcome
}

#[test]
fn a_change_is_one_at_a_time_and_who_has_left_is_denied_for_ever() {
    let (mut fleet, group) = (fleet(&THREE), group(&THREE));
    let begin = |name: &str, id| Step::Begin {
        purpose: Purpose::Replace,
        add: Some(Box::new(newcomer(name, id))),
        remove: Some("c1".parse().unwrap()),
        reason: "new host".to_owned(),
        group: group.clone(),
    };
    let Outcome::Regroup(number) = applied(&mut fleet, 10, begin("c4", 4)) else { panic!() };
    let before = fleet.controllers.clone();
    let Outcome::Refused(problem) = applied(&mut fleet, 11, begin("c5", 5)) else { panic!() };
    assert_eq!(problem.rule.as_deref(), Some("controllers.change"));
    let Outcome::Refused(_) = applied(&mut fleet, 12, Step::Finish { number: number + 1 }) else {
        panic!()
    };
    assert_eq!((&fleet.controllers, fleet.controllers_at), (&before, 0));

    assert_eq!(applied(&mut fleet, 13, Step::Finish { number }), Outcome::Done);
    let names: Vec<_> = fleet.controllers.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["c2", "c3", "c4"]);
    assert_eq!((fleet.controllers_at, &fleet.regroup), (13, &None));
    assert_eq!(fleet.denied["controller/c1"], "c4 in the place of c1: new host");
    assert_eq!(fleet.retired[&1].name.as_str(), "c1");
    // It is over, and over for good.
    assert!(matches!(applied(&mut fleet, 14, Step::Finish { number }), Outcome::Refused(_)));
    let again = Step::Begin {
        purpose: Purpose::Add,
        add: Some(Box::new(newcomer("c1", 6))),
        remove: None,
        reason: "once more".to_owned(),
        group: group.clone(),
    };
    assert!(matches!(applied(&mut fleet, 15, again), Outcome::Refused(_)));
}

#[test]
fn a_repaired_controller_is_not_denied_and_one_given_up_has_never_been() {
    let (mut fleet, mut group) = (fleet(&THREE), group(&THREE));
    group.seats[1].heard = None;
    let begin = |purpose, add, remove: Option<&str>| Step::Begin {
        purpose,
        add: Some(Box::new(add)),
        remove: remove.map(|name| name.parse().unwrap()),
        reason: "disk".to_owned(),
        group: group.clone(),
    };
    let again = Newcomer { name: "c2".parse().unwrap(), ..newcomer("c2", 4) };
    let Outcome::Regroup(number) =
        applied(&mut fleet, 1, begin(Purpose::Repair, again, Some("c2")))
    else {
        panic!()
    };
    assert_eq!(applied(&mut fleet, 2, Step::Finish { number }), Outcome::Done);
    assert_eq!(fleet.controllers[&"c2".parse().unwrap()].raft_id, 4);
    assert!(fleet.denied.is_empty() && fleet.retired.contains_key(&2));

    group.seats[1] = Seat { id: 4, heard: Some(Span(1)), ..group.seats[1].clone() };
    let begin = Step::Begin {
        purpose: Purpose::Add,
        add: Some(Box::new(newcomer("c5", 5))),
        remove: None,
        reason: "more".to_owned(),
        group,
    };
    let Outcome::Regroup(number) = applied(&mut fleet, 3, begin.clone()) else { panic!() };
    let why = "c5 has not answered yet".to_owned();
    assert_eq!(applied(&mut fleet, 4, Step::GiveUp { number, why }), Outcome::Done);
    assert_eq!(fleet.controllers.len(), 3);
    assert!(fleet.regrouped.as_ref().unwrap().given_up.is_some());
    // The same one may be tried again.
    assert!(matches!(applied(&mut fleet, 5, begin), Outcome::Regroup(_)));
}
