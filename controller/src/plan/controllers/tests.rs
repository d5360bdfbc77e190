//! What comes next, by value: also for a leader who finds a change half done.

use std::collections::BTreeMap;

use trireme_proto::time::WallTime;

use super::*;
use crate::state::controllers::{Leaving, Purpose, Regrouped, Retired, Seat};
use crate::state::fleet::Controller;

fn seat(id: u64, votes: bool, will_vote: bool) -> Seat {
    Seat {
        id,
        name: format!("c{id}"),
        disk: format!("disk-{id}"),
        votes,
        will_vote,
        heard: Some(Span(10)),
        matched: Some(9000),
    }
}

/// A settled group with these voters and learners, led by the first.
fn group(voters: &[u64], learners: &[u64]) -> Group {
    let seats = voters.iter().map(|id| seat(*id, true, true));
    let seats = seats.chain(learners.iter().map(|id| seat(*id, false, false)));
    Group { own: voters[0], settled: true, last: 9000, seats: seats.collect() }
}

fn record(id: u64) -> Controller {
    let at = |port: u16| format!("10.0.0.{id}:{port}");
    let region = "aws".parse().unwrap();
    Controller { raft_id: id, region, address: at(1), enrol: at(2), dns: at(3), peer: at(4) }
}

/// A fleet of three controllers in which `add` is to come and `remove` to go.
fn fleet(add: Option<u64>, remove: Option<u64>) -> Fleet {
    let name = |id: u64| format!("c{id}").parse().unwrap();
    let controllers: BTreeMap<_, _> = (1..=3).map(|id| (name(id), record(id))).collect();
    let newcomer = |id| Newcomer { name: name(id), record: record(id), disk: format!("disk-{id}") };
    let regroup = Regroup {
        number: 7,
        purpose: Purpose::Replace,
        add: add.map(newcomer),
        remove: remove.map(|raft_id| Leaving { name: name(raft_id), raft_id }),
        reason: String::new(),
        actor: String::new(),
        at: FleetTime(1000),
        warnings: vec![],
    };
    let regroup = (add.is_some() || remove.is_some()).then_some(regroup);
    Fleet { controllers, regroup, ..Fleet::default() }
}

const SOON: FleetTime = FleetTime(2000);

#[test]
fn a_newcomer_copies_first_votes_with_the_others_and_is_recorded_last() {
    let fleet = fleet(Some(4), Some(3));
    let admit = next(&fleet, &group(&[1, 2, 3], &[]), SOON);
    assert!(matches!(admit, Next::Admit(one) if one.name.as_str() == "c4"));
    let mut copying = group(&[1, 2, 3], &[4]);
    copying.seats[3].matched = None;
    assert_eq!(next(&fleet, &copying, SOON), Next::Wait("c4 has not answered yet".to_owned()));
    copying.seats[3].matched = Some(100);
    assert_eq!(next(&fleet, &copying, SOON), Next::Wait("c4 is 8900 entries behind".to_owned()));
    copying.seats[3].matched = Some(8900);
    let vote = Next::VoteIn([1, 2, 4].into());
    assert_eq!(next(&fleet, &copying, SOON), vote);
    // Half of it is there; the next leader finishes what it finds.
    let mut joint = group(&[1, 2], &[]);
    joint.settled = false;
    joint.seats.extend([seat(3, true, false), seat(4, true, true)]);
    assert_eq!(next(&fleet, &joint, SOON), vote);
    let mut after = group(&[1, 2, 4], &[3]);
    after.settled = false;
    assert!(matches!(next(&fleet, &after, SOON), Next::Wait(_)), "it is not committed");
    after.settled = true;
    assert_eq!(next(&fleet, &after, SOON), Next::Finish(7));
}

#[test]
fn a_leader_that_leaves_hands_over_to_one_that_votes_and_stays() {
    let fleet = fleet(Some(4), Some(1));
    let mut before = group(&[1, 2, 3], &[4]);
    before.seats[2].matched = Some(8000);
    assert_eq!(next(&fleet, &before, SOON), Next::HandOver(2));
    before.own = 2;
    assert_eq!(next(&fleet, &before, SOON), Next::VoteIn([2, 3, 4].into()));
}

#[test]
fn one_voter_alone_takes_its_successor_in_before_it_leaves() {
    let mut fleet = fleet(Some(4), Some(1));
    fleet.controllers.retain(|name, _| name.as_str() == "c1");
    assert_eq!(next(&fleet, &group(&[1], &[4]), SOON), Next::VoteIn([1, 4].into()));
    assert_eq!(next(&fleet, &group(&[1, 4], &[]), SOON), Next::HandOver(4));
    let mut last = group(&[1, 4], &[]);
    last.own = 4;
    assert_eq!(next(&fleet, &last, SOON), Next::VoteIn([4].into()));
}

#[test]
fn nobody_votes_while_that_would_cost_the_quorum_and_nothing_waits_for_ever() {
    let fleet = fleet(Some(4), Some(3));
    let mut thin = group(&[1, 2, 3], &[4]);
    thin.seats[1].heard = None;
    let Next::Wait(why) = next(&fleet, &thin, SOON) else { panic!() };
    assert!(why.starts_with("1 of the 3 controllers that would vote"), "{why}");
    let late = FleetTime(1000).after(CATCH_UP_MAX).after(Span(1));
    assert_eq!(next(&fleet, &thin, late), Next::GiveUp(7, why));
    let mut silent = group(&[1, 2, 3], &[4]);
    silent.seats[3].heard = Some(Span::secs(9));
    assert_eq!(next(&fleet, &silent, SOON), Next::Wait("c4 does not answer".to_owned()));
}

#[test]
fn who_has_left_is_sent_away_once_it_knows() {
    let mut fleet = fleet(None, None);
    fleet.controllers.remove(&"c3".parse::<trireme_proto::id::ControllerId>().unwrap());
    fleet.controllers_at = 8000;
    let name = "c3".parse().unwrap();
    fleet.retired.insert(3, Retired { name, reason: String::new(), at: WallTime(0) });
    let (what, at) = (String::new(), FleetTime(1000));
    fleet.regrouped = Some(Regrouped { number: 7, what, given_up: None, at });
    let mut left = group(&[1, 2], &[3]);
    assert_eq!(next(&fleet, &left, FleetTime(2000)), Next::Nothing, "it has a moment to hear");
    assert_eq!(next(&fleet, &left, FleetTime(3001)), Next::Dismiss(3));
    left.seats[2].matched = Some(7999);
    assert_eq!(next(&fleet, &left, FleetTime(3001)), Next::Nothing);
    assert_eq!(next(&fleet, &left, FleetTime(11_001)), Next::Dismiss(3));
    // One that never became a voter goes at once.
    assert_eq!(next(&fleet, &group(&[1, 2], &[9]), FleetTime(1001)), Next::Dismiss(9));
    assert_eq!(next(&fleet, &group(&[1, 2], &[]), FleetTime(99_999)), Next::Nothing);
}
