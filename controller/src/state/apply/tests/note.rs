//! Notes on objects.

use trireme_proto::problem::Code;

use super::Log;
use crate::state::command::Body;

fn note(object: &str, text: &str) -> Body {
    Body::Note { object: object.to_owned(), text: text.to_owned() }
}

#[test]
fn a_note_is_kept_replaced_and_removed() {
    let mut log = Log::serving();
    log.apply(note("node/aws-1", "disk is slow")).unwrap();
    log.apply(note("node/aws-1", "disk was replaced")).unwrap();
    let kept = &log.fleet.notes["node/aws-1"];
    assert_eq!((kept.text.as_str(), kept.actor.as_str()), ("disk was replaced", "user/ann"));
    log.apply(note("node/aws-1", "")).unwrap();
    assert!(log.fleet.notes.is_empty());
    let refused = log.apply(note("node/aws-1", "")).unwrap_err();
    assert_eq!(refused.code, Code::NotFound);
}

#[test]
fn a_note_is_on_something_that_there_is() {
    let mut log = Log::serving();
    let upgrade = log.start().unwrap();
    for object in ["region/aws", "service/web", "node/gcp-2", &format!("upgrade/{upgrade}")] {
        log.apply(note(object, "seen")).unwrap();
    }
    let kept = log.fleet.notes.len();
    for object in ["", "aws-1", "node/", "node/none", "disk/aws-1", "upgrade/upgrade-99"] {
        let refused = log.apply(note(object, "seen")).unwrap_err();
        assert_eq!(refused.code, Code::NotFound, "{object}");
    }
    assert_eq!(log.fleet.notes.len(), kept);
}

#[test]
fn notes_are_bounded_in_length_and_number() {
    let mut log = Log::serving();
    let long = "x".repeat(1001);
    assert_eq!(log.apply(note("node/aws-1", &long)).unwrap_err().code, Code::Usage);
    log.apply(note("node/aws-1", &long[1..])).unwrap();
    let one = log.fleet.notes["node/aws-1"].clone();
    for number in 0..999 {
        log.fleet.notes.insert(format!("upgrade/upgrade-{number}"), one.clone());
    }
    assert_eq!(log.apply(note("node/aws-2", "seen")).unwrap_err().code, Code::Conflict);
    log.apply(note("node/aws-1", "there is room for what is there already")).unwrap();
}
