//! Alerts out of a real fleet: to both peers of a real Alertmanager, to every kind of chat, and
//! across the death of a leader.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use trireme_proto::view::alert::{IncidentView, NoticeView};

use super::receiver::{Alertmanager, Receiver};
use super::rig::{Rig, bounded, until};

const NODE_SILENT: &str = "\
kind: AlertRule
name: node-silent
owner: ops
review: 2031-01-01
severity: P1
when: {state: node-silent}
runbook: https://wiki.example.com/silent
";

/// Puts the secrets that channels name where each controller looks for them.
fn keep_secrets(rig: &Rig) {
    for controller in rig.fleet.controllers() {
        let dir = controller.data.join("secrets");
        std::fs::create_dir_all(&dir).unwrap();
        for (name, text) in
            [("hook", "canary-hook"), ("bot", "1:canary-bot"), ("key", "canary-key")]
        {
            let file = dir.join(name);
            std::fs::write(&file, format!("{text}\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

fn alertmanager(peers: &[&Alertmanager]) -> String {
    let urls: Vec<_> = peers.iter().map(|peer| json!(peer.url)).collect();
    format!(
        "kind: Channel\nname: am\nto: {{alertmanager: {{urls: {}}}}}\nprivate: true\n",
        Value::from(urls)
    )
}

/// Channels of every kind of chat, which say at once what is new.
fn chats(receiver: &Receiver) -> String {
    let url = &receiver.url;
    let to = [
        ("hook", format!("webhook: {{url: \"{url}/hook\", secret_file: hook}}")),
        ("telegram", format!("telegram: {{chat: -100, token_file: bot, api: \"{url}\"}}")),
        ("wecom", format!("wecom: {{key_file: key, api: \"{url}\"}}")),
        ("dingtalk", format!("dingtalk: {{token_file: key, secret_file: key, api: \"{url}\"}}")),
        ("feishu", format!("feishu: {{token_file: key, secret_file: key, api: \"{url}\"}}")),
    ];
    let one = |(name, to): &(&str, String)| {
        let language = if *name == "hook" { "en" } else { "zh" };
        format!(
            "kind: Channel\nname: {name}\nto: {{{to}}}\nprivate: true\nlanguage: {language}\n\
             group: {{wait: 0s, interval: 0s, repeat: 4h}}\n"
        )
    };
    to.iter().map(one).collect::<Vec<_>>().join("---\n")
}

/// Where each channel's messages arrive.
const PATHS: [&str; 5] = [
    "/hook",
    "/bot1:canary-bot/sendMessage",
    "/cgi-bin/webhook/send?key=canary-key",
    "/robot/send?access_token=canary-key&timestamp=",
    "/open-apis/bot/v2/hook/canary-key",
];

async fn declare(rig: &Rig, documents: &[&str]) {
    let file = rig.file("alerts.yaml", documents.join("---\n"));
    rig.apply(&file).await.exits(0);
}

async fn notices(rig: &Rig, channel: &str) -> Option<Vec<NoticeView>> {
    let all = rig.look::<NoticeView>("notice").await?;
    Some(all.into_iter().filter(|one| one.channel.as_str() == channel).collect())
}

/// Waits until a peer has the alert, with labels that never change and all that people ask.
async fn is_told_of_gcp_1(peer: &Alertmanager) {
    let told =
        until("the alert at each peer", async || peer.alerts("node-silent").await?.pop()).await;
    let labels = json!({
        "alertname": "node-silent", "fleet": "e2e", "node": "gcp-1", "region": "gcp",
        "severity": "P1",
    });
    assert_eq!(told["labels"], labels);
    assert_eq!(told["annotations"]["runbook_url"], "https://wiki.example.com/silent");
    assert_eq!(told["status"]["state"], "active");
}

/// An alert begins and ends: both peers of an Alertmanager and every chat are told of both, once.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_reach_both_peers_of_a_real_alertmanager_and_every_chat_once() {
    bounded(async {
        let receiver = Receiver::start().await;
        let first = Alertmanager::start(None).await;
        let second = Alertmanager::start(Some(&first)).await;
        let mut rig = Rig::start(1).await;
        keep_secrets(&rig);
        declare(&rig, &[NODE_SILENT, &alertmanager(&[&first, &second]), &chats(&receiver)]).await;
        for peer in [&first, &second] {
            until("the watchdog at each peer", async || {
                peer.alerts("watchdog").await.filter(|alerts| alerts.len() == 1)
            })
            .await;
        }
        rig.trictl(&["alert", "test", "feishu"]).await.exits(0);
        assert_eq!(receiver.got(PATHS[4], "测试").len(), 1);

        let node = "gcp-1".parse().unwrap();
        rig.kill_agent(&node).await;
        for peer in [&first, &second] {
            is_told_of_gcp_1(peer).await;
        }
        for path in PATHS {
            until(&format!("a message at {path}"), async || {
                receiver.got(path, "node-silent").pop()
            })
            .await;
        }
        let open = rig.look::<IncidentView>("alert").await.unwrap();
        let mut open = open.iter().filter(|one| one.rule.as_str() == "node-silent");
        let id = open.next().unwrap().id.to_string();
        assert!(open.next().is_none());
        rig.trictl(&["why", &id]).await.exits(0).says("no controller has heard");
        let run = rig.trictl(&["alert", "ack", &id, "--note", "mine"]).await.exits(0);
        assert_eq!(run.json()["state"], "acknowledged");

        rig.fleet.agent_mut(&node).unwrap().process.start().unwrap();
        for peer in [&first, &second] {
            until("its end at each peer", async || {
                peer.alerts("node-silent").await.filter(Vec::is_empty)
            })
            .await;
        }
        for path in PATHS {
            until(&format!("its end at {path}"), async || {
                (receiver.got(path, "node-silent").len() == 2).then_some(())
            })
            .await;
        }
        let hooks = receiver.got("/hook", "node-silent");
        assert_eq!(
            [&hooks[0], &hooks[1]].map(|one| one.json()["status"].clone()),
            ["firing", "resolved"]
        );
        let signed = hooks[0].header("x-trireme-signature").unwrap();
        assert!(signed.starts_with("sha256=") && signed.len() == 71, "{signed}");
        let all = until("the end of every message", async || {
            let all = rig.look::<NoticeView>("notice").await?;
            all.iter().all(|one| one.state == "delivered").then_some(all)
        })
        .await;
        assert_eq!(all.len(), 12, "a test, the watchdog, and two through each of five channels");
        // What goes out holds secrets; what is kept and shown does not.
        for kind in ["channel", "notice", "alert"] {
            let shown = rig.trictl(&["get", kind]).await.exits(0);
            assert!(!shown.stdout.contains("canary"), "{shown:?}");
        }
        for controller in rig.fleet.controllers() {
            let log = std::fs::read_to_string(controller.process.log()).unwrap();
            assert!(!log.contains("canary"), "{log}");
        }
    })
    .await;
}

/// A peer that forgot everything is told again: alerts there end by themselves unless repeated.
#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_that_forgot_is_told_again_and_a_dead_one_is_an_alert() {
    bounded(async {
        let receiver = Receiver::start().await;
        let first = Alertmanager::start(None).await;
        let mut second = Alertmanager::start(Some(&first)).await;
        let rig = Rig::start(1).await;
        keep_secrets(&rig);
        declare(&rig, &[&alertmanager(&[&first, &second]), &chats(&receiver)]).await;
        let both = async |second: &Alertmanager| {
            for peer in [&first, second] {
                until("the watchdog at each peer", async || {
                    peer.alerts("watchdog").await.filter(|alerts| alerts.len() == 1)
                })
                .await;
            }
        };
        both(&second).await;
        second.forget().await;
        both(&second).await;
        drop(second);
        until("the dead peer, through another channel", async || {
            receiver.got("/hook", "channel-failing").pop()
        })
        .await;
    })
    .await;
}

/// The leader dies while a message is on its way: nobody sends it again, and it says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_killed_between_commit_and_answer_leaves_a_message_that_nobody_repeats() {
    bounded(async {
        let receiver = Receiver::start().await;
        let mut rig = Rig::start(1).await;
        keep_secrets(&rig);
        receiver.hang(true);
        let hook = chats(&receiver).split("---\n").next().unwrap().to_owned();
        let hook = format!("{hook}severity: P1\n");
        declare(&rig, &[NODE_SILENT, &hook]).await;
        let leader = rig.leader(None).await;
        // Not a node of the region whose controller dies: its agents have to move.
        let region =
            rig.fleet.controllers().iter().find(|one| one.name == leader).unwrap().region.clone();
        let agent = rig.fleet.agents().iter().find(|agent| agent.region != region).unwrap();
        let node = agent.node.clone();
        rig.kill_agent(&node).await;
        let text = format!("\"node\":\"{node}\"");
        until("the message", async || receiver.got("/hook", &text).pop()).await;
        rig.kill_controller(&leader).await;
        receiver.hang(false);
        rig.leader(Some(&leader)).await;
        let left = until("what became of it", async || {
            let mut all = notices(&rig, "hook").await?;
            all.retain(|one| one.rule.as_ref().is_some_and(|rule| rule.as_str() == "node-silent"));
            all.pop().filter(|one| one.state == "unknown")
        })
        .await;
        assert!(left.reason.unwrap().contains("led no more"));

        // That it is over is another message, and the first one was never sent again.
        rig.fleet.agent_mut(&node).unwrap().process.start().unwrap();
        until("its end", async || {
            let got = receiver.got("/hook", &text);
            got.iter().any(|one| one.json()["status"] == "resolved").then_some(())
        })
        .await;
        let firing = |one: &&super::receiver::Got| one.json()["status"] == "firing";
        let got = receiver.got("/hook", &text);
        assert_eq!(got.iter().filter(firing).count(), 1, "{got:?}");
        let channel = rig.trictl(&["get", "channel", "hook"]).await.exits(0).json();
        assert_eq!(channel["items"][0]["unknown"], 1);
    })
    .await;
}

/// DMP-28: the number that a check gives reaches the leader, and the rule that asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn dmp_28_a_number_of_a_check_becomes_an_alert_and_its_recovery_a_message() {
    bounded(async {
        let receiver = Receiver::start().await;
        let rig = Rig::start(1).await;
        keep_secrets(&rig);
        let stats = rig.file("stats", "OK | hashrate=42;;;0 other=1\n");
        let service = format!(
            "kind: Service\nname: dmp\nnodes: {{labels: {{role: web}}}}\ndriver: {{process: {{}}}}\n\
             checks: [{{name: stats, command: {{argv: [/bin/cat, \"{}\"]}}, every: 200ms, timeout: 200ms}}]\n",
            stats.display()
        );
        let rule = "\
kind: AlertRule
name: hashrate-low
owner: mining
review: 2020-01-01
severity: P2
when: {metric: {service: dmp, check: stats, label: hashrate, below: 100}}
for: 2s
channels: [hook]
";
        let hook = chats(&receiver).split("---\n").next().unwrap().to_owned();
        declare(&rig, &[&service, rule, &hook]).await;
        let got = until("the message", async || receiver.got("/hook", "hashrate-low").pop()).await;
        let alert = &got.json()["alerts"][0];
        assert_eq!(alert["annotations"]["description"], "hashrate is 42, below 100");
        assert_eq!(alert["labels"]["check"], "stats");
        std::fs::write(&stats, "OK | hashrate=100;;;0 other=1\n").unwrap();
        until("its end", async || {
            let got = receiver.got("/hook", "hashrate-low");
            got.iter().any(|one| one.json()["status"] == "resolved").then_some(())
        })
        .await;
        // TSP-46: its owner should have looked at the rule long ago, and it is the noisiest.
        let review = rig.trictl(&["alert", "review"]).await.exits(0).json();
        assert_eq!(review["items"][0]["name"], "hashrate-low");
        assert_eq!(review["items"][0]["overdue"], true);
        assert!(review["items"][0]["fired_lately"].as_u64().unwrap() >= 1);

        // DMP-30: what was declared is changed, compared and deleted with its revision.
        let changed = rig.file("changed.yaml", rule.replace("for: 2s", "for: 30m"));
        let changed = changed.to_str().unwrap();
        let diff = rig.trictl(&["diff", "-f", changed]).await.exits(3).json();
        assert_eq!(diff["changed"][0]["changes"][0]["path"], "for");
        let revision = diff["revision"].as_u64().unwrap();
        rig.trictl(&["apply", "-f", changed, "--base", &revision.to_string()]).await.exits(0);
        let stale = ["delete", "alertrule", "hashrate-low", "--base", &revision.to_string()];
        rig.trictl(&stale).await.exits(5);
        rig.trictl(&["delete", "channel", "hook"]).await.exits(5).says("named by rules");
        rig.trictl(&["delete", "alertrule", "hashrate-low", "--dry-run"]).await.exits(0);
        rig.trictl(&["get", "alertrule", "hashrate-low"]).await.exits(0);
        rig.trictl(&["delete", "alertrule", "hashrate-low"]).await.exits(0).says("deleted");
        rig.trictl(&["get", "alertrule", "hashrate-low"]).await.exits(9);
        let audit = rig.trictl(&["audit", "list", "--limit", "200"]).await.exits(0);
        assert!(audit.stdout.contains("manifest.delete"));
    })
    .await;
}
