//! `trictl service logs` on whole fleets: order, limits, restarts, lost controllers, silent nodes,
//! and files that nobody declared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use trireme_proto::id::NodeId;
use trireme_proto::identity::Role;

use super::app::{self, ACCESS, APP, Following};
use super::people;
use super::rig::{Rig, Run, bounded, until};

/// Nodes of a fleet with one in each region, in the order of their names.
const NODES: [&str; 3] = ["aliyun-1", "aws-1", "gcp-1"];

/// Returns the lines that a run printed, the totals left out.
fn lines(run: &Run) -> Vec<Value> {
    let all = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|line| line.get("text").is_some()).collect()
}

fn texts(run: &Run) -> Vec<String> {
    lines(run).iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

fn totals(run: &Run) -> Value {
    serde_json::from_str(run.stdout.lines().last().unwrap()).unwrap()
}

/// DVN-04, DVN-59, DMP-03, TSP-09: several nodes and services, merged by time, prefixed, filtered
/// where they are.
#[tokio::test(flavor = "multi_thread")]
async fn lines_of_several_nodes_services_and_files_come_in_the_order_of_time() {
    bounded(async {
        let rig = Rig::start(1).await;
        app::run(&rig, &[APP, "app-admin"]).await;
        for (at, node) in NODES.iter().enumerate() {
            let line = |second: usize, text: &str| {
                format!("2026-11-21T10:00:{second:02}Z {text} of {node}\n")
            };
            let text = [line(at, "one"), "  a line more\n".to_owned(), line(10 + at, "Error two")];
            app::write(&rig, node, APP, &text.concat());
            app::write(&rig, node, "app-admin", "");
        }
        app::write(&rig, "aws-1", "app-admin", "2026-11-21T10:00:05Z admin\n");
        let file = ["service", "logs", APP, "app-admin", "--file", ACCESS, "--files-only"];
        let run = rig.trictl(&file).await.exits(0);
        let expected: Vec<String> = [
            ("00", "one", "aliyun-1"),
            ("01", "one", "aws-1"),
            ("02", "one", "gcp-1"),
            ("05", "admin", ""),
            ("10", "Error two", "aliyun-1"),
            ("11", "Error two", "aws-1"),
            ("12", "Error two", "gcp-1"),
        ]
        .iter()
        .flat_map(|(second, text, node)| {
            let of = if node.is_empty() { String::new() } else { format!(" of {node}") };
            let line = format!("2026-11-21T10:00:{second}Z {text}{of}");
            let more = (*text == "one").then(|| "  a line more".to_owned());
            std::iter::once(line).chain(more)
        })
        .collect();
        assert_eq!(texts(&run), expected);
        let third = &lines(&run)[2];
        assert_eq!((&third["node"], &third["service"]), (&json!("aws-1"), &json!(APP)));
        assert_eq!(third["file"], ACCESS);
        let expected = json!({"asked": 3, "answered": NODES, "silent": {}});
        assert_eq!(totals(&run), expected);

        // Filtered on the nodes: the newest of those that match, of one node, of one region.
        let grep = [&file[..], &["--grep", "error", "-i", "--tail", "1"]].concat();
        let run = rig.trictl(&grep).await.exits(0);
        assert_eq!(texts(&run).len(), 3);
        let one = [&grep[..], &["--node", "gcp-1"]].concat();
        let run = rig.trictl(&one).await.exits(0);
        assert_eq!(texts(&run), ["2026-11-21T10:00:12Z Error two of gcp-1"]);
        let region = [&file[..], &["--region", "aws", "--since", "2026-11-21T10:00:06Z"]].concat();
        let run = rig.trictl(&region).await.exits(0);
        assert_eq!(texts(&run), ["2026-11-21T10:00:11Z Error two of aws-1"]);

        // Beside the file there is what the services wrote to their output.
        let run = rig.trictl(&["service", "logs", APP, "--node", "aws-1"]).await.exits(0);
        assert_eq!(texts(&run), ["started 1.0.0 on aws-1, restart 0"]);
    })
    .await;
}

/// DVN-04: a follow outlives a restart of the service and the controllers that it goes through.
#[tokio::test(flavor = "multi_thread")]
async fn a_follow_shows_every_line_once_over_a_restart_and_lost_controllers() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        app::run(&rig, &[APP]).await;
        let follow = ["service", "logs", APP, "--file", ACCESS, "--follow", "--tail", "5"];
        let mut following = Following::start(&rig, &follow);
        following.until("started 1.0.0 on gcp-1, restart 0").await;
        for node in NODES {
            app::write(&rig, node, APP, &format!("before of {node}\n"));
            following.until(&format!("before of {node}")).await;
        }
        assert_eq!(rig.fleet.kill_services(Some(&"gcp".parse().unwrap())), 0);
        following.until("started 1.0.0 on gcp-1, restart 1").await;

        // The first is the one that `trictl` asks, another that some agent is connected to; both
        // are gone once, and a majority is always there.
        for name in ["c-aws", "c-aliyun"] {
            let name = name.parse().unwrap();
            rig.kill_controller(&name).await;
            for node in NODES {
                app::write(&rig, node, APP, &format!("while {name} is gone, of {node}\n"));
            }
            for node in NODES {
                following.until(&format!("while {name} is gone, of {node}")).await;
            }
            rig.fleet.controller_mut(&name).unwrap().process.start().unwrap();
            rig.leader(None).await;
        }
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for text in following.texts() {
            *times.entry(text).or_default() += 1;
        }
        assert!(times.values().all(|count| *count == 1), "{times:#?}");
        assert_eq!(times.len(), 3 + 3 + 1 + 6, "{times:#?}");
        assert_eq!(following.interrupt().await, Some(130));
    })
    .await;
}

