//! Services as real processes: they outlive the agent, are found again, and run once.

mod exec;
pub(crate) mod fetch;
mod killed;
mod look;
pub(crate) mod support;

use std::fs;
use std::process::Command;

use trireme_proto::id::ActionId;
use trireme_proto::model::Restart;
use trireme_proto::time::Span;

use self::support::{Place, driven, lines, lives, pid, run, until, web};
use super::record::{Exit, Stage};
use super::{Host as _, HostError, Probed, Quiesced, RunState, Started, Stopped};

const SLEEPS: &str = "exec sleep 600\n";
/// Says what it was told about itself, then lives on.
const TELLS: &str = "env >> env.txt\necho $TRIREME_ACTION $TRIREME_RESTART >> starts.txt\n\
                     exec sleep 600\n";
const STUBBORN: &str = "trap '' TERM\nsleep 600 &\necho $! > child.txt\necho ready > ready.txt\n\
                        while :; do sleep 600; done\n";

#[tokio::test]
async fn a_service_outlives_the_agent_and_is_found_again() {
    let place = Place::new();
    let machine = place.open().await;
    let spec = place.script("1.0.0", SLEEPS);
    let first = run(&machine, &spec, 7).await;
    drop(machine);
    assert!(lives(first));

    let machine = place.open().await;
    assert_eq!(pid(&machine), Some(first));
    assert_eq!(machine.probe_start(&web(), &spec.digest(), ActionId(7)), Probed::Done);
    assert_eq!(machine.probe_stop(&web()), Probed::NotDone);
    let stopped = machine.stop(&web()).await.unwrap();
    assert_eq!(stopped, Stopped { was_running: true, killed: false });
    assert!(!lives(first));
    drop(machine);

    let machine = place.open().await;
    assert_eq!(machine.observe(&web()).state, RunState::Stopped);
    assert_eq!(machine.probe_stop(&web()), Probed::Done);
    assert_eq!(machine.stop(&web()).await.unwrap(), Stopped { was_running: false, killed: false });
}

#[tokio::test]
async fn the_environment_holds_what_is_named_and_nothing_of_the_agents() {
    let place = Place::new();
    let machine = place.open().await;
    let mut spec = place.script("1.0.0", TELLS);
    for (name, value) in [("GREETING", "{service} on {node}"), ("TRIREME_ACTION", "forged")] {
        spec.release.env.insert(name.to_owned(), value.to_owned());
    }
    run(&machine, &spec, 7).await;
    until("it told", || !lines(&place.data("starts.txt")).is_empty()).await;
    let mut names: Vec<String> = lines(&place.data("env.txt"))
        .into_iter()
        .filter(|line| !["PWD=", "_=", "SHLVL=", "OLDPWD="].iter().any(|own| line.starts_with(own)))
        .collect();
    names.sort();
    let instance = format!("TRIREME_INSTANCE={}", place.record().instance);
    assert_eq!(
        names,
        [
            "GREETING=web on aws-1",
            &format!("PATH={}", super::SEARCH_PATH),
            "TRIREME_ACTION=action-7",
            "TRIREME_ADDRESS=127.1.0.1",
            &instance,
            "TRIREME_NODE=aws-1",
            "TRIREME_REGION=aws",
            "TRIREME_RESTART=0",
            "TRIREME_SERVICE=web",
            "TRIREME_VERSION=1.0.0",
        ]
    );
    machine.stop(&web()).await.unwrap();
}

#[tokio::test]
async fn a_second_start_by_the_same_action_does_nothing() {
    let place = Place::new();
    let machine = place.open().await;
    let spec = place.script("1.0.0", TELLS);
    let first = run(&machine, &spec, 7).await;
    assert_eq!(machine.start(&web(), ActionId(7), false).await.unwrap(), Started::Already);
    let error = machine.start(&web(), ActionId(8), false).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "service web already runs version 1.0.0, started by action-7: stop it first"
    );
    assert_eq!(pid(&machine), Some(first));
    until("it told", || !lines(&place.data("starts.txt")).is_empty()).await;
    machine.stop(&web()).await.unwrap();
    assert_eq!(lines(&place.data("starts.txt")), ["action-7 0"]);

    machine.start(&web(), ActionId(7), false).await.unwrap();
    until("it told", || lines(&place.data("starts.txt")).len() == 2).await;
    machine.stop(&web()).await.unwrap();
    // After a stop the same action may start again, but never under the same count.
    assert_eq!(lines(&place.data("starts.txt"))[1], "action-7 1");

    // What it puts back when it is undone is another start.
    let run_before = place.script("0.9.0", TELLS);
    machine.fetch(&run_before).await.unwrap();
    machine.point(&web(), Some(&run_before)).await.unwrap();
    assert_eq!(machine.probe_start(&web(), &run_before.digest(), ActionId(7)), Probed::NotDone);
    machine.start(&web(), ActionId(7), false).await.unwrap();
    assert_eq!(machine.probe_start(&web(), &run_before.digest(), ActionId(7)), Probed::Done);
    until("it told", || lines(&place.data("starts.txt")).len() == 3).await;
    machine.stop(&web()).await.unwrap();
    assert_eq!(lines(&place.data("starts.txt"))[2], "action-7 0");
}

