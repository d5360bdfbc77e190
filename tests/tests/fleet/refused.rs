//! Upgrades and declarations that must not happen: the message, the exit code, and no trace.

use trireme_proto::digest::Digest;
use trireme_proto::view::Manifests;
use trireme_proto::wire::{Consistency, GetRequest};

use super::rig::{Rig, bounded, until};
use super::web::{self, Spec, WEB};

/// Returns the revision of what is declared.
async fn revision(rig: &Rig) -> u64 {
    let consistency = Consistency::Linearizable.into();
    let request = GetRequest { consistency, ..GetRequest::default() };
    rig.client().get::<Manifests>(request).await.unwrap().value.revision
}

/// Returns every reason of a problem in one text.
fn why(problem: &serde_json::Value) -> String {
    problem["why"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_are_wrong_are_refused_with_line_and_column() {
    bounded(async {
        let rig = Rig::start(1).await;
        web::declare(&rig, &Spec::default(), &["1.0.0"]).await;
        let before = revision(&rig).await;
        let good = Spec::default().manifest();
        let cases = [
            (
                "malformed.yaml",
                "kind: Service\nname: [web\n".to_owned(),
                &[":2:7", "this is not YAML"][..],
            ),
            (
                "unknown.yaml",
                good.replace("serving: {at_least: 2, nodes: 1}", "servng: {at_least: 2}"),
                &[":6:1", "servng", "serving"],
            ),
            (
                "contradiction.yaml",
                good.replace("timeout: 150ms", "timeout: 200ms"),
                &[":11:14", "check `health` may take 200ms but runs every 150ms"],
            ),
            (
                "order.yaml",
                good.replace("[aws, aliyun, gcp]", "[aws, azure]"),
                &["upgrade.order[1]: there is no region `azure`"],
            ),
        ];
        for (name, text, expected) in cases {
            let file = rig.file(name, text);
            let run = rig.apply(&file).await;
            let run = run.exits(2);
            for part in expected {
                let part =
                    if part.starts_with(':') { format!("{name}{part}") } else { (*part).into() };
                assert!(run.stderr.contains(&part), "`{part}` of {name}: {}", run.stderr);
            }
        }
        assert_eq!(revision(&rig).await, before, "something was changed");

        let unknown = rig.trictl(&["upgrade", "plan", "wob", "--to", "1.0.0"]).await.exits(9);
        assert_eq!(unknown.problem()["message"], "there is no service wob");
        let unknown = rig.trictl(&["upgrade", "plan", WEB, "--to", "9.9.9"]).await.exits(9);
        assert_eq!(unknown.problem()["message"], "service web has no release 9.9.9");
        // A version never changes: what it once was is what rollbacks return to.
        let artifact = rig.file("other.json", "{}");
        let other = web::release_of("1.0.0", &artifact, &Digest::of(b"{}").to_string());
        let file = rig.file("other.yaml", other);
        let run = rig.apply(&file).await.exits(5);
        assert_eq!(run.problem()["message"], "release web@1.0.0 exists with other content");
        assert_eq!(revision(&rig).await, before, "something was changed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_with_another_digest_stops_nothing_and_is_told_with_both_digests() {
    bounded(async {
        let rig = Rig::start(2).await;
        web::run(&rig, &Spec { step: "4s", ..Spec::default() }, &["1.0.0"]).await;
        let started = web::versions_started(&rig);
        let artifact = rig.file("forged.json", "forged");
        let (expected, got) = (Digest::of(b"as reviewed").to_string(), Digest::of(b"forged"));
        let file = rig.file("forged.yaml", web::release_of("1.1.0", &artifact, &expected));
        rig.apply(&file).await.exits(0);
        let upgrade = rig.begin(WEB, "1.1.0").await;
        let ending = rig.watch(&upgrade).await.exits(7).problem();
        let message = ending["message"].as_str().unwrap();
        assert!(message.contains(&expected), "{message}");
        assert!(message.contains(&got.to_string()), "{message}");
        assert_eq!(web::versions_started(&rig), started, "something was started");
        for agent in rig.fleet.agents() {
            let start = web::starts(&rig, agent.node.as_str()).pop().unwrap();
            assert!(web::is_running(start.pid), "{start:?} was stopped");
        }
        assert_eq!(rig.held_grants().await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_plan_and_a_second_upgrade_are_refused_and_the_holder_is_named() {
    bounded(async {
        let rig = Rig::start(1).await;
        let spec = Spec { rise: 6, ..Spec::default() };
        web::run(&rig, &spec, &["1.0.0", "1.1.0", "1.2.0"]).await;
        let stale = rig.plan(WEB, "1.1.0").await;
        let changed = Spec { bake: "400ms", ..spec };
        web::declare(&rig, &changed, &["1.0.0", "1.1.0", "1.2.0"]).await;
        let run = rig.trictl(&["upgrade", "start", &stale, "--yes"]).await.exits(5);
        let message = run.problem()["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(&format!("plan {stale} is stale: it is now ")), "{message}");
        web::assert_started(&rig, &["1.0.0"]);

        let other = rig.plan(WEB, "1.2.0").await;
        let upgrade = rig.begin(WEB, "1.1.0").await;
        rig.at_state(&upgrade, "aws", "switching").await;
        let run = rig.trictl(&["upgrade", "start", &other, "--yes"]).await.exits(5);
        let problem = run.problem();
        assert_eq!(problem["message"], format!("service web is being upgraded by {upgrade}"));
        assert!(why(&problem).contains("user/dev started it, to 1.1.0"), "{problem}");
        rig.watch(&upgrade).await.exits(0);
        web::assert_started(&rig, &["1.0.0", "1.1.0"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_while_a_region_is_down_is_refused_by_rule_and_evidence() {
    bounded(async {
        let mut rig = Rig::start(2).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        let plan = rig.plan(WEB, "1.1.0").await;
        let gcp = "gcp".parse().unwrap();
        rig.cut_power(&gcp).await;
        until("the loss of the region", async || {
            let service = rig.service(WEB).await?;
            (!service.regions[&gcp].serving).then_some(())
        })
        .await;
        let started = web::versions_started(&rig);
        let problem = rig.trictl(&["upgrade", "start", &plan, "--yes"]).await.exits(10).problem();
        assert_eq!(problem["code"], "refused");
        assert_eq!(problem["rule"], "serving.at_least");
        assert_eq!(problem["message"], "1 of 3 regions would serve web, and at least 2 must");
        assert!(why(&problem).contains("region gcp would not: gcp-1"), "{problem}");
        let plan = rig.trictl(&["upgrade", "plan", WEB, "--to", "1.1.0"]).await.exits(0).json();
        assert_eq!(plan["blocked"][0]["predicate"], "serving.at_least", "{plan:#}");
        assert_eq!(web::versions_started(&rig), started, "something was started");
        assert_eq!(rig.held_grants().await.unwrap(), []);
        let upgrades: Vec<serde_json::Value> = rig.look("upgrade").await.unwrap();
        assert_eq!(upgrades.len(), 1, "a refused upgrade left a record");
    })
    .await;
}
