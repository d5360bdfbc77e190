//! `trictl service exec` on whole fleets: who may, what is on record and when, how it ends, and
//! that nothing runs twice or stays behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use trireme_proto::id::NodeId;

use super::app::{self, APP, Following};
use super::people;
use super::rig::{self, Rig, Run, bounded, until};
use super::web::{is_running, working_dir};

/// Says where and beside what it runs, and how it was called; ends badly.
const TELLS: &str = "#!/bin/sh
pwd
echo \"$TRIREME_SERVICE $TRIREME_NODE $TRIREME_VERSION $TRIREME_EXEC\"
echo \"$1\"
echo complaint >&2
exit 3
";

/// Notes that it was started, and waits, with a child that left its group, until a file is there.
const WAITS: &str = "#!/bin/sh
echo $$ >> started
setsid /bin/sleep 120 &
echo $! >> started
echo waits
while ! [ -e go ]; do /bin/sleep 0.05; done
kill $!
echo went
";

/// Writes more than is shown.
const FLOODS: &str = "#!/bin/sh
head -c 6000000 /dev/zero
echo
";

/// A fleet that runs the service, and lets programs run beside it everywhere but in aliyun.
async fn fleet() -> Rig {
    let mut rig = Rig::prepare(1);
    for agent in rig.fleet.agents() {
        if agent.region.as_str() != "aliyun" {
            rig::allow(agent, &json!({ "exec": [APP] }));
        }
    }
    rig.come_up().await;
    app::run(&rig, &[APP]).await;
    rig
}

fn script(rig: &Rig, text: &str) -> String {
    let path = rig.file("program", text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn exec<'a>(node: &'a str, more: &[&'a str], argv: &[&'a str]) -> Vec<&'a str> {
    let start = ["service", "exec", APP, "--node", node, "--reason", "ticket 7"];
    [&start, more, &["--"], argv].concat()
}

