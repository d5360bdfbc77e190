//! Which steps follow each other, and how an action ends; by the whole list of effects.

use trireme_proto::action::Step::{Disarm, Fetch, Gate, Point, Quiesce, Start, Stop};
use trireme_proto::action::{ActionKind, Progress, Report, Switch};
use trireme_proto::id::ActionId;
use trireme_proto::time::Span;

use super::super::{Change, Direction, Effect, Failure, Look, Outcome, Record, Seen, Task, Work};
use super::*;

#[test]
fn accepting_is_on_disk_before_it_is_said() {
    let mut bench = Bench::new();
    let action = action(1, "web", switch_to(spec("web", "2"), Some(&spec("web", "1"))));
    let report = Report { seq: 1, action: ActionId(1), progress: Progress::Accepted };
    let change = Change::Accepted { action: action.clone(), at: 7, cut: None };
    assert_eq!(
        bench.offer(7, &action),
        [
            Effect::Persist(Record { change, reports: vec![report.clone()] }),
            Effect::Report(report),
            Effect::Look(Look { action: ActionId(1), service: "web".parse().unwrap() }),
        ]
    );
}

#[test]
fn each_step_is_journaled_as_intended_before_and_as_done_after() {
    let mut bench = Bench::new();
    let stop = bench.switching(Stop);
    let report =
        Report { seq: 5, action: ActionId(1), progress: Progress::Running { step: Point } };
    assert_eq!(
        bench.done(0, stop),
        [
            Effect::Persist(Record { change: Change::Done { step: Stop }, reports: vec![] }),
            Effect::Persist(Record {
                change: Change::Intent { step: Point },
                reports: vec![report.clone()],
            }),
            Effect::Report(report),
            Effect::Run(Task {
                key: key(1, Direction::Forward, Point),
                service: "web".parse().unwrap(),
                work: Work::Point { spec: Some(spec("web", "2")) },
            }),
        ]
    );
}

#[test]
fn a_switch_takes_all_its_steps_and_arms_the_revert() {
    let mut bench = Bench::new();
    bench.offer(0, &action(1, "web", switch_to(spec("web", "2"), Some(&spec("web", "1")))));
    let effects = bench.looked(0, 1, running("1"));
    let (steps, last) = steps_run(&mut bench, 50, effects);
    assert_eq!(steps, [Fetch, Quiesce, Stop, Point, Start, Gate]);
    assert_eq!(said(&last), [(1, Progress::Done)]);
    let armed = bench.core.state().services[&"web".parse().unwrap()].armed.clone().unwrap();
    assert_eq!((armed.previous, armed.due), (Some(spec("web", "1")), 50 + REVERT_AFTER));
    assert_eq!(bench.core.next_wake(), Some(50 + REVERT_AFTER));
}

#[test]
fn a_first_start_stops_nothing() {
    let mut bench = Bench::new();
    bench.offer(0, &action(1, "web", switch_to(spec("web", "1"), None)));
    let effects = bench.looked(0, 1, Seen::default());
    let (steps, _) = steps_run(&mut bench, 0, effects);
    assert_eq!(steps, [Fetch, Point, Start, Gate]);
}

/// DVN-04: a stop keeps what the service is pointed at, and arms nothing.
#[test]
fn a_halt_stops_what_runs_and_leaves_it_pointed_at() {
    let mut bench = Bench::new();
    bench.offer(0, &action(1, "web", halt(Some(&spec("web", "1")))));
    let effects = bench.looked(0, 1, running("1"));
    let (steps, last) = steps_run(&mut bench, 50, effects);
    assert_eq!(steps, [Quiesce, Stop]);
    assert_eq!(said(&last), [(1, Progress::Done)]);
    assert_eq!(bench.core.next_wake(), None);
}

#[test]
fn a_halt_that_fails_half_way_is_undone() {
    let mut bench = Bench::new();
    bench.offer(0, &action(1, "web", halt(Some(&spec("web", "1")))));
    let effects = bench.looked(0, 1, running("1"));
    let quiesced = bench.done(0, runs(&effects).unwrap());
    let stop = runs(&quiesced).unwrap();
    let effects = bench.ended(0, stop, Outcome::Failed("it hangs".to_owned()));
    let (steps, last) = steps_run(&mut bench, 0, effects);
    assert_eq!(steps, [Stop, Point, Start, Gate]);
    assert_eq!(said(&last), [(1, undone(Stop, "it hangs"))]);
}

#[test]
fn drift_is_refused_before_anything_is_touched() {
    let mut bench = Bench::new();
    bench.offer(0, &action(1, "web", switch_to(spec("web", "3"), Some(&spec("web", "1")))));
    let effects = bench.looked(0, 1, running("2"));
    let (one, two) = (spec("web", "1").digest().short(), spec("web", "2").digest().short());
    let reason = format!(
        "drift: the plan expects {one} to run here, but it is {two}; plan the upgrade anew"
    );
    assert_eq!(said(&effects), [(1, undone(Fetch, &reason))]);
    assert_eq!(bench.core.state().current, None);
}

