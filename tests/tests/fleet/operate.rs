//! Everyday work on a running fleet: restarts, stops, drains, the freeze, exceptions.

use std::net::IpAddr;

use trireme_proto::view::{DrainView, UpgradePhase};

use super::dns;
use super::rig::{Rig, bounded, until};
use super::traffic::Traffic;
use super::web::{self, Spec, WEB};

/// DVN-04, TSP-08: a restart goes region by region, and no client notices.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_load_fails_no_request_and_starts_every_node_once_more() {
    bounded(async {
        let rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0"]).await;
        let traffic = Traffic::start(&rig, WEB, "/health").await;
        let restart = ["service", "restart", WEB, "--reason", "leak", "--watch"];
        rig.trictl(&restart).await.exits(0);
        traffic.end().await.assert_unharmed();
        web::assert_started(&rig, &["1.0.0", "1.0.0"]);
        assert_eq!(rig.held_grants().await.unwrap(), []);
        // A dry run shows the way and does nothing.
        let dry = rig.trictl(&["service", "restart", WEB, "--node", "aws-1", "--dry-run"]).await;
        assert_eq!(dry.exits(0).json()["plan"]["operation"], "restart");
        web::assert_started(&rig, &["1.0.0", "1.0.0"]);
        // It is one record of the audit, with who, what, where, why, and what came of it.
        let audit = rig.trictl(&["audit", "list", "--limit", "500"]).await.exits(0).json();
        let records = audit["items"].as_array().unwrap().iter();
        let restarts: Vec<_> = records.filter(|r| r["action"] == "service.restart").collect();
        assert_eq!(restarts.len(), 1, "{restarts:?}");
        assert_eq!(
            (&restarts[0]["target"], &restarts[0]["result"], &restarts[0]["reason"]),
            (&"service/web".into(), &"done".into(), &"leak".into())
        );
        // The chain holds over entries with a reason and without.
        rig.trictl(&["audit", "verify"]).await.exits(0);
    })
    .await;
}

/// DVN-04: what is stopped stays down and counts as down until it is started.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_region_stays_down_and_no_second_one_may_go() {
    bounded(async {
        let rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        let traffic = Traffic::start(&rig, WEB, "/health").await;
        rig.trictl(&["service", "stop", WEB, "--region", "aws", "--watch"]).await.exits(0);
        let node = rig.node("aws-1").await.unwrap();
        assert!(node.services.values().all(|here| here.stopped && !here.in_traffic));
        let held = rig.held_grants().await.unwrap();
        assert_eq!(held.len(), 1);
        assert_eq!(held[0].released_by, "trictl service start web");

        let second = rig.trictl(&["service", "stop", WEB, "--region", "gcp", "--json"]).await;
        assert_eq!(second.exits(10).problem()["rule"], "grants.one_region");
        rig.trictl(&["why", "node/aws-1"]).await.exits(0).says("trictl service start web");
        // The agent's end does not bring it back.
        let started = web::starts(&rig, "aws-1").len();
        assert_eq!(started, 1);

        rig.trictl(&["service", "start", WEB, "--watch"]).await.exits(0);
        assert_eq!(rig.held_grants().await.unwrap(), []);
        assert_eq!(web::starts(&rig, "aws-1").len(), 2);
        assert_eq!(web::starts(&rig, "gcp-1").len(), 1, "what serves is left alone");
        traffic.end().await.assert_unharmed();
        // What an upgrade would do is told without doing it.
        let before = rig.trictl(&["get", "upgrade"]).await.exits(0).json();
        let plan = rig.trictl(&["upgrade", "plan", WEB, "--to", "1.1.0"]).await.exits(0).json();
        let dry = ["upgrade", "start", plan["id"].as_str().unwrap(), "--dry-run"];
        let judged = rig.trictl(&dry).await.exits(0).json();
        assert_eq!((&judged["id"], &judged["blocked"]), (&plan["id"], &serde_json::json!([])));
        assert_eq!(rig.trictl(&["get", "upgrade"]).await.exits(0).json(), before);
        rig.upgrade_to(WEB, "1.1.0").await;
    })
    .await;
}

