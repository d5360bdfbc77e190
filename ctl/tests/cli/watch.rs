//! Watching an upgrade: to its end, over the loss of controllers, and away from it.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use crate::fleet::{Answer, Fleet, closed, upgrade};

const WATCH: [&str; 3] = ["upgrade", "watch", "web"];

#[tokio::test(flavor = "multi_thread")]
async fn watching_goes_on_over_the_next_controller_without_repeating_anything() {
    let fleet = Fleet::new().await;
    let (draining, switching) = (upgrade("running", "draining"), upgrade("running", "switching"));
    let first = {
        let views = vec![draining.clone(), switching.clone()];
        fleet.controller("c1", move |_, _| Answer::Stream(views.clone())).await
    };
    let second = {
        let views = vec![switching, upgrade("succeeded", "passed")];
        fleet.controller("c2", move |_, _| Answer::Stream(views.clone())).await
    };
    let controllers = [first.address.as_str(), second.address.as_str()];
    let run = fleet.run(&controllers, &WATCH).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let lost = format!("lost controller {} (it ended the stream), asking another\n", first.address);
    assert_eq!(run.stderr, lost);
    let changes: Vec<_> = run.stdout.lines().take_while(|line| !line.is_empty()).collect();
    let words: Vec<_> = changes.iter().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(
        words,
        [
            "upgrade-7 web → 1.1.0: running",
            "upgrade-7 wave 1/1 aws: draining",
            "upgrade-7 wave 1/1 aws aws-1: draining",
            "upgrade-7 wave 1/1 aws: switching",
            "upgrade-7 wave 1/1 aws aws-1: switching",
            "upgrade-7 web → 1.1.0: succeeded",
            "upgrade-7 wave 1/1 aws: passed",
            "upgrade-7 wave 1/1 aws aws-1: passed",
        ]
    );
    assert_eq!(second.seen()[0].request, "upgrade-7", "not whatever is newest by then");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_one_view_a_line() {
    let fleet = Fleet::new().await;
    let views = vec![upgrade("running", "draining"), upgrade("succeeded", "passed")];
    let expected = views.clone();
    let controller = fleet.controller("c1", move |_, _| Answer::Stream(views.clone())).await;
    let run = fleet.run(&[&controller.address], &[&WATCH[..], &["--json"]].concat()).await;
    let lines: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, expected);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_how_it_ended_and_one_line_says_why() {
    let fleet = Fleet::new().await;
    let ends = [
        ("succeeded", 0, ""),
        ("rolled_back", 7, "upgrade-7 of web to 1.1.0 was rolled back: aws-1: check health failed"),
        ("aborted", 1, "error: upgrade-7 of web to 1.1.0 was aborted"),
        (
            "rollback_failed",
            1,
            "error: upgrade-7 of web to 1.1.0 could not go back by itself, a person must look",
        ),
    ];
    for (phase, code, why) in ends {
        let view = upgrade(phase, "done");
        let script = move |_: &_, _| Answer::Stream(vec![view.clone()]);
        let controller = fleet.controller("c1", script).await;
        let run = fleet.run(&[&controller.address], &WATCH).await;
        assert_eq!(run.code, Some(code), "{phase}: {run:?}");
        assert_eq!(run.stderr.lines().next().unwrap_or_default(), why);
        assert!(run.stdout.contains("aws-1"), "the state of every node: {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_that_stay_away_end_the_watch_but_not_the_upgrade() {
    let fleet = Fleet::new().await;
    let controller = fleet
        .controller("c1", |_, number| match number {
            1 => Answer::Stream(vec![upgrade("running", "draining")]),
            _ => Answer::Die,
        })
        .await;
    let watch = [&WATCH[..], &["--timeout", "1s"]].concat();
    let run = fleet.run(&[&controller.address, &closed()], &watch).await;
    assert_eq!(run.code, Some(6), "{run:?}");
    assert!(run.stderr.contains("because: web goes on once the controllers do\n"), "{run:?}");
    let hint = "hint: to come back: trictl upgrade watch web --timeout 1s\n";
    assert!(run.stderr.contains(hint), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_the_watching_and_says_how_to_come_back() {
    let fleet = Fleet::new().await;
    let hold = |_: &_, _| Answer::Hold(vec![upgrade("running", "draining")]);
    let controller = fleet.controller("c1", hold).await;
    let mut command = fleet.admin(&[&controller.address]).await;
    let mut child = command.args(WATCH).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next_line().await.unwrap().unwrap().ends_with("running"));
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let status = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(130));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).await.unwrap();
    insta::assert_snapshot!(stderr, @r"
    stopped watching; web goes on
    hint: to come back: trictl upgrade watch web
          to end it where it is: trictl upgrade abort web
    ");
}

/// Returns a list of one grant.
fn grants(state: &str, age: &str) -> serde_json::Value {
    serde_json::json!({"items": [{
        "id": "grant-3", "holder": "upgrade-7", "takes": ["aws-1/web"], "state": state,
        "age": age, "released_by": "bake", "actor": "user/ann",
    }]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_printed_again_when_it_says_something_new_until_ctrl_c() {
    let fleet = Fleet::new().await;
    let controller = fleet
        .controller("c1", |_, number| match number {
            1 => Answer::Doc(grants("held", "1s")),
            // Older, and no news; then nobody answers; then the same, and then something else.
            2 => Answer::Doc(grants("held", "2s")),
            3 => Answer::Die,
            4 => Answer::Doc(grants("held", "4s")),
            _ => Answer::Doc(grants("released", "5s")),
        })
        .await;
    let mut command = fleet.admin(&[&controller.address]).await;
    let mut child = command.args(["get", "grant", "-w", "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for state in ["held", "released"] {
        let line = lines.next_line().await.unwrap().unwrap();
        let document: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(document["items"][0]["state"], state, "one document a line, each of them news");
    }
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let status = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_there_at_first_is_not_watched() {
    let fleet = Fleet::new().await;
    let run = fleet.run(&[&closed()], &["node", "list", "--watch"]).await;
    assert_eq!(run.code, Some(6), "{run:?}");
}
