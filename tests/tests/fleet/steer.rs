//! What operators do to upgrades, leaders and grants while they are under way.

use std::collections::BTreeMap;

use trireme_proto::time::Span;
use trireme_proto::view::{UpgradePhase, UpgradeView};

use super::rig::{Rig, bounded, until};
use super::web::{self, Spec, WEB};

/// Returns the version that each node says it runs.
async fn versions(rig: &Rig) -> BTreeMap<String, String> {
    let service = rig.service(WEB).await.unwrap();
    let nodes = service.regions.into_values().flat_map(|region| region.nodes);
    nodes.map(|(node, at)| (node.to_string(), at.observed.version.unwrap_or_default())).collect()
}

async fn phase(rig: &Rig, upgrade: &str) -> UpgradePhase {
    rig.upgrade(upgrade).await.unwrap().phase
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_paused_resumed_aborted_where_it_is_and_taken_back() {
    bounded(async {
        let rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        let upgrade = rig.begin(WEB, "1.1.0").await;
        rig.at_state(&upgrade, "aws", "switching").await;
        let paused =
            rig.trictl(&["upgrade", "pause", &upgrade, "--reason", "lunch"]).await.exits(0);
        assert_eq!(paused.json()["paused"], true);
        // What has begun ends safely: the first region bakes and then nothing more is taken.
        let waits = until("the pause as what it waits for", async || {
            let view: UpgradeView = rig.upgrade(&upgrade).await?;
            let settled =
                matches!(view.waves[0].state.as_str(), "baking" | "confirming" | "passed");
            let told = view.waiting.iter().any(|reason| reason.predicate.contains("paused"));
            (settled && told).then_some(view.waiting)
        })
        .await;
        assert!(waits.iter().any(|reason| reason.unblock.contains("resume")), "{waits:?}");
        rig.trictl(&["why", &upgrade]).await.exits(0).says("paused");
        assert_eq!(web::versions_started(&rig)["aliyun-1"], ["1.0.0"]);

        rig.trictl(&["upgrade", "resume", &upgrade]).await.exits(0);
        rig.at_state(&upgrade, "aliyun", "switching").await;
        rig.trictl(&["upgrade", "abort", &upgrade, "--reason", "enough"]).await.exits(0);
        let run = rig.watch(&upgrade).await.exits(1);
        assert_eq!(run.problem()["message"], format!("{upgrade} of web to 1.1.0 was aborted"));
        // Aborted is left as it is: finished nodes upgraded, the rest as they were.
        assert_eq!(versions(&rig).await["aws-1"], "1.1.0");
        assert_eq!(versions(&rig).await["gcp-1"], "1.0.0");
        assert_eq!(web::versions_started(&rig)["gcp-1"], ["1.0.0"]);

        rig.trictl(&["upgrade", "rollback", &upgrade, "--reason", "back"]).await.exits(0);
        rig.watch(&upgrade).await.exits(7);
        assert!(versions(&rig).await.values().all(|version| version == "1.0.0"));
        assert_eq!(rig.held_grants().await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_succeeded_is_taken_back_and_the_lead_is_handed_over_meanwhile() {
    bounded(async {
        let rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        let upgrade = rig.begin(WEB, "1.1.0").await;
        rig.at_state(&upgrade, "aws", "switching").await;
        let old = rig.leader(None).await;
        let run = rig.trictl(&["controller", "transfer"]).await.exits(0);
        let new = rig.leader(Some(&old)).await;
        assert_eq!(run.json()["leader"], new.as_str());
        rig.watch(&upgrade).await.exits(0);
        web::assert_started(&rig, &["1.0.0", "1.1.0"]);

        rig.trictl(&["upgrade", "rollback", &upgrade, "--reason", "slow"]).await.exits(0);
        rig.watch(&upgrade).await.exits(7);
        assert_eq!(phase(&rig, &upgrade).await, UpgradePhase::RolledBack);
        web::assert_started(&rig, &["1.0.0", "1.1.0", "1.0.0"]);
        assert_eq!(rig.held_grants().await.unwrap(), []);

        // Everything that was done stands in the log, whole.
        let verified = rig.trictl(&["audit", "verify"]).await.exits(0).json();
        assert_eq!(verified["ok"], true);
        let anchor = verified["anchor"].as_str().unwrap();
        rig.trictl(&["audit", "verify", "--anchor", anchor]).await.exits(0);
        let list = rig.trictl(&["audit", "list", "--limit", "500"]).await.exits(0).json();
        let entries = list["items"].as_array().unwrap();
        for action in ["manifest.apply", "upgrade.start", "controller.transfer", "upgrade.rollback"]
        {
            let found = entries.iter().find(|entry| entry["action"] == action);
            let entry = found.unwrap_or_else(|| panic!("no {action} in {entries:#?}"));
            for field in ["time", "actor", "action", "result", "source", "request_id"] {
                assert!(!entry[field].is_null() && entry[field] != "", "{field} of {entry}");
            }
            assert_eq!(entry["actor"], "user/dev");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_grant_released_by_hand_had_allowed_is_never_done_late() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        let upgrade = rig.begin(WEB, "1.1.0").await;
        rig.at_state(&upgrade, "aws", "draining").await;
        let node = "aws-1".parse().unwrap();
        assert!(rig.fleet.agent_mut(&node).unwrap().process.freeze());
        let before = until("an action that the frozen agent cannot take", async || {
            let view = rig.node("aws-1").await?;
            view.action.as_ref().filter(|action| action.kind == "switch")?;
            Some(view)
        })
        .await;
        let grant = rig.held_grants().await.unwrap().remove(0).id.to_string();
        let run =
            rig.trictl(&["grants", "release", &grant, "--reason", "node hangs"]).await.exits(0);
        assert_eq!(run.json()["state"], "forced: user/dev: node hangs");
        let after = rig.node("aws-1").await.unwrap();
        assert!(after.generation > before.generation);
        // An offer is good for 5 s by the agent's own clock; the frozen one has it unread.
        until("the end of the offer's time", async || {
            let seen = rig.node("aws-1").await?.last_seen;
            (seen? > Span::secs(6)).then_some(())
        })
        .await;
        assert!(rig.fleet.agent_mut(&node).unwrap().process.thaw());
        until("the node's return", async || {
            let view = rig.node("aws-1").await?;
            (view.state == "ready" && view.last_seen? < Span::secs(3)).then_some(())
        })
        .await;
        assert_eq!(web::versions_started(&rig)["aws-1"], ["1.0.0"]);
        let view = rig.upgrade(&upgrade).await.unwrap();
        assert_eq!(view.phase, UpgradePhase::Aborted, "{view:#?}");
        assert!(view.reason.unwrap().contains("node hangs"));
        let missing =
            rig.trictl(&["grants", "release", "grant-999", "--reason", "x"]).await.exits(9);
        assert_eq!(missing.problem()["message"], "there is no grant-999");
    })
    .await;
}
