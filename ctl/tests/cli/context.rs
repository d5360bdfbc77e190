//! Contexts: which fleet is meant, and the one that must not be changed by mistake.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::fleet::{Answer, Fleet, command, finish};

fn grant() -> serde_json::Value {
    json!({
        "id": "grant-3", "holder": "upgrade-7", "takes": ["aws-1/web"], "state": "forced",
        "age": "12s", "released_by": "override", "actor": "user/ann",
    })
}

const RELEASE: [&str; 5] = ["grants", "release", "grant-3", "--reason", "node is gone"];

#[tokio::test(flavor = "multi_thread")]
async fn a_change_through_a_protected_context_names_its_fleet_and_a_look_does_not() {
    let fleet = Fleet::new().await;
    let controller = fleet
        .controller("c1", |call, _| match call.rpc {
            "release_grant" => Answer::Doc(grant()),
            _ => Answer::Doc(json!({ "items": [] })),
        })
        .await;
    let admin = fleet.admin(&[&controller.address]).await;
    drop(admin);
    let run = async |args: &[&str]| {
        let mut command = command();
        command.env("TRICTL_CONFIG", fleet.config()).args(args);
        finish(command).await
    };
    assert_eq!(run(&["context", "protect", "prod"]).await.code, Some(0));
    assert_eq!(run(&["get", "grant"]).await.code, Some(0));

    let unnamed = run(&[&RELEASE[..], &["--json"]].concat()).await;
    assert_eq!(unnamed.code, Some(2), "{unnamed:?}");
    let problem = unnamed.problem();
    assert_eq!(problem["message"], "context prod is protected: changes name their fleet");
    assert_eq!(problem["hint"], "if you mean it, add --confirm-fleet prod");
    let wrong = run(&[&RELEASE[..], &["--confirm-fleet", "test"]].concat()).await;
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.stderr.contains("the fleet is prod, not `test`"), "{wrong:?}");
    assert!(controller.seen().iter().all(|call| call.rpc != "release_grant"));

    let named = run(&[&RELEASE[..], &["--confirm-fleet", "prod"]].concat()).await;
    assert_eq!(named.code, Some(0), "{named:?}");
    assert_eq!(run(&["context", "protect", "prod", "--off"]).await.code, Some(0));
    assert_eq!(run(&RELEASE).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn contexts_are_added_chosen_and_forgotten_in_a_file_of_ones_own() {
    let fleet = Fleet::new().await;
    let controller = fleet.controller("c1", |_, _| Answer::Doc(json!({ "items": [] }))).await;
    drop(fleet.admin(&[&controller.address]).await);
    let dir = fleet.config().parent().unwrap().to_owned();
    let path = fleet.dir.path().join("new/config.yaml");
    let run = async |args: &[&str]| {
        let mut command = command();
        command.env("TRICTL_CONFIG", &path).args(args);
        finish(command).await
    };
    let file = |name: &str| dir.join(name).display().to_string();
    let (ca, cert, key) = (file("root.pem"), file("user.pem"), file("user.key"));
    let ours = ["--controller", &controller.address, "--ca", &ca, "--cert", &cert, "--key", &key];
    for name in ["one", "two"] {
        let added = run(&[&["context", "add", name][..], &ours].concat()).await;
        assert_eq!(added.code, Some(0), "{added:?}");
    }
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = run(&[&["context", "add", "two"][..], &ours].concat()).await;
    assert_eq!(again.code, Some(5), "{again:?}");
    for bad in ["../x", ".x", "a/b", ""] {
        let refused = run(&[&["context", "add", bad][..], &ours].concat()).await;
        assert_eq!(refused.code, Some(2), "{bad}: {refused:?}");
    }
    let shown = run(&["context", "show", "--json"]).await.json();
    let one = &shown["items"][0];
    assert_eq!(
        (&one["name"], &one["fleet"], &one["user"]),
        (&json!("one"), &json!("prod"), &json!("ann"))
    );
    assert_eq!(run(&["context", "use", "two"]).await.code, Some(0));
    assert_eq!(run(&["context", "use", "three"]).await.code, Some(2));
    let list = run(&["context", "list", "--json"]).await.json();
    let current = |item: &&serde_json::Value| item["current"] == true;
    let names: Vec<_> = list["items"].as_array().unwrap().iter().filter(current).collect();
    assert_eq!((names.len(), &names[0]["name"]), (1, &json!("two")));
    assert_eq!(run(&["get", "grant"]).await.code, Some(0));
    assert_eq!(run(&["context", "remove", "two"]).await.code, Some(0));
    let only = run(&["context", "show", "--json"]).await.json();
    assert_eq!(only["items"][0]["name"], "one", "the only one is the one that is meant");
}
