//! `trictl service status` and `top` on whole fleets: what nodes say of themselves now, beside what the fleet
//! wants, and who does not answer.

use serde_json::{Value, json};
use trireme_proto::id::NodeId;

use super::app::Following;
use super::people;
use super::rig::{Rig, Run, bounded, until};
use super::web::{self, Spec, WEB};

/// Nodes of a fleet with one in each region, as a look orders them.
const NODES: [&str; 3] = ["aliyun-1", "aws-1", "gcp-1"];

/// Returns what a look says of one node.
fn of<'a>(items: &'a Value, node: &str) -> &'a Value {
    let items = items["items"].as_array().unwrap();
    items.iter().find(|item| item["node"] == node).unwrap()
}

async fn status(rig: &Rig, more: &[&str]) -> Run {
    rig.trictl(&[&["service", "status", WEB], more].concat()).await
}

/// DVN-04, TSP-06: what runs on each node, since when, in which version beside the one that should,
/// and what its checks found.
#[tokio::test(flavor = "multi_thread")]
async fn dvn_04_a_service_is_looked_at_on_its_nodes_as_they_see_it_now() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        web::declare(&rig, &Spec::default(), &["1.0.0"]).await;
        let run = status(&rig, &[]).await.exits(0);
        for node in NODES {
            let item = of(&run.json(), node).clone();
            assert_eq!(item["status"]["state"], "never started", "{item:#}");
            assert_eq!(item["desired"], json!({ "version": null }));
        }
        rig.upgrade_to(WEB, "1.0.0").await;

        let run = status(&rig, &[]).await.exits(0);
        let view = run.json();
        assert_eq!(view["at_least"], 2);
        assert_eq!(view["serving"], json!(["aliyun", "aws", "gcp"]));
        assert_eq!(view["totals"], json!({"asked": 3, "answered": NODES, "silent": {}}));
        for node in NODES {
            let (item, start) = (of(&view, node), web::starts(&rig, node).remove(0));
            let status = &item["status"];
            assert_eq!(status["driver"], "process", "{item:#}");
            assert_eq!(status["state"], "running");
            assert_eq!(status["observed"]["state"], "serving");
            assert_eq!(status["observed"]["version"], "1.0.0");
            assert_eq!(status["action"], start.action);
            assert_eq!(item["desired"]["version"], "1.0.0");
            assert_eq!(item["in_traffic"], true);
            let instances = status["instances"].as_array().unwrap();
            assert_eq!(instances.len(), 1, "{item:#}");
            assert_eq!(instances[0]["id"], start.pid.to_string());
            assert_eq!(instances[0]["restarts"], 0);
            let (since, now) = (instances[0]["since"].as_u64().unwrap(), people::now().0);
            assert!(since <= now && since > now - 60_000, "{since} at {now}");
            let check = &status["checks"][0];
            assert_eq!((&check["name"], &check["health"]), (&json!("health"), &json!("passing")));
            assert_eq!(check["status"], "ok");
            assert!(check["message"].as_str().unwrap().contains("200"), "{check}");
        }

        what_it_uses_is_told(&rig).await;

        // What nobody asked to end is started again, and that is told.
        assert_eq!(rig.fleet.kill_services(Some(&"gcp".parse().unwrap())), 0);
        until("the process that was started again", async || {
            let run = status(&rig, &["--region", "gcp"]).await.exits(0);
            assert_eq!(run.json()["items"].as_array().unwrap().len(), 1);
            (run.json()["items"][0]["status"]["instances"][0]["restarts"] == 1).then_some(())
        })
        .await;
        rig.trictl(&["service", "stop", WEB, "--region", "aws", "--watch"]).await.exits(0);
        let run = status(&rig, &["--node", "aws-1"]).await.exits(0);
        let item = of(&run.json(), "aws-1").clone();
        assert_eq!(item["desired"], json!({ "version": null, "stopped": true }));
        assert_eq!(item["status"]["state"], "stopped");
        assert_eq!(item["status"]["instances"], json!([]));

        whoever_does_not_answer_is_named(&mut rig).await;
    })
    .await;
}

