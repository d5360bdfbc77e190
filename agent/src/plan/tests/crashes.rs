//! What happens after the agent or the machine died, and what of the reports is kept.

use trireme_proto::action::Step::{Arm, Gate, Point, Quiesce, Start, Stop};
use trireme_proto::action::{ActionKind, Progress, Report};
use trireme_proto::id::ActionId;

use super::super::{Change, Direction, Effect, Outcome, Probed, Record, State};
use super::*;

#[test]
fn a_reboot_starts_the_time_to_confirm_anew() {
    let mut bench = Bench::new();
    bench.switched();
    bench.crash();
    bench.restarted(300, true);
    assert_eq!(bench.core.next_wake(), Some(300 + REVERT_AFTER));
    bench.crash();
    assert_eq!(bench.restarted(400, false), []);
    assert_eq!(bench.core.next_wake(), Some(300 + REVERT_AFTER));
}

#[test]
fn a_crash_in_a_step_is_followed_by_a_probe() {
    for (found, next) in [(Probed::Done, Some(Gate)), (Probed::NotDone, Some(Start))] {
        let mut bench = Bench::new();
        let start = bench.switching(Start);
        bench.crash();
        let effects = bench.restarted(1, false);
        assert!(matches!(&effects[..], [Effect::Probe(task)] if task.key == start));
        let effects = bench.core.probed(2, start, found);
        assert_eq!(runs(&bench.keep(effects)).map(|key| key.step), next);
    }
}

#[test]
fn a_step_that_cannot_be_told_is_undone() {
    let mut bench = Bench::new();
    let start = bench.switching(Start);
    bench.crash();
    bench.restarted(1, false);
    let effects = bench.core.probed(2, start, Probed::Unknown);
    let effects = bench.keep(effects);
    let (_, last) = steps_run(&mut bench, 2, effects);
    let reason = "the agent died in it and cannot tell whether it was done";
    assert_eq!(said(&last), [(1, undone(Start, reason))]);
}

#[test]
fn an_undo_step_that_cannot_be_told_is_dirty() {
    let mut bench = Bench::new();
    let gate = bench.switching(Gate);
    let effects = bench.ended(0, gate, Outcome::Failed("bad".to_owned()));
    let point = bench.until(0, effects, Point);
    bench.crash();
    bench.restarted(1, false);
    let effects = bench.core.probed(2, point, Probed::Unknown);
    let effects = bench.keep(effects);
    assert!(matches!(&said(&effects)[..], [(1, Progress::FailedDirty { step: Point, .. })]));
}

#[test]
fn waiting_steps_are_repeated_without_a_probe() {
    for step in [Quiesce, Gate] {
        let mut bench = Bench::new();
        let key = bench.switching(step);
        bench.crash();
        let effects = bench.restarted(1, false);
        assert!(matches!(&effects[..], [Effect::Run(task)] if task.key == key));
    }
}

#[test]
fn a_switch_whose_deadline_passed_while_the_agent_was_dead_is_undone() {
    let mut bench = Bench::new();
    bench.switching(Gate);
    bench.crash();
    let effects = bench.restarted(DEADLINE + 1, false);
    assert_eq!(runs(&effects), Some(key(1, Direction::Undo, Stop)));
}

#[test]
fn an_accepted_action_is_begun_after_a_crash() {
    let mut bench = Bench::new();
    bench.offer(0, &action(1, "web", switch_to(spec("web", "1"), None)));
    bench.crash();
    assert!(matches!(bench.restarted(1, false)[..], [Effect::Look(_)]));
    let mut bench = Bench::new();
    bench.switched();
    let confirm = action(2, "web", ActionKind::Confirm { of: ActionId(1) });
    let effects = bench.core.offer(0, confirm, Some(0));
    // The crash comes right after the first record.
    let state = fold(bench.disk.clone(), &effects[..1]);
    let mut bench = Bench::from(state);
    assert_eq!(said(&bench.restarted(1, false)), [(2, Progress::Done)]);
}

#[test]
fn reports_are_kept_until_they_are_acknowledged() {
    let mut bench = Bench::new();
    let stop = bench.switching(Stop);
    bench.done(0, stop);
    bench.crash();
    let seqs = |bench: &Bench| bench.core.unacked().map(|report| report.seq).collect::<Vec<_>>();
    assert_eq!(seqs(&bench), [1, 2, 3, 4, 5]);
    let effects = bench.core.acked(3);
    bench.keep(effects);
    assert_eq!(seqs(&bench), [4, 5]);
    assert_eq!(bench.core.acked(3), []);
}

#[test]
fn the_longest_absence_of_controllers_does_not_grow_the_queue_beyond_its_limit() {
    let mut state = State::default();
    for seq in 1..=2000 {
        let progress = if seq % 7 == 0 { Progress::Done } else { Progress::Running { step: Arm } };
        let report = Report { seq, action: ActionId(seq), progress };
        state.apply(&Record { change: Change::Acked { seq: 0 }, reports: vec![report] });
    }
    let finals = state.queue.iter().filter(|report| report.progress.is_final()).count();
    assert_eq!((finals, state.queue.len()), (285, 285));
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let mut bench = Bench::new();
    let gate = bench.switching(Gate);
    for stray in [key(1, Direction::Undo, Gate), key(2, Direction::Forward, Gate)] {
        assert_eq!(bench.ended(0, stray, Outcome::Done), []);
    }
    assert_eq!(bench.core.probed(0, gate, Probed::Unknown), []);
    assert_eq!(bench.looked(0, 1, running("1")), []);
    bench.done(0, gate);
    assert_eq!(bench.ended(0, gate, Outcome::Failed("late".to_owned())), []);
}