#[test]
fn a_failed_fetch_undoes_nothing() {
    let mut bench = Bench::new();
    let fetch = bench.switching(Fetch);
    let effects = bench.ended(0, fetch, Outcome::Failed("digest differs".to_owned()));
    assert_eq!(said(&effects), [(1, undone(Fetch, "digest differs"))]);
    assert_eq!(runs(&effects), None);
}

#[test]
fn a_failed_gate_brings_back_what_ran_before() {
    let mut bench = Bench::new();
    let gate = bench.switching(Gate);
    let effects = bench.ended(5, gate, Outcome::Failed("health: 500".to_owned()));
    let failure = Failure { step: Gate, reason: "health: 500".to_owned() };
    let steps = vec![Stop, Point, Start, Gate];
    assert_eq!(
        effects[0],
        Effect::Persist(Record {
            change: Change::Undoing { at: 5, failure, steps },
            reports: vec![]
        })
    );
    let stop = runs(&effects).unwrap();
    assert_eq!(stop, key(1, Direction::Undo, Stop));
    let effects = bench.done(5, stop);
    let point = Work::Point { spec: Some(spec("web", "1")) };
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Run(task) if task.work == point)),
        "the undo must point at the recorded previous release"
    );
    let (steps, last) = steps_run(&mut bench, 5, effects);
    assert_eq!(steps, [Point, Start, Gate]);
    assert_eq!(said(&last), [(1, undone(Gate, "health: 500"))]);
}

#[test]
fn undoing_a_first_start_points_at_nothing() {
    let mut bench = Bench::new();
    bench.offer(0, &action(1, "web", switch_to(spec("web", "1"), None)));
    let effects = bench.looked(0, 1, Seen::default());
    let gate = bench.until(0, effects, Gate);
    let effects = bench.ended(0, gate, Outcome::Failed("exited with 1".to_owned()));
    let (steps, last) = steps_run(&mut bench, 0, effects);
    assert_eq!(steps, [Stop, Point]);
    assert_eq!(said(&last), [(1, undone(Gate, "exited with 1"))]);
}

#[test]
fn what_did_not_serve_before_need_not_serve_after_an_undo() {
    let mut bench = Bench::new();
    bench.offer(0, &action(1, "web", switch_to(spec("web", "2"), Some(&spec("web", "1")))));
    let effects = bench.looked(0, 1, Seen { serving: false, ..running("1") });
    let gate = bench.until(0, effects, Gate);
    let effects = bench.ended(0, gate, Outcome::Failed("no".to_owned()));
    let (steps, last) = steps_run(&mut bench, 0, effects);
    assert_eq!(steps, [Stop, Point, Start]);
    assert_eq!(said(&last), [(1, undone(Gate, "no"))]);
}

#[test]
fn a_failed_undo_is_dirty() {
    let mut bench = Bench::new();
    let gate = bench.switching(Gate);
    let effects = bench.ended(0, gate, Outcome::Failed("bad".to_owned()));
    let start = bench.until(0, effects, Start);
    let effects = bench.ended(0, start, Outcome::Failed("no memory".to_owned()));
    let reason = "no memory; it was being undone: gate: bad";
    assert_eq!(said(&effects), [(1, dirty(Start, reason))]);
}

#[test]
fn the_deadline_interrupts_the_gate_once_and_undoes() {
    let mut bench = Bench::new();
    let gate = bench.switching(Gate);
    assert_eq!(bench.tick(DEADLINE - 1), []);
    assert_eq!(bench.core.next_wake(), Some(DEADLINE));
    assert_eq!(bench.tick(DEADLINE), [Effect::Interrupt(gate)]);
    assert_eq!(bench.tick(DEADLINE + 1), []);
    let effects = bench.ended(DEADLINE + 2, gate, Outcome::Interrupted(None));
    assert_eq!(runs(&effects), Some(key(1, Direction::Undo, Stop)));
    let gate = bench.until(DEADLINE + 3, effects, Gate);
    assert_eq!(bench.tick(2 * DEADLINE), [], "the undo has its own deadline");
    assert_eq!(bench.tick(2 * DEADLINE + 2), [Effect::Interrupt(gate)]);
    let effects = bench.ended(2 * DEADLINE + 3, gate, Outcome::Interrupted(None));
    let reason = "not done within 10s; it was being undone: gate: not done within 10s";
    assert_eq!(said(&effects), [(1, dirty(Gate, reason))]);
}