/// DVN-06, TSP-06: what each process uses, in a shape that does not change.
async fn what_it_uses_is_told(rig: &Rig) {
    let run = rig.trictl(&["service", "top", WEB]).await.exits(0);
    let view = run.json();
    assert_eq!(view["service"], WEB);
    assert_eq!(view["totals"], json!({"asked": 3, "answered": NODES, "silent": {}}));
    let items = view["items"].as_array().unwrap();
    let cpu: Vec<u64> = items.iter().map(|one| one["cpu_millicores"].as_u64().unwrap()).collect();
    assert!(cpu.is_sorted_by(|a, b| a >= b), "{items:#?}");
    for node in NODES {
        let item = of(&view, node);
        assert_eq!(item["id"], web::starts(rig, node)[0].pid.to_string());
        let memory = |name: &str| item[name].as_u64().unwrap();
        let (held, limit) = (memory("memory_bytes"), memory("memory_limit_bytes"));
        assert!(held > 0 && held < limit, "{item:#}");
        let keys: Vec<_> = item.as_object().unwrap().keys().cloned().collect();
        let expected = [
            "cpu_millicores",
            "id",
            "memory_bytes",
            "memory_limit_bytes",
            "name",
            "node",
            "processes",
            "region",
        ];
        assert_eq!(keys, expected);
    }
    let mut watching =
        Following::start(rig, &["service", "top", WEB, "--node", "aws-1", "--watch"]);
    watching.lines(2).await;
    assert!(watching.seen.iter().all(|view| view["items"][0]["node"] == "aws-1"));
    assert_eq!(watching.interrupt().await, Some(130));
}

/// Partial answers are shown, those that are missing are named, and the exit code is 6.
async fn whoever_does_not_answer_is_named(rig: &mut Rig) {
    let silent: NodeId = "gcp-1".parse().unwrap();
    rig.kill_agent(&silent).await;
    let frozen: NodeId = "aliyun-1".parse().unwrap();
    assert!(rig.fleet.agent_mut(&frozen).unwrap().process.freeze());
    let run = until("the controllers have noticed", async || {
        let run = status(rig, &[]).await.exits(6);
        run.stdout.contains("it is not connected").then_some(run)
    })
    .await;
    assert_eq!(of(&run.json(), "aws-1")["status"]["state"], "stopped");
    for (node, why) in
        [("gcp-1", "it is not connected to any controller"), ("aliyun-1", "it did not answer")]
    {
        let item = of(&run.json(), node).clone();
        assert!(item["silent"].as_str().unwrap().starts_with(why), "{item:#}");
        assert_eq!(item["desired"]["version"], "1.0.0");
        assert_eq!(item["status"], Value::Null);
    }
    assert_eq!(run.problem()["message"], "2 of 3 nodes did not answer");
    assert_eq!(run.problem()["why"][2], "answered: aws-1");
    assert!(rig.fleet.agent_mut(&frozen).unwrap().process.thaw());
    let args = ["--node", "moon", "--node", "aws-1"];
    let run = status(rig, &args).await.exits(6);
    assert_eq!(run.json()["totals"]["silent"], json!({ "moon": "there is no such node" }));
}

/// Requests that make no sense are told at once; developers and strangers see nothing (DVN-45).
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_at_is_said() {
    bounded(async {
        let rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0"]).await;
        for (args, code, says) in [
            (&["wob"][..], 9, "there is no service wob"),
            (&[WEB, "--region", "moon"], 9, "there is no region moon"),
            (&[WEB, "--node", "Moon!"], 2, "is not a name"),
        ] {
            let args = [&["service", "status"], args].concat();
            let run = rig.trictl(&args).await.exits(code).says(says);
            assert_eq!(run.stdout, "");
        }
        let developer = people::let_in(&rig, "dee", &["developer"]).await;
        let auditor = people::let_in(&rig, "una", &["auditor"]).await;
        let narrow = people::let_in(&rig, "oda", &["operator@gcp"]).await;
        let look = ["service", "status", WEB];
        rig.trictl_as(&developer, &look).await.exits(4);
        rig.trictl_as(&developer, &["service", "top", WEB]).await.exits(4);
        rig.trictl_as(&auditor, &look).await.exits(0);
        // Who works in one region looks there and no further.
        rig.trictl_as(&narrow, &look).await.exits(4);
        rig.trictl_as(&narrow, &[&look[..], &["--region", "gcp"]].concat()).await.exits(0);
    })
    .await;
}
