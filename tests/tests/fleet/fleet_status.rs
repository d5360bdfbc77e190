//! `trictl status` on whole fleets: one screen, the worst first, also while some are silent.

use serde_json::{Value, json};
use trireme_proto::id::NodeId;

use super::people;
use super::rig::{Rig, bounded, until};
use super::web::{self, Spec, WEB};

fn regions(view: &Value) -> Vec<(&str, &str)> {
    let items = view["items"].as_array().unwrap();
    items
        .iter()
        .map(|one| (one["region"].as_str().unwrap(), one["health"].as_str().unwrap()))
        .collect()
}

/// TSP-06: service by region with state, version, processor and memory on one screen; who does not
/// answer is named, and what was put aside stands there.
#[tokio::test(flavor = "multi_thread")]
async fn tsp_06_one_screen_shows_the_fleet_and_who_is_silent() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0"]).await;
        let view = rig.trictl(&["status"]).await.exits(0).json();
        assert_eq!(regions(&view), [("aliyun", "serving"), ("aws", "serving"), ("gcp", "serving")]);
        for item in view["items"].as_array().unwrap() {
            assert_eq!(item["service"], WEB);
            assert_eq!(item["versions"], json!({ "1.0.0": 1 }));
            assert_eq!((&item["ready"], &item["nodes"]), (&json!(1), &json!(1)));
            assert!(item["memory_bytes"].as_u64().unwrap() > 0, "{item:#}");
            assert!(item["cpu_millicores"].is_u64(), "{item:#}");
        }
        assert_eq!(view["nodes"], json!({ "ready": 3 }));
        assert_eq!(view["controllers"]["items"].as_array().unwrap().len(), 3);
        assert!(view["controllers"]["leader"].is_string());

        let drain = ["node", "drain", "gcp-1", "--reason", "memory errors"];
        rig.trictl(&drain).await.exits(0);
        let silent: NodeId = "aliyun-1".parse().unwrap();
        rig.kill_agent(&silent).await;
        let run = until("the controllers have noticed", async || {
            let run = rig.trictl(&["status"]).await.exits(6);
            run.stdout.contains("not connected").then_some(run)
        })
        .await;
        let view = run.json();
        assert_eq!(run.problem()["message"], "1 of 3 nodes did not answer");
        assert_eq!(regions(&view)[0], ("gcp", "down"), "{view:#}");
        assert_eq!(view["drains"][0]["place"], "node/gcp-1");
        let items = view["items"].as_array().unwrap();
        let here = items.iter().find(|item| item["region"] == "aliyun").unwrap();
        assert_eq!((&here["answered"], &here["memory_bytes"]), (&json!(0), &Value::Null));

        let developer = people::let_in(&rig, "dee", &["developer"]).await;
        rig.trictl_as(&developer, &["status"]).await.exits(4);
    })
    .await;
}
