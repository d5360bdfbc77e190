//! Every verb that prints one document: asked for rightly, and printed in both forms.

use serde_json::{Value, json};

use crate::fleet::{Answer, Controller, Fleet, upgrade};

/// One verb: its words, the RPC and a part of the request, the document, and a part of the text.
struct Verb {
    words: &'static [&'static str],
    rpc: &'static str,
    asks: &'static str,
    answer: Value,
    says: &'static str,
}

fn list(item: Value) -> Value {
    json!({ "items": Value::Array(vec![item]) })
}

fn node() -> Value {
    json!({
        "name": "aws-1", "region": "aws", "state": "ready", "address": "127.1.0.1",
        "labels": {"role": "web"}, "generation": 4, "connected_to": "c1", "last_seen": "400ms",
        "agent_version": "0.1.0", "services": {}, "action": null,
    })
}

fn service() -> Value {
    json!({
        "name": "web", "nodes": {"labels": {"role": "web"}}, "driver": {"process": {}},
        "checks": [{"name": "health", "tcp": {"address": "127.0.0.1:80"}}],
        "revision": 4, "versions": ["1.0.0"], "at_least": 2, "upgrade": null, "regions": {},
    })
}

fn release() -> Value {
    json!({
        "service": "web", "version": "1.0.0", "argv": ["{artifact}"], "good": true,
        "artifact": {"url": "file:///web", "sha256": "a".repeat(64)},
    })
}

fn grant() -> Value {
    json!({
        "id": "grant-3", "holder": "upgrade-7", "takes": ["aws-1/web"], "state": "held",
        "age": "12s", "released_by": "bake", "actor": "user/ann",
    })
}

fn controllers() -> Value {
    json!({"fleet": "prod", "term": 3, "leader": "c1", "items": [{
        "name": "c1", "raft_id": 1, "region": "aws", "role": "leader",
        "address": "127.1.0.1:7443", "applied": 12, "agents": 2,
    }]})
}

fn why() -> Value {
    json!({"object": "service/web", "state": "serving", "reasons": [
        {"predicate": "p", "evidence": "e", "unblock": "u"},
    ]})
}

fn token() -> Value {
    json!({
        "id": "abcdefgh", "token": "abcdefgh.0.1", "node": "aws-1", "region": "aws",
        "expires_at": 0, "join": "trireme-agent join abcdefgh.0.1",
    })
}

macro_rules! verbs {
    ($($words:expr, $rpc:literal, $asks:literal, $answer:expr, $says:literal;)*) => {
        vec![$(Verb {
            words: &$words, rpc: $rpc, asks: $asks, answer: $answer, says: $says,
        }),*]
    };
}

fn lists() -> Vec<Verb> {
    let manifests = json!({"revision": 4, "objects": [{"kind": "Region", "name": "aws"}]});
    let region = json!({"name": "aws", "cloud": "aws", "nodes": ["aws-1"], "serving": {}});
    verbs! {
        ["get"], "get", "kind: \"\"", manifests, "revision 4";
        ["get", "regions"], "get", "kind: \"region\"", list(region), "aws";
        ["get", "service", "web"], "get", "name: \"web\"", list(service()), "web";
        ["get", "release"], "get", "kind: \"release\"", list(release()), "web@1.0.0";
        ["get", "upgrade"], "get", "kind: \"upgrade\"", list(upgrade("running", "baking")),
            "upgrade-7";
        ["get", "token", "--consistency", "linearizable"], "get", "Linearizable",
            list(json!({"id": "abcdefgh", "node": "aws-1", "region": "aws", "expires_at": 0,
                        "state": "waiting"})), "abcdefgh";
        ["node", "list"], "get", "kind: \"node\"", list(node()), "aws-1";
        ["get", "note"], "get", "kind: \"note\"", json!({"items": []}), "no notes";
        ["grants", "list"], "get", "kind: \"grant\"", json!({"items": []}), "no grants";
        ["controller", "status"], "controllers", "Lease", controllers(), "leader c1";
        ["audit", "list", "--from", "3", "--limit", "9"], "list_audit", "from: 3, limit: 9",
            json!({"items": []}), "no audit entries";
    }
}

