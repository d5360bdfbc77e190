//! What a project's containers say together; pure.
//!
//! A project runs if every service of the release has a container and all of them run and call
//! themselves healthy, where they call themselves anything. The worst of them speaks for all.

use std::collections::BTreeMap;

use trireme_proto::model::Image;

use super::engine::{Container, Health, Status};
use super::record::{Before, Project, Record};
use crate::host::RunState;
use crate::host::outside::Stage;

/// Returns whether the project runs, given its own containers.
pub(super) fn run_state(
    project: &Project,
    stage: Option<Stage>,
    containers: &[Container],
) -> RunState {
    let pid = newest(containers).map_or(0, |one| one.pid);
    let any_up = containers.iter().any(Container::is_up);
    match stage {
        Some(Stage::Stopping) if any_up => return RunState::Stopping { pid },
        Some(Stage::Stopped | Stage::Stopping) if !any_up => return RunState::Stopped,
        // A project that was there before the fleet came is no less there.
        None if !any_up => return RunState::NeverStarted,
        Some(_) | None => {}
    }
    let mut worst = RunState::Running { pid };
    for service in &project.services {
        let mut own = containers.iter().filter(|one| one.service == *service).peekable();
        let found = if own.peek().is_none() {
            RunState::Broken { why: format!("{service} has no container") }
        } else {
            own.map(|one| one_state(one, pid)).max_by_key(badness).unwrap_or(worst.clone())
        };
        if badness(&found) > badness(&worst) {
            worst = found;
        }
    }
    worst
}

fn one_state(one: &Container, pid: u32) -> RunState {
    let name = &one.service;
    match (one.status, one.health) {
        (Status::Running, None | Some(Health::Healthy)) => RunState::Running { pid },
        (Status::Running, Some(Health::Starting)) => {
            RunState::Unwell { pid, why: format!("{name} calls itself starting") }
        }
        (Status::Running, Some(Health::Unhealthy)) => {
            RunState::Unwell { pid, why: format!("{name} calls itself unhealthy") }
        }
        (Status::Restarting { code }, _) => {
            RunState::Backoff { why: format!("{name} exited with code {code}") }
        }
        (Status::Exited { code }, _) => {
            RunState::Broken { why: format!("{name} exited with code {code}") }
        }
        (Status::Idle, _) => RunState::Broken { why: format!("{name} is held or not started") },
    }
}

fn badness(state: &RunState) -> u8 {
    match state {
        RunState::Unwell { .. } => 1,
        RunState::Backoff { .. } => 2,
        RunState::Broken { .. } => 3,
        RunState::NeverStarted
        | RunState::Stopped
        | RunState::Running { .. }
        | RunState::Stopping { .. }
        | RunState::Exited { .. } => 0,
    }
}

/// Returns the container that was started last: its process stands for the whole run, so that a
/// restart of any of them makes it another run.
fn newest(containers: &[Container]) -> Option<&Container> {
    // The engine words times so that their order is that of the texts.
    containers.iter().filter(|one| one.pid != 0).max_by(|a, b| a.started.cmp(&b.started))
}

/// Returns whether a start that was begun has come true: every service runs the image of the
/// release in a container that was started since.
pub(super) fn is_started(
    record: &Record,
    containers: &[Container],
    images: &BTreeMap<String, String>,
) -> bool {
    let since = |one: &&Container| {
        let before = record.before.get(&one.id);
        before.is_none_or(|before| before.started != one.started)
    };
    record.project.services.iter().all(|service| {
        let right = |one: &&Container| images.get(service).is_some_and(|id| *id == one.image);
        let mut own = containers.iter().filter(|one| one.service == *service).peekable();
        own.peek().is_some() && own.all(|one| right(&one) && since(&one))
    })
}

/// Returns the times the engine has started containers again since the project's own start.
pub(super) fn restarts(before: &BTreeMap<String, Before>, containers: &[Container]) -> u64 {
    let since = |one: &Container| {
        // A container that is started anew counts from zero.
        let known = before.get(&one.id).map_or(0, |before| before.restarts);
        if one.restarts < known { one.restarts } else { one.restarts - known }
    };
    containers.iter().map(since).sum()
}

/// Returns the images of a release that are not among those found.
pub(super) fn missing<'a>(
    images: &'a BTreeMap<String, Image>,
    found: &BTreeMap<String, String>,
) -> Vec<&'a Image> {
    images.iter().filter(|(service, _)| !found.contains_key(*service)).map(|(_, i)| i).collect()
}

#[cfg(test)]
mod tests {
    use trireme_proto::id::ActionId;
    use trireme_proto::time::Span;

    use super::*;
    use crate::host::tests::support;

    fn project() -> Project {
        Project {
            name: "dvn".to_owned(),
            file: "/opt/dvn.yml".to_owned(),
            services: vec!["api".to_owned(), "relay".to_owned()],
            stop_timeout: Span(1000),
            env: BTreeMap::new(),
        }
    }

