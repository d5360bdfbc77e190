//! SIGKILL of whatever hurts most, at the moment it hurts most; then the upgrade goes on.
//!
//! What happened on the nodes is read from the service's own records: a start that came twice
//! would stand there twice.

use std::time::Duration;

use tokio::time::Instant;
use trireme_proto::view::UpgradePhase;

use super::rig::{Rig, bounded, until};
use super::traffic::Traffic;
use super::web::{self, Spec, WEB};

/// A switch that stands at its gate for a second and a half, so that it can be met there.
fn slow_gate() -> Spec {
    Spec { rise: 10, ..Spec::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_goes_on_after_its_leader_is_killed_in_the_middle_of_a_switch() {
    bounded(async {
        let mut rig = Rig::start(2).await;
        web::run(&rig, &slow_gate(), &["1.0.0", "1.1.0"]).await;
        let traffic = Traffic::start(&rig, WEB, "/health").await;
        let upgrade = rig.begin(WEB, "1.1.0").await;
        rig.at_step(&upgrade, "aliyun", "gate").await;
        let old = rig.leader(None).await;
        rig.kill_controller(&old).await;
        let killed = Instant::now();
        let new = rig.leader(Some(&old)).await;
        let led = killed.elapsed();
        // The wave that was under way passes, and the next one is begun: it goes on.
        rig.at_step(&upgrade, "gcp", "gate").await;
        let went_on = killed.elapsed();
        rig.watch(&upgrade).await.exits(0);
        println!("{new} leads after {led:?}, the next region is switched after {went_on:?}");
        traffic.end().await.assert_unharmed();
        web::assert_started(&rig, &["1.0.0", "1.1.0"]);
        assert_eq!(rig.dead(), [old.to_string()]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_in_the_middle_of_an_action_goes_on_from_its_journal() {
    bounded(async {
        let mut rig = Rig::start(2).await;
        web::run(&rig, &slow_gate(), &["1.0.0", "1.1.0"]).await;
        let traffic = Traffic::start(&rig, WEB, "/health").await;
        let upgrade = rig.begin(WEB, "1.1.0").await;
        for region in ["aws", "aliyun", "gcp"] {
            let node = rig.at_step(&upgrade, region, "gate").await;
            let before = web::starts(&rig, node.as_str()).pop().unwrap();
            assert_eq!(before.version, "1.1.0");
            rig.kill_agent(&node).await;
            assert!(web::is_running(before.pid), "the service went with its agent");
            rig.fleet.agent_mut(&node).unwrap().process.start().unwrap();
            rig.at_state(&upgrade, region, "passed").await;
            let after = web::starts(&rig, node.as_str()).pop().unwrap();
            assert_eq!(after, before, "the service was started again");
            assert!(web::is_running(before.pid));
        }
        rig.watch(&upgrade).await.exits(0);
        traffic.end().await.assert_unharmed();
        web::assert_started(&rig, &["1.0.0", "1.1.0"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_ends_from_disk_after_every_process_was_killed_at_once() {
    bounded(async {
        let mut rig = Rig::start(2).await;
        web::run(&rig, &slow_gate(), &["1.0.0", "1.1.0"]).await;
        let upgrade = rig.begin(WEB, "1.1.0").await;
        rig.at_step(&upgrade, "aliyun", "gate").await;
        for controller in rig.fleet.controllers_mut() {
            controller.process.kill().await.unwrap();
        }
        for agent in rig.fleet.agents_mut() {
            agent.process.kill().await.unwrap();
        }
        // One region loses its services as well, as a power cut would take them.
        let gcp = "gcp".parse().unwrap();
        assert_eq!(rig.fleet.kill_services(Some(&gcp)), 0);
        assert_eq!(rig.dead().len(), 9);

        let restarted = Instant::now();
        rig.fleet.start_all().unwrap();
        let view = until("the end of the upgrade", async || {
            let view = rig.upgrade(&upgrade).await?;
            view.phase.is_final().then_some(view)
        })
        .await;
        println!("ended {:?} after the restart", restarted.elapsed());
        assert_eq!(view.phase, UpgradePhase::Succeeded, "{view:#?}");
        for (node, versions) in web::versions_started(&rig) {
            // A service that was killed was started again, by its node's restart policy.
            let killed: &[&str] = &["1.0.0", "1.0.0", "1.1.0"];
            let expected = if node.starts_with("gcp") { killed } else { &["1.0.0", "1.1.0"] };
            assert_eq!(versions, expected, "what {node} started");
        }
        assert_eq!(rig.held_grants().await.unwrap(), []);
        rig.trictl(&["audit", "verify"]).await.exits(0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_outlives_every_daemon_and_is_found_again() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0"]).await;
        let pids = |rig: &Rig| -> Vec<u32> {
            let nodes = rig.fleet.agents().iter().map(|agent| agent.node.to_string());
            nodes.map(|node| web::starts(rig, &node).pop().unwrap().pid).collect()
        };
        let before = pids(&rig);
        for agent in rig.fleet.agents_mut() {
            agent.process.stop(Duration::from_secs(10)).await.unwrap();
        }
        for controller in rig.fleet.controllers_mut() {
            controller.process.stop(Duration::from_secs(10)).await.unwrap();
        }
        assert!(before.iter().all(|pid| web::is_running(*pid)));
        rig.fleet.start_all().unwrap();
        until("three regions that serve", async || {
            let view = rig.controllers().await?;
            let agents: u32 = view.items.iter().filter_map(|one| one.agents).sum();
            (agents == 3).then_some(())?;
            let service = rig.service(WEB).await?;
            service.regions.values().all(|region| region.serving).then_some(())
        })
        .await;
        assert_eq!(pids(&rig), before);
        web::assert_started(&rig, &["1.0.0"]);
        // Whoever is asked knows where every agent is connected.
        for controller in rig.fleet.controllers() {
            until("word of every connection", async || {
                let nodes = rig.nodes_told_by(&controller.name).await?;
                nodes.iter().all(|node| node.connected_to.is_some()).then_some(())
            })
            .await;
        }
    })
    .await;
}
