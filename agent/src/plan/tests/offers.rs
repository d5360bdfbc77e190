//! Which offers are taken, and what a newer one means for the one that runs.

use trireme_proto::action::Step::{Fetch, Gate, Point, Quiesce, Start, Stop};
use trireme_proto::action::{ActionKind, Progress, Report};
use trireme_proto::id::ActionId;

use super::super::{Direction, Effect, Outcome, Refusal, Seen};
use super::*;

#[test]
fn older_offers_are_stale_and_the_same_is_answered_again() {
    let mut bench = Bench::new();
    let five = action(5, "web", ActionKind::Stage { target: spec("web", "2") });
    let first = bench.offer(0, &five);
    assert_eq!(said(&first), [(5, Progress::Accepted)]);
    let again = bench.offer(0, &five);
    assert_eq!(again, [Effect::Report(Report { seq: 1, ..report_of(&first) })]);
    let four = action(4, "web", ActionKind::Confirm { of: ActionId(1) });
    let refusal = Refusal::Stale { generation: 4, newest: 5 };
    assert_eq!(bench.offer(0, &four), [Effect::Ignored { action: ActionId(4), refusal }]);
}

#[test]
fn another_action_with_the_same_fence_is_a_conflict() {
    let mut bench = Bench::new();
    let stage = action(5, "web", ActionKind::Stage { target: spec("web", "2") });
    let other = action(5, "web", ActionKind::Stage { target: spec("web", "3") });
    bench.offer(0, &stage);
    let refusal = Refusal::Conflict { offered: other.hash(), held: stage.hash() };
    assert_eq!(bench.offer(0, &other), [Effect::Ignored { action: ActionId(5), refusal }]);
}

#[test]
fn offers_with_an_old_or_foreign_nonce_change_nothing() {
    let mut bench = Bench::new();
    let stage = action(1, "web", ActionKind::Stage { target: spec("web", "2") });
    for (age, refusal) in
        [(Some(5001), Refusal::NonceOld { age_ms: 5001 }), (None, Refusal::NonceUnknown)]
    {
        let ignored = Effect::Ignored { action: ActionId(1), refusal };
        assert_eq!(bench.core.offer(9000, stage.clone(), age), [ignored]);
    }
    assert_eq!(said(&bench.core.offer(9000, stage, Some(5000))), [(1, Progress::Accepted)]);
}

#[test]
fn a_higher_epoch_needs_a_statement_except_on_a_fresh_journal() {
    let mut bench = Bench::new();
    let mut stage = action(1, "web", ActionKind::Stage { target: spec("web", "2") });
    stage.fence.epoch = 3;
    assert_eq!(said(&bench.offer(0, &stage)), [(1, Progress::Accepted)]);
    let mut next = action(2, "web", ActionKind::Confirm { of: ActionId(1) });
    next.fence.epoch = 4;
    let refusal = Refusal::EpochAhead { offered: 4, held: 3 };
    assert_eq!(bench.offer(0, &next), [Effect::Ignored { action: ActionId(2), refusal }]);
    next.fence.epoch = 2;
    assert!(matches!(
        bench.offer(0, &next)[..],
        [Effect::Ignored { refusal: Refusal::Stale { .. }, .. }]
    ));
}

#[test]
fn an_action_for_another_node_is_ignored() {
    let mut bench = Bench::new();
    let mut stage = action(1, "web", ActionKind::Stage { target: spec("web", "2") });
    stage.node = "n2".parse().unwrap();
    let refusal = Refusal::ForeignNode("n2".parse().unwrap());
    assert_eq!(bench.offer(0, &stage), [Effect::Ignored { action: ActionId(1), refusal }]);
}

#[test]
fn a_revert_interrupts_the_gate_and_takes_over() {
    let mut bench = Bench::new();
    let gate = bench.switching(Gate);
    let revert = action(2, "web", revert_of(1, Some(spec("web", "1"))));
    assert_eq!(bench.offer(0, &revert), [Effect::Interrupt(gate)]);
    let effects = bench.ended(0, gate, Outcome::Interrupted(None));
    assert_eq!(said(&effects), [(2, Progress::Accepted)]);
    let effects = bench.looked(0, 2, running("2"));
    let (steps, last) = steps_run(&mut bench, 0, effects);
    assert_eq!(steps, [Quiesce, Stop, Point, Start, Gate]);
    assert_eq!(said(&last), [(1, undone(Gate, "cut off by action-2")), (2, Progress::Done)]);
}

#[test]
fn a_revert_lets_a_stop_finish_first() {
    let mut bench = Bench::new();
    let stop = bench.switching(Stop);
    let revert = action(2, "web", revert_of(1, Some(spec("web", "1"))));
    assert_eq!(bench.offer(0, &revert), []);
    let effects = bench.done(0, stop);
    assert_eq!(said(&effects), [(2, Progress::Accepted)]);
    let seen = Seen { running: false, serving: false, ..running("1") };
    let effects = bench.looked(0, 2, seen);
    let (steps, last) = steps_run(&mut bench, 0, effects);
    assert_eq!(steps, [Stop, Point, Start, Gate]);
    assert_eq!(said(&last), [(1, undone(Stop, "cut off by action-2")), (2, Progress::Done)]);
}