/// A drained region is left by its clients, and comes back on one word.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_drained_and_returned_without_a_failed_request() {
    bounded(async {
        let rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        let traffic = Traffic::start(&rig, WEB, "/health").await;
        let drain = ["region", "drain", "aws", "--reason", "maintenance", "--wait"];
        rig.trictl(&drain).await.exits(0).says("drained");
        let aws: IpAddr = rig.node("aws-1").await.unwrap().address.parse().unwrap();
        assert!(dns::answers(&rig).await.iter().all(|answer| !answer.contains(&aws)));

        let second = ["node", "drain", "gcp-1", "--reason", "too", "--json"];
        let refused = rig.trictl(&second).await.exits(10).problem();
        assert_eq!(refused["rule"], "grants.one_region");
        let drains: Vec<DrainView> = rig.look("drain").await.unwrap();
        assert_eq!(drains.len(), 1);

        rig.trictl(&["region", "return", "aws"]).await.exits(0);
        until("aws is in the answers again", async || {
            dns::answers(&rig).await.iter().all(|answer| answer.contains(&aws)).then_some(())
        })
        .await;
        assert_eq!(rig.held_grants().await.unwrap(), []);
        traffic.end().await.assert_unharmed();

        // A cordoned node goes on serving, and upgrades pass it by.
        rig.trictl(&["node", "cordon", "gcp-1", "--reason", "memory errors"]).await.exits(0);
        rig.upgrade_to(WEB, "1.1.0").await;
        let gcp = rig.node("gcp-1").await.unwrap();
        let running = gcp.services.values().next().unwrap().observed.version.clone();
        assert_eq!(running.as_deref(), Some("1.0.0"));
        rig.trictl(&["node", "return", "gcp-1"]).await.exits(0);
        rig.upgrade_to(WEB, "1.1.0").await;
    })
    .await;
}

/// I12: the andon cord.
#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_stops_new_work_until_it_is_ended_or_overridden() {
    bounded(async {
        let rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        rig.trictl(&["freeze", "on"]).await.exits(2);
        rig.trictl(&["freeze", "on", "--reason", "incident 7"]).await.exits(0).says("incident 7");
        let plan = rig.plan(WEB, "1.1.0").await;
        let start = rig.trictl(&["upgrade", "start", &plan, "--yes", "--json"]).await.exits(10);
        assert_eq!(start.problem()["rule"], "fleet.freeze");
        rig.trictl(&["service", "restart", WEB, "--node", "aws-1"]).await.exits(10);

        let mut allow = vec!["override", "add", "--rule", "fleet.freeze", "--service", WEB];
        rig.trictl(&[&allow[..], &["--for", "30s", "--reason", "fix"]].concat()).await.exits(2);
        allow.extend(["--for", "10m", "--reason", "the fix itself"]);
        rig.trictl(&allow).await.exits(0).says("fleet.freeze");
        rig.trictl(&["service", "restart", WEB, "--node", "aws-1", "--watch"]).await.exits(0);
        let listed = rig.trictl(&["override", "list", "--json"]).await.exits(0).json();
        let id = listed["items"][0]["id"].as_str().unwrap().to_owned();
        let left = rig.trictl(&["override", "end", &id]).await.exits(0).json();
        assert_eq!(left, serde_json::json!({"items": []}));
        rig.trictl(&["service", "restart", WEB, "--node", "aws-1"]).await.exits(10);

        rig.trictl(&["freeze", "off", "--reason", "over"]).await.exits(0).says("false");
        rig.upgrade_to(WEB, "1.1.0").await;
        let view = rig.service(WEB).await.unwrap();
        let last = rig.trictl(&["get", "upgrade", "--json"]).await.exits(0).json();
        let last = last["items"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["phase"], serde_json::to_value(UpgradePhase::Succeeded).unwrap());
        assert!(view.regions.values().all(|region| region.serving));
    })
    .await;
}
