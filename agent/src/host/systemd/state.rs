//! What systemd tells of a unit, in the agent's words; pure.

use super::bus::UnitNow;
use super::dropin;
use super::record::Record;
use crate::host::outside::Stage;
use crate::host::{Exit, RunState};

/// How systemd numbers the ways in which a process ends.
const EXITED: i32 = 1;
const KILLED: i32 = 2;
const DUMPED: i32 = 3;
/// Exit code with which systemd says that it could not run the program at all.
const NOT_RUN: i32 = 203;

impl UnitNow {
    /// Returns whether a process of it runs, or will unless it is stopped.
    pub(super) fn is_up(&self) -> bool {
        !matches!(self.active.as_str(), "inactive" | "failed" | "") || self.job != 0
    }

    /// Returns whether what it starts is exactly this.
    pub(super) fn would_run(&self, argv: &[String]) -> bool {
        self.exec == [dropin::exec(argv)]
    }

    /// Returns whether it had to be killed because it did not end in its time.
    pub(super) fn was_killed(&self) -> bool {
        self.result == "timeout" || (self.ended, self.status) == (KILLED, 9)
    }

    /// Returns how its last run ended, for people.
    pub(super) fn ending(&self) -> String {
        let exit = match self.ended {
            EXITED if self.status == NOT_RUN => {
                format!("{}: systemd could not run its program", Exit::Code(NOT_RUN))
            }
            EXITED => Exit::Code(self.status).to_string(),
            KILLED | DUMPED => Exit::Signal(self.status).to_string(),
            _ => "ended".to_owned(),
        };
        match self.result.as_str() {
            "success" | "exit-code" | "signal" | "core-dump" | "" => exit,
            "start-limit-hit" => format!("{exit}, too often to be started again"),
            "timeout" => "took too long to start or to stop".to_owned(),
            other => format!("{exit}: {other}"),
        }
    }
}

/// Returns whether the unit runs.
pub(super) fn run_state(unit: &str, stage: Option<Stage>, now: &UnitNow) -> RunState {
    let pid = now.pid;
    match stage {
        Some(Stage::Stopping) if now.is_up() => return RunState::Stopping { pid },
        Some(Stage::Stopped | Stage::Stopping) if !now.is_up() => return RunState::Stopped,
        // A unit that ran before the fleet came is no less there.
        None if !now.is_up() => return RunState::NeverStarted,
        Some(_) | None => {}
    }
    let unwell = |what: &str| RunState::Unwell { pid, why: format!("{unit} {what}") };
    match (now.active.as_str(), now.sub.as_str()) {
        ("active" | "reloading", _) => RunState::Running { pid },
        ("activating", "auto-restart" | "auto-restart-queued") => {
            RunState::Backoff { why: format!("{unit} {}", now.ending()) }
        }
        ("activating", _) => unwell("is still starting"),
        ("deactivating", _) => unwell("is stopping"),
        // Something is to be done to it, and has not begun.
        _ if now.job != 0 => unwell("waits for its turn to start"),
        _ => RunState::Broken { why: format!("{unit} {}", now.ending()) },
    }
}

/// Returns whether a start that was begun has come true: it is another run than before, of the
/// program of the release.
pub(super) fn is_started(record: &Record, now: &UnitNow) -> bool {
    !now.invocation.is_empty()
        && now.invocation != record.before
        && now.would_run(&record.target.argv)
}

#[cfg(test)]
mod tests {
    use trireme_proto::id::ActionId;
    use trireme_proto::time::Span;

    use super::super::record::Target;
    use super::*;
    use crate::host::tests::support;

    fn unit(active: &str, sub: &str) -> UnitNow {
        let pid = u32::from(active == "active") * 7;
        UnitNow {
            active: active.to_owned(),
            sub: sub.to_owned(),
            invocation: "new".to_owned(),
            pid,
            result: "success".to_owned(),
            ..UnitNow::default()
        }
    }

    fn ended(how: i32, status: i32, result: &str) -> UnitNow {
        UnitNow { ended: how, status, result: result.to_owned(), ..unit("failed", "failed") }
    }