#[tokio::test]
async fn a_process_started_but_not_recorded_is_found_by_its_instance() {
    let place = Place::new();
    let machine = place.open().await;
    let spec = place.script("1.0.0", TELLS);
    let first = run(&machine, &spec, 7).await;
    until("it told", || !lines(&place.data("starts.txt")).is_empty()).await;
    drop(machine);
    // What is on disk when the agent is killed right after the spawn.
    let record = place.record();
    place.write_record(&super::record::RunRecord { stage: Stage::Starting, ..record.clone() });

    let machine = place.open().await;
    assert_eq!(pid(&machine), Some(first));
    assert_eq!(place.record(), record);
    machine.stop(&web()).await.unwrap();
    assert_eq!(lines(&place.data("starts.txt")), ["action-7 0"]);
}

#[tokio::test]
async fn a_process_that_hides_its_environment_is_found_by_its_log() {
    let place = Place::new();
    let machine = place.open().await;
    // As good as a program that overwrites its environment: another one is there to be read.
    let spec = place.script("1.0.0", "exec env -i /bin/sleep 600\n");
    let first = run(&machine, &spec, 7).await;
    until("it hides", || fs::read(format!("/proc/{first}/environ")).unwrap().is_empty()).await;
    drop(machine);
    let record = place.record();
    place.write_record(&super::record::RunRecord { stage: Stage::Starting, ..record });

    let machine = place.open().await;
    assert_eq!(pid(&machine), Some(first));
    machine.stop(&web()).await.unwrap();
    assert!(!lives(first));
}

#[tokio::test]
async fn an_intent_without_a_process_is_carried_out_under_the_next_count() {
    let place = Place::new();
    let machine = place.open().await;
    let spec = place.script("1.0.0", TELLS);
    run(&machine, &spec, 7).await;
    until("it told", || lines(&place.data("starts.txt")).len() == 1).await;
    machine.stop(&web()).await.unwrap();
    drop(machine);
    let record = place.record();
    place.write_record(&super::record::RunRecord { stage: Stage::Starting, ..record });

    let machine = place.open().await;
    until("it told", || lines(&place.data("starts.txt")).len() == 2).await;
    assert_eq!(lines(&place.data("starts.txt")), ["action-7 0", "action-7 1"]);
    machine.stop(&web()).await.unwrap();
}

#[tokio::test]
async fn an_orphan_of_an_earlier_agent_is_adopted_and_its_end_is_seen() {
    let place = Place::new();
    let machine = place.open().await;
    let spec = driven(place.script("1.0.0", SLEEPS), Restart::Never, 10_000);
    run(&machine, &spec, 7).await;
    machine.stop(&web()).await.unwrap();
    drop(machine);
    // setsid forks and leaves: what runs then is nobody's child, as after the agent was killed.
    let record = place.record();
    let mut forked = Command::new("setsid")
        .args(["--fork", "sleep", "600"])
        .env("TRIREME_INSTANCE", &record.instance)
        .spawn()
        .unwrap();
    forked.wait().unwrap();
    place.write_record(&super::record::RunRecord { stage: Stage::Starting, ..record });

    let machine = place.open().await;
    let orphan = pid(&machine).expect("it is found");
    assert_eq!(machine.observe(&web()).restart, 0);
    let number = rustix::process::Pid::from_raw(orphan.try_into().unwrap()).unwrap();
    rustix::process::kill_process(number, rustix::process::Signal::KILL).unwrap();
    until("its end is seen", || pid(&machine).is_none()).await;
    let state = machine.observe(&web()).state;
    assert_eq!(state, RunState::Exited { exit: Exit::Unknown });
}

