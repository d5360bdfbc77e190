//! Requests: who is asked, how often, under which origin, and what comes of it.

use serde_json::json;
use trireme_proto::problem::{Code, Problem};

use crate::fleet::{Answer, Fleet, closed, upgrade};

fn grant() -> serde_json::Value {
    json!({
        "id": "grant-3", "holder": "upgrade-7", "takes": ["aws-1/web"], "state": "forced",
        "age": "12s", "released_by": "override", "actor": "user/ann",
    })
}

const RELEASE: [&str; 5] = ["grants", "release", "grant-3", "--reason", "node is gone"];

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_sent_again_under_the_same_origin_until_it_is_answered() {
    let fleet = Fleet::new().await;
    let controller = fleet
        .controller("c1", |_, number| match number {
            1 | 2 => {
                let problem = Problem::new(Code::Unreachable, "there is no leader yet");
                Answer::Refuse(Problem { retryable: true, ..problem })
            }
            3 => Answer::Die,
            _ => Answer::Doc(grant()),
        })
        .await;
    let run = fleet.run(&[&controller.address], &RELEASE).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.starts_with("NAME     HOLDER"), "{run:?}");
    let seen = controller.seen();
    assert_eq!(seen.len(), 4);
    let first = seen[0].origin.clone().unwrap();
    assert!(!first.client.is_empty() && first.sequence > 0 && !first.request_id.is_empty());
    assert!(seen.iter().all(|call| call.origin.as_ref() == Some(&first)), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_have_two_origins() {
    let fleet = Fleet::new().await;
    let controller = fleet.controller("c1", |_, _| Answer::Doc(grant())).await;
    for _ in 0..2 {
        assert_eq!(fleet.run(&[&controller.address], &RELEASE).await.code, Some(0));
    }
    let seen = controller.seen();
    assert_ne!(seen[0].origin, seen[1].origin);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_controller_is_asked_when_one_is_gone_or_dies_with_the_request() {
    let fleet = Fleet::new().await;
    let dying = fleet.controller("c1", |_, _| Answer::Die).await;
    let living = fleet.controller("c2", |_, _| Answer::Doc(grant())).await;
    let run = fleet.run(&[&closed(), &dying.address, &living.address], &RELEASE).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(dying.seen()[0].origin, living.seen()[0].origin);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_final_and_printed_whole() {
    let fleet = Fleet::new().await;
    let mut problem = Problem::refused("serving.at_least", "upgrade of web cannot be started")
        .because("aliyun does not serve web")
        .hint("trictl why region/aliyun");
    problem.request_id = Some("r-1".to_owned());
    let expected = serde_json::to_value(&problem).unwrap();
    let controller = fleet.controller("c1", move |_, _| Answer::Refuse(problem.clone())).await;
    let start = ["upgrade", "start", "web@1.1.0:0123456789ab", "--yes"];
    let run = fleet.run(&[&controller.address], &start).await;
    assert_eq!(run.code, Some(10), "{run:?}");
    assert_eq!(run.stdout, "");
    insta::assert_snapshot!(run.stderr, @r"
    error: upgrade of web cannot be started
    because: aliyun does not serve web
    rule: serving.at_least
    hint: trictl why region/aliyun
    request: r-1
    ");
    let run = fleet.run(&[&controller.address], &[&start[..], &["--json"]].concat()).await;
    assert_eq!((run.code, run.problem()), (Some(10), expected));
    assert_eq!(controller.seen().len(), 2, "a refusal is not tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_controllers_gone_each_is_named_with_its_reason() {
    let fleet = Fleet::new().await;
    let (one, two) = (closed(), closed());
    let run = fleet.run(&[&one, &two], &["get"]).await;
    assert_eq!(run.code, Some(6), "{run:?}");
    assert!(run.stderr.starts_with("error: none of 2 controllers can be reached\n"), "{run:?}");
    for address in [&one, &two] {
        let because =
            run.stderr.lines().find(|line| line.starts_with(&format!("because: {address}: ")));
        assert!(because.is_some_and(|line| line.contains("refused")), "{run:?}");
    }
    let run = fleet.run(&[&one], &["get", "--json"]).await;
    assert_eq!(run.code, Some(6));
    assert_eq!(run.problem()["code"], "unreachable");
    assert_eq!(run.problem()["retryable"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_says_nothing_does_not_hold_the_command_for_ever() {
    let fleet = Fleet::new().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let run = fleet.run(&[&address], &["get", "--timeout", "1s"]).await;
    assert_eq!(run.code, Some(6), "{run:?}");
    let because = format!("because: {address}: no answer within 1.0 s\n");
    assert!(run.stderr.contains(&because), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_of_another_fleet_is_not_believed() {
    let (ours, theirs) = (Fleet::new().await, Fleet::new().await);
    let foreign = theirs.controller("c1", |_, _| Answer::Doc(grant())).await;
    let run = ours.run(&[&foreign.address], &RELEASE).await;
    assert_eq!(run.code, Some(6), "{run:?}");
    assert_eq!(foreign.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_answer_says_how_old_it_is_and_by_whom() {
    let fleet = Fleet::new().await;
    let controller =
        fleet.controller("c1", |_, _| Answer::Stale(json!({"items": [grant()]}))).await;
    let list = ["grants", "list", "--consistency", "stale"];
    let run = fleet.run(&[&controller.address], &list).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.stderr, "as of index 42, 1s500ms ago from controller c1\n");
    assert!(controller.seen()[0].request.contains("consistency: Stale"), "{:?}", controller.seen());
    let run = fleet.run(&[&controller.address], &[&list[..], &["--json"]].concat()).await;
    assert_eq!(run.json(), json!({"items": [grant()]}));
    assert!(run.problem()["note"].as_str().unwrap().starts_with("as of index 42"));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_keeps_fields_that_this_version_does_not_know() {
    let fleet = Fleet::new().await;
    let mut newer = grant();
    newer["weight"] = json!(3);
    let document = json!({"items": [newer]});
    let expected = document.clone();
    let controller = fleet.controller("c1", move |_, _| Answer::Doc(document.clone())).await;
    let run = fleet.run(&[&controller.address], &["get", "grant", "--json"]).await;
    assert_eq!(run.json(), expected);
}

fn plan() -> serde_json::Value {
    json!({
        "id": "web@1.1.0:0123456789ab",
        "plan": {
            "service": "web", "to": "1.1.0", "service_revision": 4, "target": "a".repeat(64),
            "previous": {}, "waves": [{"region": "aws", "nodes": ["aws-1"]}],
            "gates": {"ttl": "2s", "drain": "5s", "rise": "4s", "bake": "1m",
                      "step_deadline": "5m", "fleet_deadline": "4h"},
        },
        "from": {"aws-1": "1.0.0"}, "at_least": 2, "keeps_serving": [["aliyun", "gcp"]],
        "required_wait": "1m11s", "unchanged": [], "warnings": [], "blocked": [],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_upgrade_is_started_by_the_command_that_the_plan_prints() {
    let fleet = Fleet::new().await;
    let controller = fleet
        .controller("c1", |call, _| match call.rpc {
            "plan_upgrade" => Answer::Doc(plan()),
            "start_upgrade" => Answer::Doc(upgrade("running", "waiting")),
            _ => Answer::Stream(vec![upgrade("succeeded", "done")]),
        })
        .await;
    let config = fleet.config().display().to_string();
    let plan = ["upgrade", "plan", "web", "--to", "1.1.0", "--config", &config];
    let run = fleet.run(&[&controller.address], &plan).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let printed = run.stdout.trim_end().lines().last().unwrap().trim();
    let words: Vec<&str> = printed.split(' ').skip(1).collect();
    assert_eq!(&words[..3], ["upgrade", "start", "web@1.1.0:0123456789ab"]);
    assert!(printed.ends_with(&format!("--config {config}")), "{printed}");
    let run = fleet.run(&[&controller.address], &[&words[..], &["--yes"]].concat()).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains("upgrade-7 web → 1.1.0: succeeded"), "{run:?}");
    let run = fleet.run(&[&controller.address], &[&plan[..], &["--exit-code"]].concat()).await;
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.starts_with("the plan has changes: 1 waves\n"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn diff_exits_with_3_and_apply_carries_the_revision_that_was_looked_at() {
    let fleet = Fleet::new().await;
    let controller = fleet
        .controller("c1", |call, _| match call.rpc {
            "get" => Answer::Doc(json!({
                "revision": 12, "objects": [{"kind": "Region", "name": "aws"}],
            })),
            _ => Answer::Doc(json!({
                "revision": 13, "objects": {"Region/aws": "unchanged", "Region/gcp": "created"},
            })),
        })
        .await;
    let file = fleet.dir.path().join("regions.yaml");
    std::fs::write(&file, "kind: Region\nname: aws\n---\nkind: Region\nname: gcp\n").unwrap();
    let file = file.display().to_string();
    let run = fleet.run(&[&controller.address], &["diff", "-f", &file]).await;
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stdout.contains("+ Region/gcp"), "{run:?}");
    let hint = format!("1 of 2 objects differ\nhint: trictl apply -f {file} --base 12\n");
    assert_eq!(run.stderr, hint);
    let run = fleet.run(&[&controller.address], &["diff", "-f", &file, "--json"]).await;
    assert_eq!(run.problem()["code"], "changes");
    let run = fleet.run(&[&controller.address], &["apply", "-f", &file]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let seen = controller.seen();
    assert!(seen.last().unwrap().request.contains("base_revision: 12"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn steering_without_a_name_takes_the_only_running_upgrade() {
    let fleet = Fleet::new().await;
    let controller = fleet
        .controller("c1", |call, _| match call.rpc {
            "get" => {
                let mut ended = upgrade("succeeded", "done");
                ended["id"] = json!("upgrade-6");
                Answer::Doc(json!({"items": [ended, upgrade("running", "waiting")]}))
            }
            _ => Answer::Doc(upgrade("running", "waiting")),
        })
        .await;
    let run = fleet.run(&[&controller.address], &["upgrade", "pause", "--reason", "lunch"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let seen = controller.seen();
    let last = seen.last().unwrap();
    assert_eq!(last.rpc, "pause_upgrade");
    assert!(last.request.contains("upgrade: \"upgrade-7\", reason: \"lunch\""), "{last:?}");
}
