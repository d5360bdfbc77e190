//! Upgrades under live traffic: forward, and back from a release that is no good.

use trireme_proto::view::{ServiceView, UpgradePhase};

use super::rig::{Rig, bounded};
use super::traffic::Traffic;
use super::web::{self, BAD, Spec, WEB};

/// Returns the digest that every node of the service says it runs.
fn running(service: &ServiceView) -> Vec<(String, Option<String>)> {
    let nodes = service.regions.values().flat_map(|region| &region.nodes);
    nodes
        .map(|(node, at)| (node.to_string(), at.observed.running.map(|digest| digest.to_string())))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_under_load_fails_no_request_and_starts_each_version_once() {
    bounded(async {
        let rig = Rig::start(2).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        let traffic = Traffic::start(&rig, WEB, "/health").await;
        let upgrade = rig.begin(WEB, "1.1.0").await;
        rig.watch(&upgrade).await.exits(0);
        let seen = traffic.end().await;
        seen.assert_unharmed();
        web::assert_started(&rig, &["1.0.0", "1.1.0"]);
        let view = rig.upgrade(&upgrade).await.unwrap();
        assert_eq!(view.phase, UpgradePhase::Succeeded);
        let order: Vec<_> = view.waves.iter().map(|wave| wave.region.as_str()).collect();
        assert_eq!(order, ["aws", "aliyun", "gcp"]);
        assert_eq!(rig.held_grants().await.unwrap(), []);
        // Nothing is left to do: the plan is empty, and starting it would change nothing.
        rig.trictl(&["upgrade", "plan", WEB, "--to", "1.1.0", "--exit-code"]).await.exits(0);
        let overhead =
            view.ended.unwrap().since(view.started).0.saturating_sub(view.required_wait.0);
        println!("overhead {overhead} ms, {} requests", seen.numbers.sent);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_release_goes_back_to_what_was_recorded_and_other_regions_stay_untouched() {
    bounded(async {
        let rig = Rig::start(2).await;
        let spec = Spec { step: "5s", ..Spec::default() };
        web::run(&rig, &spec, &["1.0.0", BAD]).await;
        let before = running(&rig.service(WEB).await.unwrap());
        // The trap: what a node would run by today's manifest is not what it ran before.
        let changed = Spec { stop_timeout: "3s", ..spec.clone() };
        web::declare(&rig, &changed, &["1.0.0", BAD]).await;
        let traffic = Traffic::start(&rig, WEB, "/health").await;
        let upgrade = rig.begin(WEB, BAD).await;
        rig.at_step(&upgrade, "aws", "gate").await;
        // The same trap from the other side: what is under way cannot be declared anew, and
        // declaring the same again changes nothing.
        web::declare(&rig, &changed, &["1.0.0", BAD]).await;
        let other = rig.file("other.yaml", spec.manifest());
        let message = format!("service web is being upgraded by {upgrade}");
        assert_eq!(rig.apply(&other).await.exits(5).problem()["message"], message);

        let run = rig.watch(&upgrade).await.exits(7);
        let ending = run.problem();
        let message = ending["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{upgrade} of web to {BAD} was rolled back: ")));
        assert!(message.contains("health"), "{message}");
        traffic.end().await.assert_unharmed();
        assert_eq!(running(&rig.service(WEB).await.unwrap()), before);
        for (node, versions) in web::versions_started(&rig) {
            let touched: &[&str] = &["1.0.0", BAD, "1.0.0"];
            let expected = if node.starts_with("aws") { touched } else { &["1.0.0"] };
            assert_eq!(versions, expected, "what {node} started");
        }
        assert_eq!(rig.held_grants().await.unwrap(), []);
    })
    .await;
}