fn changes() -> Vec<Verb> {
    verbs! {
        ["why", "web"], "why", "web", why(), "unblock  u";
        ["upgrade", "start", "web@1.1.0:0123456789ab", "--yes"], "start_upgrade",
            "web@1.1.0:0123456789ab", upgrade("running", "waiting"), "trictl upgrade watch upgrade-7";
        ["upgrade", "pause", "web"], "pause_upgrade", "\"web\"", upgrade("running", "waiting"), "";
        ["upgrade", "resume", "web"], "resume_upgrade", "\"web\"", upgrade("running", "x"), "";
        ["upgrade", "abort", "upgrade-7"], "abort_upgrade", "upgrade-7",
            upgrade("aborting", "waiting"), "aborting";
        ["upgrade", "rollback", "web", "--reason", "slow", "--dry-run"], "rollback_upgrade",
            "reason: \"slow\", dry_run: true", upgrade("rolling_back", "waiting"), "rolling back";
        ["grants", "release", "grant-3", "--reason", "gone"], "release_grant", "gone", grant(),
            "grant-3";
        ["node", "remove", "aws-1", "--reason", "gone", "--confirm", "aws-1"], "remove_node",
            "gone", node(), "aws-1";
        ["note", "node/aws-1", "disk is slow"], "note", "disk is slow",
            json!({"object": "node/aws-1", "text": "disk is slow", "actor": "user/ann", "at": 0}),
            "disk is slow";
        ["token", "create", "--node", "aws-1", "--region", "aws", "--address", "127.1.0.1",
            "--label", "role=web", "--ttl", "10m"], "create_token",
            "labels: {\"role\": \"web\"}, ttl_ms: 600000", token(),
            "trireme-agent join abcdefgh.0.1";
        ["controller", "transfer", "--to", "c2"], "transfer_leader", "to: \"c2\"", controllers(),
            "leader c1";
    }
}

async fn answering(fleet: &Fleet, answer: &Value) -> Controller {
    let answer = answer.clone();
    fleet.controller("c1", move |_, _| Answer::Doc(answer.clone())).await
}

async fn check(verbs: Vec<Verb>) {
    let fleet = Fleet::new().await;
    for verb in verbs {
        let controller = answering(&fleet, &verb.answer).await;
        let text = fleet.run(&[&controller.address], verb.words).await;
        let dry = verb.words.contains(&"--dry-run");
        let note = if dry { "dry run: nothing was changed\n" } else { "" };
        assert_eq!(
            (text.code, text.stderr.as_str()),
            (Some(0), note),
            "{:?}: {text:?}",
            verb.words
        );
        assert!(text.stdout.contains(verb.says), "{:?}: {text:?}", verb.words);
        let json = [verb.words, &["--json"]].concat();
        let json = fleet.run(&[&controller.address], &json).await;
        assert_eq!((json.code, json.json()), (Some(0), verb.answer), "{:?}", verb.words);
        for call in controller.seen() {
            assert_eq!(call.rpc, verb.rpc, "{:?}", verb.words);
            assert!(call.request.contains(verb.asks), "{:?}: {call:?}", verb.words);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_printed_in_both_forms() {
    check(lists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_sent_as_it_was_written_and_its_outcome_printed() {
    check(changes()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn describe_joins_the_object_with_what_it_waits_for() {
    let fleet = Fleet::new().await;
    let objects = [
        ("service", "web", service()),
        ("node", "aws-1", node()),
        ("upgrade", "upgrade-7", upgrade("running", "baking")),
        ("grant", "grant-3", grant()),
    ];
    for (kind, name, object) in objects {
        let document = list(object.clone());
        let script = move |call: &crate::fleet::Call, _| match call.rpc {
            "why" => Answer::Doc(why()),
            _ => Answer::Doc(document.clone()),
        };
        let controller = fleet.controller("c1", script).await;
        let run = fleet.run(&[&controller.address], &["describe", kind, name]).await;
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.stdout.contains(name) && run.stdout.contains("unblock  u"), "{run:?}");
        let run = fleet.run(&[&controller.address], &["describe", kind, name, "--json"]).await;
        assert_eq!(run.json(), json!({"kind": kind, "object": object, "why": why()}));
        let asked = format!("object: \"{kind}/{name}\"");
        assert!(controller.seen()[1].request.contains(&asked), "{:?}", controller.seen());
    }
    let controller = answering(&fleet, &list(release())).await;
    let release = ["describe", "release", "web@1.0.0"];
    let run = fleet.run(&[&controller.address], &release).await;
    assert!(run.stdout.contains("argv: {artifact}"), "{run:?}");
    let controller = answering(&fleet, &json!({"items": []})).await;
    let run = fleet.run(&[&controller.address], &release).await;
    assert_eq!(run.code, Some(9), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_finds_the_newest_upgrade_of_a_service() {
    let fleet = Fleet::new().await;
    let mut older = upgrade("rolled_back", "reverted");
    older["id"] = json!("upgrade-6");
    let newest = upgrade("running", "baking");
    let all = json!({"items": [older.clone(), newest.clone()]});
    let controller = answering(&fleet, &all).await;
    for (name, found) in [("web", &newest), ("upgrade-6", &older)] {
        let status = ["upgrade", "status", name, "--json"];
        let run = fleet.run(&[&controller.address], &status).await;
        assert_eq!(run.json(), list(found.clone()));
    }
    let run = fleet.run(&[&controller.address], &["upgrade", "status"]).await;
    assert!(run.stdout.starts_with("upgrade-7 web → 1.1.0: running\n"), "{run:?}");
    let run = fleet.run(&[&controller.address], &["upgrade", "status", "db"]).await;
    assert_eq!(run.code, Some(9), "{run:?}");
}
