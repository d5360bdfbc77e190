//! Plans that other people must agree to, starts without that, and reviews.

use super::people::let_in;
use super::rig::{Rig, bounded};
use super::web::{self, Spec, WEB};

/// Declares the service again, with approvals by `count` people.
async fn guard(rig: &Rig, count: u32) {
    let manifest = Spec::default().manifest();
    let guarded = manifest.replacen(
        "upgrade:\n",
        &format!("upgrade:\n  approvals: {{count: {count}, within: 1h}}\n"),
        1,
    );
    assert_ne!(guarded, manifest, "the manifest has no place for approvals: {manifest}");
    let file = rig.file("guarded.yaml", guarded);
    rig.apply(&file).await.exits(0);
}

/// DMP-16, B6: proposed by one, approved by two others, started once.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_started_when_others_have_agreed_to_it_and_only_then() {
    bounded(async {
        let rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        guard(&rig, 2).await;
        let ann = let_in(&rig, "ann", &["operator"]).await;
        let bob = let_in(&rig, "bob", &["operator"]).await;
        let cat = let_in(&rig, "cat", &["admin"]).await;
        let una = let_in(&rig, "una", &["auditor"]).await;
        let plan = rig.plan(WEB, "1.1.0").await;
        let start = ["upgrade", "start", &plan, "--yes"];
        let waiting = rig.trictl_as(&ann, &start).await.exits(8).problem();
        assert_eq!(waiting["code"], "waiting");
        let why = waiting["why"].to_string();
        assert!(why.contains("bob, cat may approve it"), "{why}");
        let approve = ["approve", &plan];
        rig.trictl_as(&ann, &approve).await.exits(4).says("cannot approve it");
        rig.trictl_as(&una, &approve).await.exits(4).says("as auditor may not plan.approve");
        rig.trictl_as(&bob, &approve).await.exits(0);
        rig.trictl_as(&ann, &start).await.exits(8).says("1 of 2");
        rig.trictl_as(&cat, &approve).await.exits(0);
        let upgrade = rig.trictl_as(&ann, &start).await.exits(0).json();
        let upgrade = upgrade["id"].as_str().unwrap().to_owned();
        rig.watch(&upgrade).await.exits(0);
        // What was agreed to once is used up: the way back is another plan and asks anew.
        let back = rig.plan(WEB, "1.0.0").await;
        let start = ["upgrade", "start", &back, "--yes"];
        rig.trictl_as(&ann, &start).await.exits(8).says("0 of 2");
    })
    .await;
}

/// TSP-13: an emergency restart of what clients miss at once: confirmed, agreed to, recorded.
#[tokio::test(flavor = "multi_thread")]
async fn tsp_13_a_destructive_restart_is_confirmed_agreed_to_and_recorded() {
    bounded(async {
        let rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0"]).await;
        let text = Spec::default().manifest() + "by_hand: {approvals: {count: 1, within: 1h}}\n";
        let file = rig.file("by-hand.yaml", text);
        rig.apply(&file).await.exits(0);
        let ann = let_in(&rig, "ann", &["operator"]).await;
        let bob = let_in(&rig, "bob", &["operator"]).await;
        let cat = let_in(&rig, "cat", &["admin"]).await;
        let restart = ["service", "restart", WEB, "--node", "gcp-1", "--reason", "hangs"];
        rig.trictl_as(&ann, &restart).await.exits(2).says("--confirm web");
        let sure = [&restart[..], &["--confirm", WEB]].concat();
        let waiting = rig.trictl_as(&ann, &sure).await.exits(8).problem();
        assert_eq!(waiting["rule"], "by_hand.approvals");
        let hint = waiting["hint"].as_str().unwrap();
        let plan = hint.rsplit(' ').next().unwrap().to_owned();
        assert!(plan.starts_with("web@restart:"), "{hint}");
        rig.trictl_as(&ann, &["approve", &plan]).await.exits(4);
        rig.trictl_as(&bob, &["approve", &plan]).await.exits(0);
        let watched = [&sure[..], &["--watch"]].concat();
        rig.trictl_as(&ann, &watched).await.exits(0);
        assert_eq!(web::starts(&rig, "gcp-1").len(), 2);
        assert_eq!(web::starts(&rig, "aws-1").len(), 1);

        // Nobody is there to agree: an admin goes without, and everybody is told.
        let glass = ["--break-glass", "the database hangs", "--watch"];
        let glass = [&sure[..], &glass[..]].concat();
        rig.trictl_as(&bob, &glass).await.exits(4).says("may not break.glass");
        rig.trictl_as(&cat, &glass).await.exits(0);
        assert_eq!(web::starts(&rig, "gcp-1").len(), 3);
        let told = rig.trictl(&["get"]).await.exits(0).json()["attention"].to_string();
        assert!(told.contains("user/cat started web@restart:"), "{told}");
        let audit = rig.trictl(&["audit", "list", "--class", "service"]).await.exits(0).json();
        let audit = audit.to_string();
        for record in
            ["plan.approve", "break.glass", "service.restart", "waiting: plan web@restart"]
        {
            assert!(audit.contains(record), "{record} is not recorded");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_glass_is_told_to_everybody_until_another_person_has_looked() {
    bounded(async {
        let rig = Rig::start(1).await;
        web::run(&rig, &Spec::default(), &["1.0.0", "1.1.0"]).await;
        guard(&rig, 1).await;
        let ann = let_in(&rig, "ann", &["admin"]).await;
        let bob = let_in(&rig, "bob", &["operator"]).await;
        let una = let_in(&rig, "una", &["auditor"]).await;
        let plan = rig.plan(WEB, "1.1.0").await;
        let start = ["upgrade", "start", &plan, "--yes", "--break-glass", "customers are down"];
        rig.trictl_as(&bob, &start).await.exits(4).says("may not break.glass");
        let upgrade = rig.trictl_as(&ann, &start).await.exits(0).json();
        rig.watch(upgrade["id"].as_str().unwrap()).await.exits(0);
        let told = rig.trictl(&["get"]).await.exits(0).json();
        let told = told["attention"].to_string();
        assert!(told.contains("user/ann started") && told.contains("customers are down"), "{told}");
        let list = rig.trictl_as(&una, &["review", "list"]).await.exits(0).json();
        let broken = list["breaks"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(list["breaks"][0]["state"], "to be reviewed");
        let review = ["review", "break", &broken, "--note", "was right"];
        rig.trictl_as(&ann, &review).await.exits(4).says("cannot review");
        let list = rig.trictl_as(&una, &review).await.exits(0).json();
        assert_eq!(list["breaks"][0]["state"], "reviewed");
        let told = rig.trictl(&["get"]).await.exits(0).json();
        assert_eq!(told.get("attention"), None, "{told}");
        // TSP-28, DMP-38, DVN-53: reviews of people and of the audit keep who looked at what.
        rig.trictl_as(&una, &["review", "users", "--note", "all known"]).await.exits(0);
        let audit = ["review", "audit", "--class", "login", "--note", "nothing odd"];
        let list = rig.trictl_as(&una, &audit).await.exits(0).json();
        let newest = &list["items"][0];
        assert_eq!(newest["reviewer"], "user/una");
        assert_eq!(newest["query"], "class=login");
        assert!(newest["count"].as_u64().unwrap() >= 3, "{newest}");
        assert_eq!(list["items"][1]["count"], 3, "people on record");
    })
    .await;
}
