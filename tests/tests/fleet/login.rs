//! People come and go: tokens, certificates that follow each other, limits, and being shut out.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use trireme_proto::identity::Role;
use trireme_proto::key::{SecretKey, certificates_to_pem};
use trireme_proto::keyfile::write_public;
use trireme_proto::time::WallTime;

use super::people::{self, let_in, log_in, now};
use super::rig::{Rig, bounded, trictl, until};
use super::web::{self, Spec, WEB};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Returns the audit entries of an actor.
async fn entries(rig: &Rig, actor: &str) -> Vec<Value> {
    let list = rig.trictl(&["audit", "list", "--limit", "500"]).await.exits(0).json();
    let all = list["items"].as_array().unwrap().clone();
    all.into_iter().filter(|entry| entry["actor"] == actor).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_used_once_and_gives_what_was_granted_where_it_was_granted() {
    bounded(async {
        let rig = Rig::start(1).await;
        rig.trictl(&["user", "add", "ann", "operator@aws"]).await.exits(0);
        let token = people::token(&rig, "ann").await;
        let (config, run) = log_in(&rig, "ann", &token).await;
        let told = run.exits(0).json();
        assert_eq!((told["user"].as_str(), told["fleet"].as_str()), (Some("ann"), Some("e2e")));
        let key = config.parent().unwrap().join("e2e/user.key");
        assert_eq!((mode(&key), mode(&config)), (0o600, 0o600));

        rig.trictl_as(&config, &["get", "node"]).await.exits(0);
        let note = ["note", "node/aws-1", "seen"];
        rig.trictl_as(&config, &note).await.exits(0);
        let elsewhere = rig.trictl_as(&config, &["note", "node/gcp-1", "seen"]).await.exits(4);
        let message = "user ann as operator of aws may not note.set in gcp";
        assert_eq!(elsewhere.problem()["message"], message);
        let remove = ["node", "remove", "aws-1", "--reason", "x", "--confirm", "aws-1"];
        let refused = rig.trictl_as(&config, &remove).await.exits(4);
        let message = "user ann as operator of aws may not node.remove";
        assert_eq!(refused.problem()["message"], message);
        // More is granted, and counts at once; and taken again.
        rig.trictl(&["user", "grant", "ann", "operator@gcp"]).await.exits(0);
        rig.trictl_as(&config, &["note", "node/gcp-1", "seen"]).await.exits(0);
        // B6: what was used, and what was never made, opens nothing.
        let (_, again) = log_in(&rig, "again", &token).await;
        again.exits(4).says("of user ann was used already");
        let pin = people::root(&rig).pin();
        let invented = trireme_proto::token::Token::generate([7; 8], [7; 16], pin);
        let (_, invented) = log_in(&rig, "invented", &invented.expose()).await;
        invented.exits(4).says("is not of this fleet");
        // TSP-28: a review of access finds who there is, with which roles and when last used.
        let list = rig.trictl(&["user", "list"]).await.exits(0).json();
        let ann = &list["items"][0];
        assert_eq!(ann["name"], "ann");
        assert!(ann["last_used"].as_u64() >= ann["added"].as_u64(), "{ann}");
        let logins = entries(&rig, "user/ann").await;
        let logins = logins.iter().filter(|entry| entry["action"] == "user.login").count();
        assert_eq!(logins, 2, "one that was let in, one that was refused");
        rig.trictl(&["user", "revoke", "ann", "operator@aws,gcp"]).await.exits(0);
        rig.trictl_as(&config, &["get", "node"]).await.exits(4).says("who has no role");
    })
    .await;
}

/// B9: who is disabled is cut off with what they have open, and is refused from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_person_loses_the_open_stream_and_every_certificate() {
    bounded(async {
        let rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        let slow = Spec { bake: "30s", ..Spec::default() };
        web::declare(&rig, &slow, &["1.0.0", "1.1.0"]).await;
        let config = let_in(&rig, "bob", &["operator"]).await;
        let plan = rig.plan(WEB, "1.1.0").await;
        let start = ["upgrade", "start", &plan, "--yes"];
        let upgrade = rig.trictl_as(&config, &start).await.exits(0).json();
        let upgrade = upgrade["id"].as_str().unwrap().to_owned();
        let mut watching = trictl(&config, &["upgrade", "watch", &upgrade]);
        watching.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut watching = watching.kill_on_drop(true).spawn().unwrap();
        let mut said = tokio::io::BufReader::new(watching.stdout.take().unwrap());
        let mut first = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut said, &mut first).await.unwrap();
        assert!(first.contains(&upgrade), "{first}");

        rig.trictl(&["user", "disable", "bob", "--reason", "left"]).await.exits(0);
        // Nobody asked anything of it: the stream ended, and coming back was denied.
        let ended = until("the end of the open stream", async || {
            watching.try_wait().unwrap().map(|status| status.code())
        });
        assert_eq!(ended.await, Some(4));
        rig.trictl_as(&config, &["get", "node"]).await.exits(4).says("user bob is disabled: left");
        // Enabled again, they log in anew: nothing of before counts.
        rig.trictl(&["user", "enable", "bob"]).await.exits(0);
        rig.trictl_as(&config, &["get", "node"]).await.exits(4).says("counts no more");
        let token = people::token(&rig, "bob").await;
        let (config, run) = log_in(&rig, "bob-again", &token).await;
        run.exits(0);
        rig.trictl_as(&config, &["get", "node"]).await.exits(0);

        // B8: the name removed and given again brings nothing back, whoever signed for it.
        let remove = ["user", "remove", "bob", "--reason", "left", "--confirm", "bob"];
        rig.trictl(&remove).await.exits(0);
        rig.trictl_as(&config, &["get", "node"]).await.exits(4).says("is not of this fleet");
        let rooted = people::context(&rig, "bob", Role::Admin);
        rig.trictl_as(&rooted, &["get", "node"]).await.exits(4).says("is not of this fleet");
        rig.trictl(&["user", "add", "bob", "admin"]).await.exits(0);
        rig.trictl_as(&config, &["get", "node"]).await.exits(4).says("counts no more");
        rig.trictl_as(&rooted, &["get", "node"]).await.exits(4).says("counts no more");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ended_over_night_is_followed_by_the_next_without_a_word() {
    bounded(async {
        let rig = Rig::start(1).await;
        let config = let_in(&rig, "ann", &["auditor"]).await;
        let dir = config.parent().unwrap().join("e2e");
        let key = SecretKey::from_pem(&std::fs::read(dir.join("user.key")).unwrap()).unwrap();
        let yesterday = WallTime(now().0 - 24 * 3_600_000);
        let old = people::root(&rig).issuer().issue_user(
            &key.request().unwrap(),
            &"ann".parse().unwrap(),
            Role::Auditor,
            yesterday,
        );
        let old = certificates_to_pem(&old.unwrap().chain);
        write_public(&dir.join("user.pem"), old.as_bytes()).unwrap();
        rig.trictl_as(&config, &["get", "node"]).await.exits(0);
        let renewed = std::fs::read_to_string(dir.join("user.pem")).unwrap();
        assert_ne!(renewed, old, "the next certificate is kept");
        // Whoever is shut out gets none, with the key or without.
        rig.trictl(&["user", "disable", "ann", "--reason", "left"]).await.exits(0);
        write_public(&dir.join("user.pem"), old.as_bytes()).unwrap();
        rig.trictl_as(&config, &["get", "node"]).await.exits(4).says("user ann is disabled: left");
        let renewals = entries(&rig, "user/ann").await;
        let result = |entry: &&Value| entry["action"] == "user.renew";
        let results: Vec<_> = renewals.iter().filter(result).map(|e| &e["result"]).collect();
        assert_eq!(results.len(), 2, "{results:?}");
        assert_eq!(results[0], "done");
    })
    .await;
}

/// DMP-37: requests from outside the allow-list are denied and recorded with where they came from.
#[tokio::test(flavor = "multi_thread")]
async fn people_ask_from_the_networks_of_the_allow_list_alone() {
    bounded(async {
        let rig = Rig::start(1).await;
        let config = let_in(&rig, "ann", &["operator"]).await;
        rig.trictl(&["user", "limit", "ann", "--from", "10.0.0.0/8"]).await.exits(0);
        let refused = rig.trictl_as(&config, &["get", "node"]).await.exits(4);
        assert_eq!(refused.problem()["message"], "user ann may not ask from 127.0.0.1");
        let refusals = entries(&rig, "user/ann").await;
        let last = refusals.last().unwrap();
        assert_eq!(last["result"], "refused: user ann may not ask from 127.0.0.1");
        assert!(last["source"].as_str().unwrap().starts_with("127.0.0.1:"), "{last}");
        // Whoever writes the list stays inside.
        let everybody = ["user", "limit", "--everybody", "--from"];
        rig.trictl(&[&everybody[..], &["10.0.0.0/8"]].concat()).await.exits(10);
        rig.trictl(&[&everybody[..], &["127.0.0.0/8"]].concat()).await.exits(0);
        rig.trictl(&["user", "limit", "ann", "--anywhere"]).await.exits(0);
        rig.trictl_as(&config, &["get", "node"]).await.exits(0);
        assert_eq!(rig.node("aws-1").await.unwrap().state, "ready", "agents are not concerned");
    })
    .await;
}