/// Returns what a run printed of a stream.
fn text(run: &Run, stream: &str) -> String {
    let lines = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = lines.filter(|line| line["stream"] == stream);
    lines.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

fn end(run: &Run) -> Value {
    let last: Value = serde_json::from_str(run.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["is"], "ended", "{run:?}");
    last["end"].clone()
}

/// Returns what is on record of runs, oldest first.
async fn recorded(rig: &Rig) -> Vec<Value> {
    let run = rig.trictl(&["audit", "list", "--action", "service.exec"]).await.exits(0);
    let mut items = run.json()["items"].as_array().unwrap().clone();
    items.sort_by_key(|item| item["seq"].as_u64());
    items
}

fn result(entry: &Value) -> &str {
    entry["result"].as_str().unwrap()
}

/// Returns the processes of the program that waits: its own, and its child's.
fn started(rig: &Rig, node: &str) -> Vec<u32> {
    let path = working_dir(rig, node, APP).join("started");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

async fn until_started(rig: &Rig, node: &str) -> Vec<u32> {
    until("the program and its child", async || {
        let started = started(rig, node);
        (started.len() == 2).then_some(started)
    })
    .await
}

async fn until_gone(pids: &[u32]) {
    until("nothing is left of it", async || pids.iter().all(|pid| !is_running(*pid)).then_some(()))
        .await;
}

/// DVN-05: beside the process, with its environment and directory, never through a shell; command
/// and reason on record before, the exit code after.
#[tokio::test(flavor = "multi_thread")]
async fn dvn_05_an_admin_runs_a_program_and_all_of_it_is_on_record() {
    bounded(async {
        let rig = fleet().await;
        let program = script(&rig, TELLS);
        let run = rig.trictl(&exec("aws-1", &[], &[&program, "$HOME; id"])).await.exits(1);
        let out = text(&run, "stdout");
        let lines: Vec<&str> = out.lines().collect();
        let entries = recorded(&rig).await;
        assert_eq!(entries.len(), 2, "{entries:#?}");
        let id = entries[0]["target"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let data = working_dir(&rig, "aws-1", APP);
        let told = format!("{APP} aws-1 1.0.0 {id}");
        assert_eq!(lines, [data.to_str().unwrap(), &told, "$HOME; id"]);
        assert_eq!(text(&run, "stderr"), "complaint\n");
        assert_eq!(end(&run)["exit_code"], 3);
        assert!(run.problem()["message"].as_str().unwrap().starts_with("the program: exit code 3"));

        let begins =
            format!("done: begins [{program:?}, \"$HOME; id\"] for at most 30s, because ticket 7");
        assert_eq!(result(&entries[0]), begins);
        assert_eq!((&entries[0]["role"], &entries[1]["role"]), (&json!("admin"), &json!("system")));
        assert!(result(&entries[1]).starts_with("done: exit code 3, after "), "{entries:#?}");
        for entry in &entries {
            assert_eq!(entry["target"], format!("node/aws-1/service/{APP} exec/{id}"));
            assert_eq!(entry["request_id"], entries[0]["request_id"]);
        }
        assert_ne!(entries[0]["request_id"], "");
        rig.trictl(&["audit", "verify"]).await.exits(0);

        // More than is shown is thrown away, and counted.
        let floods = script(&rig, FLOODS);
        let run = rig.trictl(&exec("gcp-1", &[], &[&floods])).await.exits(0);
        let told = end(&run);
        assert_eq!(
            (&told["shown_bytes"], &told["dropped_bytes"]),
            (&json!(4 << 20), &json!(1_805_697))
        );

        let run = rig.trictl(&exec("aws-1", &["--dry-run"], &[&program])).await.exits(0);
        assert_eq!(run.json()["dry_run"], true);
        assert_eq!(recorded(&rig).await.len(), 4, "a dry run leaves no record");
    })
    .await;
}

/// DVN-05, DVN-45: nobody but admins, and not even they where the node does not allow it.
#[tokio::test(flavor = "multi_thread")]
async fn dvn_05_nobody_else_runs_anything_and_a_node_has_the_last_word() {
    bounded(async {
        let rig = fleet().await;
        let program = script(&rig, WAITS);
        for (name, role) in [("oda", "operator"), ("dee", "developer"), ("una", "auditor")] {
            let context = people::let_in(&rig, name, &[role]).await;
            let run = rig.trictl_as(&context, &exec("aws-1", &[], &[&program])).await.exits(4);
            assert_eq!(run.problem()["code"], "denied", "{run:?}");
        }
        let entries = recorded(&rig).await;
        assert_eq!(entries.len(), 3, "{entries:#?}");
        assert!(entries.iter().all(|entry| result(entry).starts_with("refused: ")));

        let run = rig.trictl(&exec("aliyun-1", &[], &[&program])).await.exits(4);
        let message = run.problem()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("`drivers.exec`"), "{message}");
        let entries = recorded(&rig).await;
        assert!(result(&entries[4]).contains("not run: "), "{entries:#?}");
        for node in ["aws-1", "aliyun-1"] {
            assert_eq!(started(&rig, node), [0; 0]);
        }
        for (args, code, says) in [
            (exec("moon", &[], &["ls"]), 9, "there is no such node"),
            (exec("aws-1", &["--limit", "11m"], &["ls"]), 2, "a limit of 11m"),
            (exec("aws-1", &[], &["/no/such/program"]), 1, "does not run"),
        ] {
            rig.trictl(&args).await.exits(code).says(says);
        }
        let blank = ["service", "exec", APP, "--node", "aws-1", "--reason", " ", "--", "ls"];
        rig.trictl(&blank).await.exits(2).says("a reason is needed");
    })
    .await;
}

/// DVN-05: it ends with its time, and when the operator leaves, with all that it has started.
#[tokio::test(flavor = "multi_thread")]
async fn dvn_05_it_ends_with_its_time_and_with_its_operator() {
    bounded(async {
        let rig = fleet().await;
        let program = script(&rig, WAITS);
        let run = rig.trictl(&exec("aws-1", &["--limit", "1s"], &[&program])).await.exits(1);
        let why = end(&run)["why"].as_str().unwrap().to_owned();
        assert_eq!(why, "its time of 1s was up and it was killed");
        assert_eq!(text(&run, "stdout"), "waits\n");
        let pids = started(&rig, "aws-1");
        assert_eq!(pids.len(), 2);
        until_gone(&pids).await;

        // While it runs it is on record that it does.
        let args = exec("gcp-1", &["--limit", "2m"], &[&program]);
        let following = Following::start(&rig, &args);
        let pids = until_started(&rig, "gcp-1").await;
        let entries = recorded(&rig).await;
        assert_eq!(entries.len(), 3, "{entries:#?}");
        assert!(result(&entries[2]).starts_with("done: begins "), "{entries:#?}");
        assert_eq!(following.interrupt().await, Some(130));
        until_gone(&pids).await;
        let entries = until("the end on record", async || {
            let entries = recorded(&rig).await;
            (entries.len() == 4).then_some(entries)
        })
        .await;
        assert!(result(&entries[3]).contains("the operator left"), "{entries:#?}");
    })
    .await;
}

/// DVN-59: a debug run starts what the release says, beside what runs, and leaves nothing but its
/// record.
#[tokio::test(flavor = "multi_thread")]
async fn dvn_59_a_debug_run_is_one_shot_removed_and_on_record() {
    bounded(async {
        let rig = fleet().await;
        let debug = ["service", "debug", APP, "--node", "aws-1", "--reason", "ticket 7"];
        let run = rig.trictl(&[&debug[..], &["--limit", "1s"]].concat()).await.exits(1);
        assert_eq!(text(&run, "stdout"), "started 1.0.0 on aws-1, restart 0\n");
        let program = script(&rig, "#!/bin/sh\npwd\ntouch made\n");
        let run = rig.trictl(&[&debug[..], &["--", &program]].concat()).await.exits(0);
        let place = PathBuf::from(text(&run, "stdout").trim());
        let data = working_dir(&rig, "aws-1", APP);
        assert_eq!(place.parent(), data.parent());
        assert!(place != data && !place.exists() && !data.join("made").exists(), "{place:?}");
        let entries = recorded(&rig).await;
        assert_eq!(entries.len(), 4, "{entries:#?}");
        assert!(result(&entries[0]).starts_with("done: begins a debug run of []"), "{entries:#?}");
        assert!(result(&entries[3]).starts_with("done: exit code 0"), "{entries:#?}");
        let view = rig.trictl(&["service", "status", APP, "--node", "aws-1"]).await.exits(0).json();
        assert_eq!(view["items"][0]["status"]["instances"][0]["restarts"], 0);
    })
    .await;
}

/// DVN-05: an agent that is killed meanwhile repeats nothing, and what it left is ended.
#[tokio::test(flavor = "multi_thread")]
async fn dvn_05_an_agent_killed_meanwhile_repeats_nothing_and_leaves_nothing() {
    bounded(async {
        let mut rig = fleet().await;
        let program = script(&rig, WAITS);
        let node: NodeId = "gcp-1".parse().unwrap();
        let args = exec("gcp-1", &["--limit", "2m"], &[&program]);
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        let context: PathBuf = rig.fleet.context_file();
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut running = tokio::task::JoinSet::new();
        running.spawn(rig::run(rig::trictl(&context, &words)));
        let pids = until_started(&rig, "gcp-1").await;
        rig.kill_agent(&node).await;
        let run = running.join_next().await.unwrap().unwrap().exits(1);
        assert!(
            end(&run)["why"].as_str().unwrap().contains("the way to the node broke"),
            "{run:?}"
        );

        rig.fleet.agent_mut(&node).unwrap().process.start().unwrap();
        until_gone(&pids).await;
        until("the agent is back", async || {
            let run = rig.trictl(&["service", "status", APP, "--node", "gcp-1"]).await;
            (run.code == Some(0)).then_some(())
        })
        .await;
        assert_eq!(started(&rig, "gcp-1"), pids, "it was started once");
        assert!(result(recorded(&rig).await.last().unwrap()).contains("exit code unknown"));
    })
    .await;
}

/// DVN-05: what cannot be recorded is not run.
#[tokio::test(flavor = "multi_thread")]
async fn dvn_05_without_a_majority_for_the_record_nothing_runs() {
    bounded(async {
        let mut rig = fleet().await;
        let program = script(&rig, WAITS);
        for name in ["c-aliyun", "c-gcp"] {
            rig.kill_controller(&name.parse().unwrap()).await;
        }
        let args = [&["--timeout", "8s"][..], &exec("aws-1", &[], &[&program])].concat();
        let run = rig.trictl(&args).await.exits(6);
        assert_eq!(run.problem()["code"], "unreachable");
        assert_eq!(started(&rig, "aws-1"), [0; 0]);
    })
    .await;
}
