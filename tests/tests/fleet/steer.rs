//! What operators do to upgrades that are under way.

use std::collections::BTreeMap;

use trireme_proto::view::UpgradeView;

use super::rig::{Rig, bounded, until};
use super::web::{self, Spec, WEB};

/// Returns the version that each node says it runs.
async fn versions(rig: &Rig) -> BTreeMap<String, String> {
    let service = rig.service(WEB).await.unwrap();
    let nodes = service.regions.into_values().flat_map(|region| region.nodes);
    nodes.map(|(node, at)| (node.to_string(), at.observed.version.unwrap_or_default())).collect()
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