#[tokio::test]
async fn a_number_that_names_another_process_now_is_left_alone() {
    let place = Place::new();
    let machine = place.open().await;
    let spec = driven(place.script("1.0.0", TELLS), Restart::Never, 10_000);
    run(&machine, &spec, 7).await;
    until("it told", || lines(&place.data("starts.txt")).len() == 1).await;
    machine.stop(&web()).await.unwrap();
    drop(machine);
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let mut record = place.record();
    let id = super::record::ProcessId { pid: stranger.id(), ticks: 1 };
    for stage in [Stage::Running(id), Stage::Stopping(id)] {
        record.stage = stage;
        place.write_record(&record);
        let machine = place.open().await;
        assert_eq!(pid(&machine), None);
        assert!(!machine.stop(&web()).await.unwrap().was_running);
        assert!(lives(stranger.id()));
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn after_a_reboot_what_ran_is_started_and_what_did_not_is_not() {
    let place = Place::new();
    let machine = place.open().await;
    let spec = driven(place.script("1.0.0", TELLS), Restart::Never, 10_000);
    run(&machine, &spec, 7).await;
    until("it told", || lines(&place.data("starts.txt")).len() == 1).await;
    machine.stop(&web()).await.unwrap();
    drop(machine);
    let mut record = place.record();
    record.boot = "another boot".to_owned();
    let id = super::record::ProcessId { pid: std::process::id(), ticks: 1 };
    for (stage, runs) in [
        (Stage::Stopped, false),
        (Stage::Exited { exit: Exit::Code(0) }, false),
        (Stage::Stopping(id), false),
        (Stage::Running(id), true),
        (Stage::Starting, true),
    ] {
        let before = lines(&place.data("starts.txt")).len();
        record.stage = stage;
        place.write_record(&record);
        let machine = place.open().await;
        if runs {
            until("it told", || lines(&place.data("starts.txt")).len() == before + 1).await;
        } else {
            assert_eq!(machine.probe_stop(&web()), Probed::Done, "{stage:?}");
        }
        machine.stop(&web()).await.unwrap();
        drop(machine);
        assert_eq!(lines(&place.data("starts.txt")).len(), before + usize::from(runs));
    }
}

#[tokio::test]
async fn what_does_not_stop_in_time_is_killed_with_all_its_children() {
    let place = Place::new();
    let machine = place.open().await;
    let spec = driven(place.script("1.0.0", STUBBORN), Restart::Always, 100);
    let main = run(&machine, &spec, 7).await;
    until("it is stubborn", || place.data("ready.txt").exists()).await;
    let child: u32 = lines(&place.data("child.txt"))[0].parse().unwrap();
    assert!(lives(child));
    let stopped = machine.stop(&web()).await.unwrap();
    assert_eq!(stopped, Stopped { was_running: true, killed: true });
    assert!(!lives(main) && !lives(child));
    assert_eq!(place.record().stage, Stage::Stopped);
}

#[tokio::test]
async fn what_a_stopped_process_leaves_behind_is_killed() {
    let place = Place::new();
    let machine = place.open().await;
    let text =
        "sleep 600 &\necho $! > child.txt\ntrap 'exit 0' TERM\necho ready > ready.txt\nwait\n";
    let spec = place.script("1.0.0", text);
    run(&machine, &spec, 7).await;
    until("it is ready", || place.data("ready.txt").exists()).await;
    let child: u32 = lines(&place.data("child.txt"))[0].parse().unwrap();
    let stopped = machine.stop(&web()).await.unwrap();
    assert_eq!(stopped, Stopped { was_running: true, killed: false });
    assert!(!lives(child));
}

#[tokio::test]
async fn a_stop_begun_by_a_killed_agent_is_finished_by_the_next() {
    let place = Place::new();
    let machine = place.open().await;
    let spec = place.script("1.0.0", SLEEPS);
    let main = run(&machine, &spec, 7).await;
    drop(machine);
    let mut record = place.record();
    let Stage::Running(id) = record.stage else { panic!("{record:?}") };
    record.stage = Stage::Stopping(id);
    place.write_record(&record);

    let machine = place.open().await;
    until("it is stopped", || machine.probe_stop(&web()) == Probed::Done).await;
    assert!(!lives(main));
    assert_eq!(machine.probe_start(&web(), &spec.digest(), ActionId(7)), Probed::NotDone);
}

#[tokio::test]
async fn a_service_that_ends_is_started_again_or_left_as_its_policy_says() {
    for (restart, code, again) in [
        (Restart::Always, 0, true),
        (Restart::OnFailure, 3, true),
        (Restart::OnFailure, 0, false),
        (Restart::Never, 3, false),
    ] {
        let place = Place::new();
        let machine = place.open().await;
        // Ends by itself the first time only.
        let text = format!(
            "echo $TRIREME_ACTION $TRIREME_RESTART >> starts.txt\n\
             [ $TRIREME_RESTART = 0 ] && exit {code}\nexec sleep 600\n"
        );
        let spec = driven(place.script("1.0.0", &text), restart, 10_000);
        machine.fetch(&spec).await.unwrap();
        machine.point(&web(), Some(&spec)).await.unwrap();
        machine.start(&web(), ActionId(7), false).await.unwrap();
        if again {
            until("it is back", || machine.observe(&web()).restart == 1).await;
            until("it told", || lines(&place.data("starts.txt")).len() == 2).await;
            assert_eq!(lines(&place.data("starts.txt"))[1], "action-7 1");
        } else {
            let exited = RunState::Exited { exit: Exit::Code(code) };
            until("its end is seen", || machine.observe(&web()).state == exited).await;
            assert_eq!(machine.start(&web(), ActionId(7), false).await.unwrap(), Started::Already);
        }
        machine.stop(&web()).await.unwrap();
    }
}

#[tokio::test]
async fn a_stop_ends_the_pause_before_a_restart() {
    let place = Place::new();
    let machine = place.open().await;
    let spec = place.script("1.0.0", "echo . >> starts.txt\nexit 1\n");
    machine.fetch(&spec).await.unwrap();
    machine.point(&web(), Some(&spec)).await.unwrap();
    machine.start(&web(), ActionId(7), false).await.unwrap();
    let pausing = || matches!(machine.observe(&web()).state, RunState::Backoff { .. });
    until("it pauses", pausing).await;
    assert_eq!(machine.probe_stop(&web()), Probed::NotDone);
    machine.stop(&web()).await.unwrap();
    assert_eq!(machine.observe(&web()).state, RunState::Stopped);
    assert_eq!(place.record().stage, Stage::Stopped);
}

#[tokio::test]
async fn a_program_that_cannot_be_started_fails_the_start_and_nothing_is_retried() {
    let place = Place::new();
    let machine = place.open().await;
    let mut spec = place.script("1.0.0", SLEEPS);
    spec.release.argv = vec!["/no/such/program".to_owned()];
    machine.fetch(&spec).await.unwrap();
    let error = machine.start(&web(), ActionId(7), false).await.unwrap_err();
    assert!(matches!(error, HostError::NothingCurrent { .. }), "{error}");
    machine.point(&web(), Some(&spec)).await.unwrap();
    let error = machine.start(&web(), ActionId(7), false).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "service web cannot be started: program /no/such/program does not run"
    );
    assert_eq!(machine.observe(&web()).state, RunState::Stopped);
    assert_eq!(machine.probe_start(&web(), &spec.digest(), ActionId(7)), Probed::NotDone);
}

#[tokio::test]
async fn an_artifact_can_be_the_program_and_pointing_says_what_runs_next() {
    let place = Place::new();
    let machine = place.open().await;
    let mut spec = place.script("1.0.0", "#!/bin/sh\nexec sleep 600\n");
    spec.release.argv = vec!["{artifact}".to_owned()];
    assert_eq!(machine.probe_point(&web(), None), Probed::Done);
    assert_eq!(machine.current(&web()).unwrap(), None);
    run(&machine, &spec, 7).await;
    assert_eq!(machine.current(&web()).unwrap().as_ref(), Some(&spec));
    assert_eq!(machine.probe_point(&web(), Some(&spec.digest())), Probed::Done);
    assert_eq!(machine.probe_point(&web(), None), Probed::NotDone);
    assert_eq!(machine.facts(&web()).version, "1.0.0");
    machine.stop(&web()).await.unwrap();
}

#[tokio::test]
async fn a_wait_for_work_in_flight_ends_when_there_is_none() {
    let place = Place::new();
    let machine = place.open().await;
    let long = Span::secs(600);
    assert_eq!(machine.quiesce(&web(), None, long).await, Quiesced::NotRunning);
    run(&machine, &place.script("1.0.0", SLEEPS), 7).await;

    let server = fetch::Server::start(|count| {
        let left = 2_usize.saturating_sub(count);
        format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{left}\n").into_bytes()
    })
    .await;
    let url = format!("http://{}/{{service}}", server.address);
    assert_eq!(machine.quiesce(&web(), Some(&url), long).await, Quiesced::Empty);
    assert_eq!(server.requests().first().map(String::as_str), Some("GET /web HTTP/1.1"));
    assert_eq!(server.requests().len(), 3);

    let short = Span(120);
    assert_eq!(machine.quiesce(&web(), None, short).await, Quiesced::TimedOut(None));
    drop(server);
    let timed_out = machine.quiesce(&web(), Some(&url), short).await;
    assert!(matches!(timed_out, Quiesced::TimedOut(Some(_))), "{timed_out:?}");
    machine.stop(&web()).await.unwrap();
}