    #[test]
    fn what_systemd_tells_is_what_is_told() {
        let wanted = Some(Stage::Running);
        let broken = |why: &str| RunState::Broken { why: format!("web.service {why}") };
        let unwell = |why: &str| RunState::Unwell { pid: 0, why: format!("web.service {why}") };
        let restarting = UnitNow { ended: EXITED, status: 3, ..unit("activating", "auto-restart") };
        for (now, expected) in [
            (unit("active", "running"), RunState::Running { pid: 7 }),
            (unit("active", "exited"), RunState::Running { pid: 7 }),
            (unit("activating", "start"), unwell("is still starting")),
            (unit("deactivating", "stop-sigterm"), unwell("is stopping")),
            (restarting, RunState::Backoff { why: "web.service exited with code 3".to_owned() }),
            (ended(EXITED, 3, "exit-code"), broken("exited with code 3")),
            (
                ended(EXITED, 203, "exit-code"),
                broken("exited with code 203: systemd could not run its program"),
            ),
            (ended(KILLED, 11, "signal"), broken("ended by signal 11")),
            (ended(KILLED, 9, "oom-kill"), broken("ended by signal 9: oom-kill")),
            (
                ended(EXITED, 1, "start-limit-hit"),
                broken("exited with code 1, too often to be started again"),
            ),
            (ended(0, 0, "timeout"), broken("took too long to start or to stop")),
            (ended(EXITED, 0, "success"), broken("exited with code 0")),
        ] {
            assert_eq!(run_state("web.service", wanted, &now), expected, "{now:?}");
        }
        let queued = UnitNow { job: 5, ..unit("inactive", "dead") };
        assert_eq!(
            run_state("web.service", wanted, &queued),
            unwell("waits for its turn to start")
        );
    }

    #[test]
    fn what_was_stopped_is_stopped_and_what_was_there_before_runs() {
        let (up, down) = (unit("active", "running"), unit("inactive", "dead"));
        let state = |stage, now: &UnitNow| run_state("web.service", stage, now);
        assert_eq!(state(None, &down), RunState::NeverStarted);
        assert_eq!(state(None, &up), RunState::Running { pid: 7 });
        assert_eq!(state(Some(Stage::Stopping), &up), RunState::Stopping { pid: 7 });
        assert_eq!(state(Some(Stage::Stopping), &down), RunState::Stopped);
        // A program that ends badly when it is asked to has ended all the same.
        let badly = ended(EXITED, 1, "exit-code");
        assert_eq!(state(Some(Stage::Stopped), &badly), RunState::Stopped);
        // Whoever started it: that it runs is the truth.
        assert_eq!(state(Some(Stage::Stopped), &up), RunState::Running { pid: 7 });
    }

    #[test]
    fn a_start_is_proved_by_another_run_of_the_right_program() {
        let spec = support::spec("1.0.0", "file:///x", support::project("1.0.0", 1).digest(), &[]);
        let argv = vec!["/opt/web".to_owned(), "$1".to_owned()];
        let record = |before: &str| Record {
            spec: spec.digest(),
            version: spec.release.version.clone(),
            target: Target {
                unit: "web.service".to_owned(),
                argv: argv.clone(),
                env: std::collections::BTreeMap::new(),
                stop_timeout: Span(1),
            },
            action: ActionId(1),
            boot: String::new(),
            stage: Stage::Starting,
            before: before.to_owned(),
        };
        let kept = vec!["/opt/web".to_owned(), "$$1".to_owned()];
        let now = UnitNow { exec: vec![kept.clone()], ..unit("active", "running") };
        assert!(is_started(&record("old"), &now));
        assert!(is_started(&record(""), &now), "it had never run");
        assert!(!is_started(&record("new"), &now), "it is the run of before");
        let never = UnitNow { invocation: String::new(), ..now.clone() };
        assert!(!is_started(&record(""), &never));
        for exec in [vec![], vec![argv.clone()], vec![kept.clone(), kept]] {
            let other = UnitNow { exec, ..now.clone() };
            assert!(!is_started(&record("old"), &other), "it runs something else");
        }
    }
}
