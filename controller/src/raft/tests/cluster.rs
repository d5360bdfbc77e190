//! Whole groups over real gRPC: elections, restarts, snapshots, transfers, and who is refused.

use super::group::{DEADLINE, Group, eventually};
use crate::raft::ReadKind;

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("note {n}")).collect()
}

#[tokio::test]
async fn three_members_apply_the_same_commands_in_the_same_order() {
    let group = Group::of(3, 1000).await;
    let notes = names(0..20);
    for note in &notes {
        group.propose(note).await;
    }
    group.agree_with(&notes).await;
}

#[tokio::test]
async fn a_follower_reads_what_was_written_before() {
    let group = Group::of(3, 1000).await;
    let leader = group.leader().await;
    let follower = &group.node((leader + 1) % 3).raft;
    for n in 0..20 {
        group.propose(&format!("note {n}")).await;
        let leader = group.leader().await;
        let index = group.node(leader).raft.read_index(ReadKind::Linearizable).await.unwrap();
        follower.wait_applied(index, DEADLINE).await.unwrap();
        assert_eq!(follower.machine().read().unwrap().notes.len(), n + 1);
    }
}

#[tokio::test]
async fn a_group_restarted_from_disk_has_lost_nothing() {
    let mut group = Group::of(3, 1000).await;
    let mut notes = names(0..20);
    for note in &notes {
        group.propose(note).await;
    }
    (0..3).for_each(|at| group.kill(at));
    (0..3).for_each(|at| group.start(at));
    notes.push("after".to_owned());
    group.propose("after").await;
    group.agree_with(&notes).await;
    eventually("all applied", || {
        let status = group.node(0).raft.status();
        (status.applied == status.last_log).then_some(())
    })
    .await;
}
