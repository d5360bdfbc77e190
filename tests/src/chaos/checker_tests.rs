//! Histories made by hand, good and bad: a checker that passes the bad ones proves nothing.

use std::time::Duration;

use proptest::prelude::*;

use super::checker::{Op, Verdict, check};
use super::history::{Event, What, Written};
use super::register::{Register, RegisterAct, Revision, RevisionAct, registers, revisions};

use RegisterAct::{Read, Write};

const LIMIT: Duration = Duration::from_mins(1);

fn op<A>(client: u64, call: u64, end: u64, act: A) -> Op<A> {
    Op { client, call, end: Some(end), act }
}

fn open<A>(client: u64, call: u64, act: A) -> Op<A> {
    Op { client, call, end: None, act }
}

fn is_good(history: &[Op<RegisterAct>]) -> bool {
    match check(&Register, history, LIMIT) {
        Verdict::Linearizable => true,
        Verdict::Violation(_) => false,
        Verdict::Unknown(why) => panic!("{why}"),
    }
}

#[test]
fn one_after_the_other_is_good() {
    assert!(is_good(&[]));
    assert!(is_good(&[op(1, 0, 1, Read(None)), op(1, 2, 3, Write(1)), op(2, 4, 5, Read(Some(1)))]));
}

#[test]
fn a_stale_read_is_found() {
    let history = [
        op(1, 0, 1, Write(1)),
        op(1, 2, 3, Write(2)),
        // By another client, long after both writes were acknowledged.
        op(2, 4, 5, Read(Some(1))),
    ];
    let Verdict::Violation(story) = check(&Register, &history, LIMIT) else { panic!() };
    assert!(story.contains("client 2, 0.000 ms to 0.000 ms: Read(Some(1))"), "{story}");
}

#[test]
fn a_lost_write_is_found() {
    assert!(!is_good(&[op(1, 0, 1, Write(1)), op(2, 2, 3, Read(None))]));
}

#[test]
fn a_write_seen_and_then_unseen_is_found() {
    // The write has no answer, but once it was read it has happened.
    let seen = [open(1, 0, Write(1)), op(2, 1, 2, Read(Some(1))), op(3, 3, 4, Read(None))];
    assert!(!is_good(&seen));
    assert!(is_good(&[open(1, 0, Write(1)), op(2, 1, 2, Read(None)), op(3, 3, 4, Read(Some(1)))]));
}

#[test]
fn a_phantom_is_found() {
    assert!(!is_good(&[op(1, 0, 1, Write(1)), op(2, 2, 3, Read(Some(7)))]));
    // Nor may a value be read before anybody asked for it to be written.
    assert!(!is_good(&[op(2, 0, 1, Read(Some(1))), op(1, 2, 3, Write(1))]));
}

#[test]
fn two_writers_swapped_are_found() {
    // Both writes are concurrent: either order is good, but not both.
    let writes = [op(1, 0, 10, Write(1)), op(2, 0, 10, Write(2))];
    let reads = |first, second| {
        let reads = [op(3, 11, 12, Read(Some(first))), op(4, 13, 14, Read(Some(second)))];
        is_good(&[writes.as_slice(), reads.as_slice()].concat())
    };
    assert!(reads(1, 1) && reads(2, 2));
    assert!(!reads(1, 2) && !reads(2, 1));
}

#[test]
fn concurrent_operations_may_be_ordered_either_way() {
    let concurrent = |found| {
        is_good(&[
            op(1, 0, 1, Write(1)),
            op(1, 2, 8, Write(2)),
            op(2, 3, 7, Read(Some(found))),
            op(3, 9, 10, Read(Some(2))),
        ])
    };
    assert!(concurrent(1) && concurrent(2));
    // Two reads in a row may go from old to new, not back.
    let pair = |first, second| {
        is_good(&[
            op(1, 0, 1, Write(1)),
            op(1, 2, 20, Write(2)),
            op(2, 3, 4, Read(Some(first))),
            op(3, 5, 6, Read(Some(second))),
        ])
    };
    assert!(pair(1, 2) && !pair(2, 1));
}

#[test]
fn an_unknown_write_may_come_late_or_never_but_not_before_its_call() {
    let late = [
        open(1, 2, Write(1)),
        op(2, 3, 4, Write(2)),
        op(2, 5, 6, Read(Some(2))),
        op(2, 50, 60, Read(Some(1))),
    ];
    assert!(is_good(&late));
    assert!(is_good(&late[..3]));
    assert!(!is_good(&[op(2, 0, 1, Read(Some(1))), open(1, 2, Write(1))]));
}

#[test]
fn many_unknown_writes_do_not_make_it_slow() {
    let mut history = Vec::new();
    for number in 0..200 {
        history.push(open(number, number * 10, Write(1000 + number)));
        history.push(op(0, number * 10 + 1, number * 10 + 2, Write(number)));
        let found = if number % 10 == 9 { 1000 + number } else { number };
        history.push(op(0, number * 10 + 3, number * 10 + 4, Read(Some(found))));
    }
    let events = events_of(&history);
    let pruned = &registers(&events, 1)[0];
    assert_eq!(pruned.len(), 400 + 20, "what nobody read is left out");
    assert!(is_good(pruned));
}

fn events_of(history: &[Op<RegisterAct>]) -> Vec<Event> {
    let event = |op: &Op<RegisterAct>| {
        let written = op.end.map_or(Written::Unknown, Written::At);
        let what = match op.act {
            Read(found) => What::Read { key: 0, found },
            Write(value) => What::Write { key: 0, value, base: None, written },
        };
        let end = op.end.unwrap_or(u64::MAX);
        Event { client: op.client, call: op.call, end, through: String::new(), what }
    };
    history.iter().map(event).collect()
}