    fn at(service: &str, status: Status, health: Option<Health>) -> Container {
        let pid = u32::from(status == Status::Running) * 7;
        Container {
            id: format!("{service}-1"),
            service: service.to_owned(),
            image: "sha256:new".to_owned(),
            status,
            health,
            started: "2026-01-01T00:00:01.5Z".to_owned(),
            restarts: 0,
            pid,
            restart: "no".to_owned(),
        }
    }

    fn up(service: &str) -> Container {
        at(service, Status::Running, None)
    }

    #[test]
    fn the_worst_container_speaks_for_the_project() {
        let (running, wanted) = (RunState::Running { pid: 7 }, Some(Stage::Running));
        let broken = |why: &str| RunState::Broken { why: why.to_owned() };
        let unwell = |why: &str| RunState::Unwell { pid: 7, why: why.to_owned() };
        let relay = |status, health| vec![up("api"), at("relay", status, health)];
        for (found, expected) in [
            (relay(Status::Running, None), running.clone()),
            (relay(Status::Running, Some(Health::Healthy)), running),
            (relay(Status::Running, Some(Health::Starting)), unwell("relay calls itself starting")),
            (
                relay(Status::Running, Some(Health::Unhealthy)),
                unwell("relay calls itself unhealthy"),
            ),
            (
                relay(Status::Restarting { code: 3 }, None),
                RunState::Backoff { why: "relay exited with code 3".to_owned() },
            ),
            (relay(Status::Exited { code: 0 }, None), broken("relay exited with code 0")),
            (relay(Status::Idle, None), broken("relay is held or not started")),
            (vec![up("api")], broken("relay has no container")),
        ] {
            assert_eq!(run_state(&project(), wanted, &found), expected);
        }
    }

    #[test]
    fn what_was_stopped_is_stopped_and_what_was_there_before_runs() {
        let down = [at("api", Status::Exited { code: 0 }, None), up("relay")];
        let (all, none) = ([up("api"), up("relay")], &down[..1]);
        let state = |stage, found: &[Container]| run_state(&project(), stage, found);
        assert_eq!(state(None, none), RunState::NeverStarted);
        assert_eq!(state(None, &all), RunState::Running { pid: 7 });
        assert_eq!(state(Some(Stage::Stopping), &down), RunState::Stopping { pid: 7 });
        assert_eq!(state(Some(Stage::Stopping), none), RunState::Stopped);
        assert_eq!(state(Some(Stage::Stopped), none), RunState::Stopped);
        // Whoever started it: that it runs is the truth.
        assert_eq!(state(Some(Stage::Stopped), &all), RunState::Running { pid: 7 });
    }

    #[test]
    fn a_restart_of_any_container_is_another_run() {
        let mut found = [up("api"), up("relay")];
        found[1].pid = 8;
        found[1].started = "2026-01-01T00:00:02Z".to_owned();
        assert_eq!(run_state(&project(), None, &found), RunState::Running { pid: 8 });
    }

    #[test]
    fn a_start_is_proved_by_new_starts_of_the_right_images() {
        let spec = support::project("1.0.0", 1);
        let images = ["api", "relay"].map(|name| (name.to_owned(), "sha256:new".to_owned()));
        let (images, found) = (BTreeMap::from(images), [up("api"), up("relay")]);
        let record = |before: &[Container]| Record {
            spec: spec.digest(),
            version: spec.release.version.clone(),
            project: project(),
            action: ActionId(1),
            boot: String::new(),
            stage: Stage::Starting,
            before: crate::host::compose::record::snapshot(before),
            held_down: Vec::new(),
        };
        assert!(is_started(&record(&[]), &found, &images));
        assert!(!is_started(&record(&found), &found, &images), "they were there before");
        assert!(!is_started(&record(&found[..1]), &found, &images), "one was there before");
        let mut earlier = found.clone();
        for one in &mut earlier {
            "2026-01-01T00:00:00Z".clone_into(&mut one.started);
        }
        assert!(is_started(&record(&earlier), &found, &images), "they were started again");
        assert!(!is_started(&record(&[]), &found[..1], &images), "one is missing");
        let mut other = found;
        "sha256:old".clone_into(&mut other[0].image);
        assert!(!is_started(&record(&[]), &other, &images), "one runs another image");
    }

    #[test]
    fn restarts_count_from_the_start() {
        let mut found = [up("api"), up("relay")];
        found[0].restarts = 3;
        let before = crate::host::compose::record::snapshot(&found);
        assert_eq!(restarts(&before, &found), 0);
        (found[0].restarts, found[1].restarts) = (5, 1);
        assert_eq!(restarts(&before, &found), 3);
        // The engine counts anew after a start by hand.
        found[0].restarts = 1;
        assert_eq!(restarts(&before, &found), 2);
    }
}
