//! No controller is left: services run on, checks go on, and what was not confirmed is undone.

use std::time::Duration;

use trireme_proto::view::UpgradePhase;

use super::rig::{Rig, bounded, until};
use super::web::{self, Spec, WEB};

#[tokio::test(flavor = "multi_thread")]
async fn without_controllers_services_run_on_and_an_unconfirmed_switch_is_undone() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        // The revert is due a bake and a step after the switch.
        let spec = Spec { bake: "2s", step: "4s", ..Spec::default() };
        web::run(&rig, &spec, &["1.0.0", "1.1.0"]).await;
        let upgrade = rig.begin(WEB, "1.1.0").await;
        rig.at_state(&upgrade, "aws", "baking").await;
        for controller in rig.fleet.controllers_mut() {
            controller.process.kill().await.unwrap();
        }
        let served: Vec<u32> =
            ["aliyun-1", "gcp-1"].map(|node| web::starts(&rig, node).pop().unwrap().pid).into();
        until("the agent's own way back", async || {
            let versions = &web::versions_started(&rig)["aws-1"];
            (*versions == ["1.0.0", "1.1.0", "1.0.0"]).then_some(())
        })
        .await;
        assert!(served.iter().all(|pid| web::is_running(*pid)), "a service did not run on");

        // What a node looks after by itself goes on: a service that dies is started again.
        let gcp = "gcp".parse().unwrap();
        assert_eq!(rig.fleet.kill_services(Some(&gcp)), 0);
        until("the restart of a service that died", async || {
            let starts = web::starts(&rig, "gcp-1");
            let last = starts.last().filter(|last| starts.len() == 2 && last.version == "1.0.0")?;
            web::is_running(last.pid).then_some(())
        })
        .await;

        rig.fleet.start_all().unwrap();
        let view = until("the end of the upgrade", async || {
            let view = rig.upgrade(&upgrade).await?;
            view.phase.is_final().then_some(view)
        })
        .await;
        assert_eq!(view.phase, UpgradePhase::RolledBack, "{view:#?}");
        let told = serde_json::to_string(&view).unwrap();
        assert!(told.contains("aws-1"), "{told}");
        assert!(told.contains("not confirmed"), "{told}");
        assert_eq!(web::versions_started(&rig)["aws-1"], ["1.0.0", "1.1.0", "1.0.0"]);
        assert_eq!(web::versions_started(&rig)["aliyun-1"], ["1.0.0"]);
        assert_eq!(rig.held_grants().await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_that_cannot_be_reached_are_each_named() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        for controller in rig.fleet.controllers_mut() {
            controller.process.stop(Duration::from_secs(10)).await.unwrap();
        }
        let run = rig.trictl(&["--timeout", "3s", "get", "node"]).await.exits(6);
        let problem = run.problem();
        assert_eq!(problem["code"], "unreachable");
        assert_eq!(problem["message"], "none of 3 controllers can be reached");
        let why: Vec<&str> =
            problem["why"].as_array().unwrap().iter().filter_map(|why| why.as_str()).collect();
        for controller in rig.fleet.controllers() {
            let address = controller.api.to_string();
            assert!(why.iter().any(|why| why.starts_with(&address)), "{address}: {why:?}");
        }
    })
    .await;
}