#[test]
fn a_search_that_takes_too_long_says_so() {
    // Writes of which any subset may have happened, and a read that contradicts them all.
    let mut history: Vec<_> = (0..40).map(|n| open(n, n, Write(n))).collect();
    history.extend((0..40).map(|n| op(99, 100 + 2 * n, 101 + 2 * n, Read(Some(n % 20)))));
    history.push(op(99, 1000, 1001, Read(Some(4711))));
    let verdict = check(&Register, &history, Duration::from_millis(50));
    assert!(!matches!(verdict, Verdict::Linearizable), "{verdict:?}");
}

fn revision(history: &[Op<RevisionAct>]) -> bool {
    check(&Revision { initial: 5 }, history, LIMIT) == Verdict::Linearizable
}

#[test]
fn a_base_revision_is_a_compare_and_set() {
    use RevisionAct::{Conflict, Count, CountIf, Read};
    let won = |client, call, end| op(client, call, end, CountIf { base: 5, after: Some(6) });
    assert!(revision(&[won(1, 0, 9), op(2, 0, 9, Conflict { base: 5, seen: 6 })]));
    assert!(!revision(&[won(1, 0, 9), won(2, 0, 9)]), "two have won");
    assert!(!revision(&[op(1, 0, 1, Conflict { base: 5, seen: 5 })]), "refused without a cause");
    assert!(!revision(&[op(1, 0, 1, Count(Some(6))), op(2, 2, 3, Read(5))]), "a stale read");
    assert!(
        !revision(&[op(1, 0, 1, Count(Some(6))), op(1, 2, 3, Count(Some(6)))]),
        "applied twice"
    );
    // Three without an answer, of which two have happened.
    let unknown = |client| open(client, 0, Count(None));
    assert!(revision(&[unknown(1), unknown(2), unknown(3), op(4, 5, 6, Read(7))]));
    assert!(!revision(&[unknown(1), unknown(2), unknown(3), op(4, 5, 6, Read(9))]));
    // A write that depends on a revision cannot happen at another.
    let maybe = [open(1, 2, CountIf { base: 5, after: None }), op(2, 0, 1, Count(Some(6)))];
    let then = |found| revision(&[maybe.as_slice(), &[op(3, 3, 4, Read(found))]].concat());
    assert!(then(6) && !then(7));
}

#[test]
fn unknown_counts_that_say_the_same_are_tried_once() {
    let mut history: Vec<_> = (0..60).map(|n| open(n, n, RevisionAct::Count(None))).collect();
    history.push(op(99, 100, 101, RevisionAct::Read(35)));
    history.push(op(99, 102, 103, RevisionAct::Read(66)));
    assert!(!revision(&history), "sixty writes make no sixty-one");
    let _last = history.pop();
    assert!(revision(&history));
}

#[test]
fn events_are_dealt_out_to_the_objects_they_are_about() {
    let event = |call, what| Event { client: 1, call, end: call + 1, through: String::new(), what };
    let write = |key, base, written| What::Write { key, value: 7, base, written };
    let events = [
        event(0, write(0, None, Written::At(6))),
        event(2, write(1, Some(5), Written::Conflict(6))),
        event(4, What::ReadAll { revision: 6, found: vec![Some(7), None] }),
        event(6, What::Read { key: 1, found: None }),
        event(8, write(1, Some(6), Written::Unknown)),
    ];
    let registers = registers(&events, 2);
    let acts = |key: usize| registers[key].iter().map(|op| op.act.clone()).collect::<Vec<_>>();
    assert_eq!(acts(0), [Write(7), Read(Some(7))]);
    assert_eq!(acts(1), [Read(None), Read(None)]);
    let revisions = revisions(&events);
    assert_eq!(
        revisions.iter().map(|op| op.act.clone()).collect::<Vec<_>>(),
        [
            RevisionAct::Count(Some(6)),
            RevisionAct::Conflict { base: 5, seen: 6 },
            RevisionAct::Read(6),
            RevisionAct::CountIf { base: 6, after: None },
        ]
    );
    assert_eq!(revisions[3].end, None);
    assert!(revision(&revisions));
}

/// Tries every order, without a shortcut.
fn brute(state: Option<u64>, history: &[Op<RegisterAct>], done: &mut Vec<usize>) -> bool {
    use super::checker::Model as _;
    let left: Vec<usize> = (0..history.len()).filter(|op| !done.contains(op)).collect();
    if left.iter().all(|op| history[*op].end.is_none()) {
        return true;
    }
    let first_end = left.iter().filter_map(|op| history[*op].end).min().unwrap_or(u64::MAX);
    for op in left.into_iter().filter(|op| history[*op].call <= first_end) {
        if let Some(next) = Register.step(&state, &history[op].act) {
            done.push(op);
            if brute(next, history, done) {
                return true;
            }
            done.pop();
        }
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn agrees_with_a_search_that_takes_no_shortcuts(
        drawn in prop::collection::vec((0_u64..12, 1_u64..8, 0_u64..4, 0_u8..8), 1..7)
    ) {
        let mut history = Vec::new();
        for (value, (call, length, read, kind)) in (1..).zip(drawn) {
            let act = if kind < 4 { Read((read > 0).then_some(read)) } else { Write(value) };
            let is_open = kind == 7;
            let end = (!is_open).then_some(call + length);
            history.push(Op { client: value, call, end, act });
        }
        let expected = brute(None, &history, &mut Vec::new());
        prop_assert_eq!(is_good(&history), expected);
        // What is left out of a history changes nothing.
        let pruned = &registers(&events_of(&history), 1)[0];
        prop_assert_eq!(is_good(pruned), expected);
    }
}
