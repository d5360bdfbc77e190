//! A role allows no more than it says, and whoever tries is recorded.

use trireme_proto::identity::Role;

use super::people;
use super::rig::{Rig, bounded};

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_reads_everything_and_changes_nothing_and_each_try_is_recorded() {
    bounded(async {
        let rig = Rig::start(1).await;
        let auditor = people::context(&rig, "eve", Role::Auditor);
        for args in [&["get", "node"][..], &["audit", "list"], &["controller", "status"]] {
            rig.trictl_as(&auditor, args).await.exits(0);
        }
        let node = ["--reason", "x", "--confirm", "aws-1"];
        let changes: [(&[&str], &str); 4] = [
            (&["controller", "transfer"], "controller.transfer"),
            (&[&["node", "remove", "aws-1"][..], &node].concat(), "node.remove"),
            (&["grants", "release", "grant-1", "--reason", "x"], "grant.release"),
            (&["upgrade", "start", "web@1.1.0:0123456789ab", "--yes"], "upgrade.start"),
        ];
        for (args, action) in changes {
            let problem = rig.trictl_as(&auditor, args).await.exits(4).problem();
            assert_eq!(problem["code"], "denied");
            assert_eq!(problem["message"], format!("user eve as auditor may not {action}"));
        }
        let list = rig.trictl(&["audit", "list"]).await.exits(0).json();
        let entries = list["items"].as_array().unwrap();
        for (_, action) in changes {
            let tried = |entry: &&serde_json::Value| {
                entry["actor"] == "user/eve"
                    && entry["action"] == action
                    && entry["result"].as_str().unwrap().starts_with("refused: ")
            };
            assert_eq!(entries.iter().filter(tried).count(), 1, "{action} in {entries:#?}");
        }
        // Roles that this release gives nothing to may not even look.
        for (name, role) in [("oda", Role::Operator), ("dev2", Role::Developer)] {
            let context = people::context(&rig, name, role);
            rig.trictl_as(&context, &["get", "node"]).await.exits(4);
        }
        assert_eq!(rig.node("aws-1").await.unwrap().state, "ready");
    })
    .await;
}