#[test]
fn a_gate_that_passes_at_the_last_moment_has_passed() {
    let mut bench = Bench::new();
    let gate = bench.switching(Gate);
    bench.tick(DEADLINE);
    assert_eq!(said(&bench.done(DEADLINE, gate)), [(1, Progress::Done)]);
}

#[test]
fn what_a_failed_undo_left_is_started_afresh_by_a_revert() {
    let mut bench = Bench::new();
    let gate = bench.switching(Gate);
    let effects = bench.ended(0, gate, Outcome::Failed("bad".to_owned()));
    let gate = bench.until(0, effects, Gate);
    bench.ended(0, gate, Outcome::Failed("bad too".to_owned()));
    bench.offer(0, &action(2, "web", revert_of(1, Some(spec("web", "1")))));
    let effects = bench.looked(0, 2, Seen { serving: false, ..running("1") });
    let (steps, last) = steps_run(&mut bench, 0, effects);
    assert_eq!(steps, [Stop, Point, Start, Gate]);
    assert_eq!(said(&last), [(2, Progress::Done)]);
}

#[test]
fn a_confirm_disarms_and_may_be_repeated() {
    let mut bench = Bench::new();
    bench.switched();
    for generation in [2, 3] {
        let confirm = action(generation, "web", ActionKind::Confirm { of: ActionId(1) });
        let effects = bench.offer(0, &confirm);
        assert_eq!(
            said(&effects),
            [(generation, Progress::Accepted), (generation, Progress::Done)]
        );
    }
    assert_eq!(bench.core.next_wake(), None);
    assert_eq!(bench.tick(10 * REVERT_AFTER), []);
}

#[test]
fn a_confirm_of_what_is_not_armed_fails() {
    let mut bench = Bench::new();
    let confirm = action(2, "web", ActionKind::Confirm { of: ActionId(1) });
    let effects = bench.offer(0, &confirm);
    let failed = undone(Disarm, "no revert of action-1 is armed here");
    assert_eq!(said(&effects), [(2, Progress::Accepted), (2, failed)]);
}

#[test]
fn an_unconfirmed_switch_is_reverted_alone() {
    let mut bench = Bench::new();
    bench.switched();
    assert_eq!(bench.tick(REVERT_AFTER - 1), []);
    let effects = bench.tick(REVERT_AFTER);
    assert!(matches!(effects[..], [Effect::Persist(_), Effect::Look(_)]));
    let effects = bench.looked(REVERT_AFTER, 1, running("2"));
    let (steps, last) = steps_run(&mut bench, REVERT_AFTER, effects);
    assert_eq!(steps, [Quiesce, Stop, Point, Start, Gate]);
    let reason = "action-1 was not confirmed in time".to_owned();
    assert_eq!(said(&last), [(1, Progress::RevertedAlone { reason })]);
    let effects = bench.offer(0, &action(2, "web", ActionKind::Confirm { of: ActionId(1) }));
    let reason = "action-1 was not confirmed in time and the agent reverted it";
    assert_eq!(said(&effects)[1], (2, undone(Disarm, reason)));
}

#[test]
fn a_revert_does_not_wait_for_work_in_flight_beyond_its_drain() {
    let mut bench = Bench::new();
    bench.switched();
    bench.offer(0, &action(2, "web", revert_of(1, Some(spec("web", "1")))));
    let effects = bench.looked(0, 2, running("2"));
    let quiesce = runs(&effects).unwrap();
    let task = Effect::Run(Task {
        key: quiesce,
        service: "web".parse().unwrap(),
        work: Work::Quiesce { drain: Span(500), in_flight: None },
    });
    assert_eq!(effects.last(), Some(&task));
    let effects = bench.ended(0, quiesce, Outcome::Failed("no answer".to_owned()));
    assert_eq!(runs(&effects), Some(key(2, Direction::Forward, Stop)));
}

/// DVN-04: what is made anew is the new release's; what was before comes back as it was.
#[test]
fn a_recreation_makes_anew_going_forward_and_not_going_back() {
    let mut bench = Bench::new();
    let ActionKind::Switch(switch) = switch_to(spec("web", "1"), Some(&spec("web", "1"))) else {
        panic!("not a switch");
    };
    let kind = ActionKind::Switch(Switch { recreate: true, ..switch });
    bench.offer(0, &action(1, "web", kind));
    let mut effects = bench.looked(0, 1, running("1"));
    let mut starts = Vec::new();
    while let Some(Effect::Run(task)) = effects.last().cloned() {
        let key = task.key;
        if let Work::Start { recreate, .. } = task.work {
            starts.push((key.direction, recreate));
        }
        let fails = key.step == Gate && key.direction == Direction::Forward;
        let outcome = if fails { Outcome::Failed("unwell".to_owned()) } else { Outcome::Done };
        effects = bench.ended(0, key, outcome);
    }
    assert_eq!(starts, [(Direction::Forward, true), (Direction::Undo, false)]);
}
