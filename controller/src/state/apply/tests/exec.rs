//! Programs run for admins: what stands in the audit, and which of two requests may go on.

use trireme_proto::time::Span;

use super::{Log, Outcome, Position, apply};
use crate::state::ExecStep;
use crate::state::command::{Body, Command};

fn begin(id: &str) -> Body {
    let step = ExecStep::Begin {
        id: id.to_owned(),
        service: "web".parse().unwrap(),
        node: "aws-1".parse().unwrap(),
        argv: vec!["ls".to_owned(), "a \"b\"\n".to_owned()],
        reason: "ticket 7".to_owned(),
        limit: Span::secs(30),
        debug: false,
    };
    Body::Exec { step }
}

/// DVN-05: of two requests with one origin the second is told that it was not the first.
#[test]
fn dvn_05_a_repeated_request_is_answered_with_the_name_of_the_first() {
    let mut log = Log::serving();
    let origin = Some(("user/ann/cli".to_owned(), 1));
    let of = |log: &Log, id| Command { origin: origin.clone(), ..log.command(begin(id)) };
    let (first, second) = (of(&log, "a"), of(&log, "b"));
    let begun = Outcome::Begun { id: "a".to_owned() };
    assert_eq!(log.apply_command(&first).unwrap(), begun);
    assert_eq!(log.apply_command(&second).unwrap(), begun);
    assert_eq!(log.apply_command(&first).unwrap(), begun);
}

/// DVN-05: the whole command and the reason before, the exit code after, under one name.
#[test]
fn dvn_05_the_audit_has_the_command_the_reason_and_the_exit_code() {
    let mut log = Log::serving();
    let end = ExecStep::End {
        id: "a".to_owned(),
        service: "web".parse().unwrap(),
        node: "aws-1".parse().unwrap(),
        end: "exit code 3".to_owned(),
    };
    let entries = [begin("a"), Body::Exec { step: end }].map(|body| {
        let place = Position { index: log.fleet.index + 1, term: 1 };
        let command = log.command(body);
        apply(&mut log.fleet, place, &command).1.audit.unwrap()
    });
    for entry in &entries {
        assert_eq!(entry.action, "service.exec");
        assert_eq!(entry.target, "node/aws-1/service/web exec/a");
    }
    let begins = "done: begins [\"ls\", \"a \\\"b\\\"\\n\"] for at most 30s, because ticket 7";
    assert_eq!(entries[0].result, begins);
    assert_eq!(entries[1].result, "done: exit code 3");
}