/// Whoever does not answer is named, the totals sum, the others' lines are there, and it is 6.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_is_named_and_the_exit_code_is_6() {
    bounded(async {
        let mut rig = Rig::start(1).await;
        app::run(&rig, &[APP]).await;
        let silent: NodeId = "gcp-1".parse().unwrap();
        rig.kill_agent(&silent).await;
        let args = ["service", "logs", APP, "--node", "gcp-1", "--node", "aws-1", "--node", "moon"];
        let run = until("the controllers have noticed", async || {
            let run = rig.trictl(&args).await.exits(6);
            run.stdout.contains("not connected").then_some(run)
        })
        .await;
        assert_eq!(texts(&run), ["started 1.0.0 on aws-1, restart 0"]);
        let silent = json!({
            "gcp-1": "it is not connected to any controller",
            "moon": "there is no such node",
        });
        assert_eq!(totals(&run), json!({"asked": 3, "answered": ["aws-1"], "silent": silent}));
        let problem = run.problem();
        assert_eq!(problem["message"], "2 of 3 nodes did not answer");
        assert_eq!(problem["why"][2], "answered: aws-1");

        // One that hangs, and is connected all the same.
        let frozen: NodeId = "aliyun-1".parse().unwrap();
        assert!(rig.fleet.agent_mut(&frozen).unwrap().process.freeze());
        let run = rig.trictl(&["service", "logs", APP, "--node", "aliyun-1"]).await.exits(6);
        assert_eq!(totals(&run)["answered"], json!([]));
        assert!(totals(&run)["silent"]["aliyun-1"].is_string(), "{run:?}");
        assert!(rig.fleet.agent_mut(&frozen).unwrap().process.thaw());
    })
    .await;
}

/// B2: a file is read by the name that the manifest declares, and only if it is that file.
#[tokio::test(flavor = "multi_thread")]
async fn no_name_and_no_link_leads_to_a_file_that_nobody_declared() {
    bounded(async {
        let rig = Rig::start(1).await;
        app::run(&rig, &[APP]).await;
        let secret = rig.file("secret", "s3cret\n");
        let mut names = vec!["../../../secret", "/etc/passwd", "..%2fsecret", "access.log", ""];
        let long = "x".repeat(10_000);
        names.extend([secret.to_str().unwrap(), &long, "access\n"]);
        for name in names {
            let args = ["service", "logs", APP, "--files-only", "--file", name];
            let run = rig.trictl(&args).await.exits(9);
            assert_eq!(run.stdout, "", "{name:?}");
            let hint = run.problem()["hint"].as_str().unwrap().to_owned();
            assert_eq!(hint, "declared are access, gone");
        }
        let gone = ["service", "logs", APP, "--files-only", "--file", "gone", "--node", "aws-1"];
        let run = rig.trictl(&gone).await.exits(6);
        assert_eq!(totals(&run)["silent"]["aws-1"], "/nowhere/at/all.log does not exist");

        let access = app::access(&rig, "aws-1", APP);
        for prepared in ["link", "hard link", "pipe"] {
            match prepared {
                "link" => symlink(&secret, &access).unwrap(),
                "hard link" => fs::hard_link(&secret, &access).unwrap(),
                _ => rustix::fs::mknodat(
                    rustix::fs::CWD,
                    &access,
                    rustix::fs::FileType::Fifo,
                    rustix::fs::Mode::RWXU,
                    0,
                )
                .unwrap(),
            }
            let args = ["service", "logs", APP, "--files-only", "--file", ACCESS];
            let args = [&args[..], &["--node", "aws-1"]].concat();
            let run = rig.trictl(&args).await.exits(6);
            assert!(!run.stdout.contains("s3cret"), "{run:?}");
            let said = totals(&run)["silent"]["aws-1"].as_str().unwrap().to_owned();
            assert!(said.contains("is not read: it "), "{prepared}: {said}");
            fs::remove_file(&access).unwrap();
        }
    })
    .await;
}

/// Requests that make no sense are told at once, and whoever the fleet does not know reads nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_said_before_any_node_is() {
    bounded(async {
        let rig = Rig::start(1).await;
        app::run(&rig, &[APP]).await;
        for (args, code, says) in [
            (&["logs", "wob"][..], 9, "there is no service wob"),
            (&["logs", APP, "--region", "moon"], 9, "there is no region moon"),
            (&["logs", APP, "--grep", "("], 2, "`(` cannot be searched for: unclosed group"),
            (&["logs", APP, "--tail", "many"], 2, "write 0 to 100000, or all"),
            (&["logs", APP, "--since", "once"], 2, "write a span such as 10m"),
        ] {
            let run = rig.trictl(&[&["service"], args].concat()).await.exits(code).says(says);
            assert_eq!(run.stdout, "");
        }
        let stranger = people::context(&rig, "eve", Role::Auditor);
        let run = rig.trictl_as(&stranger, &["service", "logs", APP]).await.exits(4);
        assert_eq!((run.stdout.as_str(), &run.problem()["code"]), ("", &json!("denied")));
    })
    .await;
}