#[test]
fn a_revert_that_cannot_be_done_leaves_both_dirty() {
    let mut bench = Bench::new();
    let gate = bench.switching(Gate);
    bench.offer(0, &action(2, "web", revert_of(1, Some(spec("web", "1")))));
    bench.ended(0, gate, Outcome::Interrupted(None));
    let effects = bench.looked(0, 2, Seen { serving: false, ..running("2") });
    let gate = bench.until(0, effects, Gate);
    let effects = bench.ended(0, gate, Outcome::Failed("health: 500".to_owned()));
    assert_eq!(
        said(&effects),
        [(1, dirty(Gate, "cut off by action-2")), (2, dirty(Gate, "health: 500"))]
    );
}

#[test]
fn a_revert_before_anything_was_stopped_ends_the_switch_untouched() {
    let mut bench = Bench::new();
    let quiesce = bench.switching(Quiesce);
    let revert = action(2, "web", revert_of(1, Some(spec("web", "1"))));
    assert_eq!(bench.offer(0, &revert), [Effect::Interrupt(quiesce)]);
    let effects = bench.ended(0, quiesce, Outcome::Interrupted(None));
    assert_eq!(
        said(&effects),
        [(1, undone(Quiesce, "superseded by action-2")), (2, Progress::Accepted)]
    );
    let effects = bench.looked(0, 2, running("1"));
    assert_eq!(said(&effects), [(2, Progress::Done)]);
    assert_eq!(runs(&effects), None);
}

#[test]
fn a_revert_of_what_was_never_accepted_proves_it_by_doing_nothing() {
    let mut bench = Bench::new();
    bench.offer(0, &action(2, "web", revert_of(1, Some(spec("web", "1")))));
    let effects = bench.looked(0, 2, Seen { serving: false, ..running("1") });
    assert_eq!(said(&effects), [(2, Progress::Done)]);
    let mut bench = Bench::new();
    bench.offer(0, &action(2, "web", revert_of(1, None)));
    assert_eq!(said(&bench.looked(0, 2, Seen::default())), [(2, Progress::Done)]);
}

#[test]
fn a_newer_switch_has_the_running_one_undone_before_it_begins() {
    let mut bench = Bench::new();
    let gate = bench.switching(Gate);
    let newer = action(2, "web", switch_to(spec("web", "3"), Some(&spec("web", "1"))));
    assert_eq!(bench.offer(0, &newer), [Effect::Interrupt(gate)]);
    let effects = bench.ended(0, gate, Outcome::Interrupted(None));
    let (steps, last) = steps_run(&mut bench, 0, effects);
    assert_eq!(steps, [Stop, Point, Start, Gate]);
    assert_eq!(said(&last), [(1, undone(Gate, "superseded by action-2")), (2, Progress::Accepted)]);
}

#[test]
fn an_action_on_another_service_waits_for_its_turn() {
    let mut bench = Bench::new();
    let gate = bench.switching(Gate);
    let other = action(2, "db", ActionKind::Stage { target: spec("db", "1") });
    assert_eq!(bench.offer(0, &other), []);
    assert_eq!(bench.offer(0, &other), [], "it waits already");
    let third = action(3, "db", ActionKind::Stage { target: spec("db", "2") });
    let refusal = Refusal::Busy;
    assert_eq!(bench.offer(0, &third), [Effect::Ignored { action: ActionId(3), refusal }]);
    let effects = bench.done(0, gate);
    assert_eq!(said(&effects), [(1, Progress::Done), (2, Progress::Accepted)]);
    assert_eq!(runs(&effects), Some(key(2, Direction::Forward, Fetch)));
}

#[test]
fn a_switch_that_waited_unrenewed_lapses() {
    let mut bench = Bench::new();
    let gate = bench.switching(Gate);
    let other = action(2, "db", switch_to(spec("db", "1"), None));
    bench.offer(0, &other);
    let effects = bench.done(6000, gate);
    assert_eq!(said(&effects), [(1, Progress::Done)]);
    let refusal = Refusal::NonceOld { age_ms: 6000 };
    assert_eq!(effects.last(), Some(&Effect::Ignored { action: ActionId(2), refusal }));
    assert_eq!(said(&bench.offer(6000, &other)), [(2, Progress::Accepted)]);
}

#[test]
fn a_waiting_action_that_is_pushed_out_is_told_of_when_the_newer_is_accepted() {
    let mut bench = Bench::new();
    let gate = bench.switching(Gate);
    bench.offer(0, &action(2, "db", ActionKind::Stage { target: spec("db", "1") }));
    let revert = action(3, "web", revert_of(1, Some(spec("web", "1"))));
    assert_eq!(bench.offer(0, &revert), [Effect::Interrupt(gate)]);
    let effects = bench.ended(0, gate, Outcome::Interrupted(None));
    let reason = "superseded by action-3 before it began";
    assert_eq!(said(&effects), [(2, undone(Fetch, reason)), (3, Progress::Accepted)]);
}

#[test]
fn a_download_does_not_hold_up_a_revert_of_another_service() {
    let mut bench = Bench::new();
    let stage = action(1, "web", ActionKind::Stage { target: spec("web", "2") });
    let fetch = runs(&bench.offer(0, &stage)).unwrap();
    let revert = action(2, "db", revert_of(9, None));
    assert_eq!(bench.offer(0, &revert), [Effect::Interrupt(fetch)]);
    let effects = bench.ended(0, fetch, Outcome::Interrupted(None));
    let superseded = undone(Fetch, "superseded by action-2");
    assert_eq!(said(&effects), [(1, superseded), (2, Progress::Accepted)]);
}

fn report_of(effects: &[Effect]) -> Report {
    effects
        .iter()
        .find_map(|effect| match effect {
            Effect::Report(report) => Some(report.clone()),
            _ => None,
        })
        .unwrap()
}
