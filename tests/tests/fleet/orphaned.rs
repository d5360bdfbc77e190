//! No controller is left: whoever asks is told which ones were tried.

use std::time::Duration;

use super::rig::{Rig, bounded};

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
