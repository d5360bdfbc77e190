//! Upgrades under live traffic.

use trireme_proto::view::UpgradePhase;

use super::rig::{Rig, bounded};
use super::traffic::Traffic;
use super::web::{self, Spec, WEB};

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
        let overhead =
            view.ended.unwrap().since(view.started).0.saturating_sub(view.required_wait.0);
        println!("overhead {overhead} ms, {} requests", seen.numbers.sent);
    })
    .await;
}
