//! Members that come and go, over real gRPC.

use std::collections::BTreeSet;
use std::time::Duration;

use super::group::{DEADLINE, Group, eventually};
use crate::raft::{ChangeError, Role};

/// Waits until the leader knows that a member has all of its log.
async fn caught_up(group: &Group, leader: usize, id: u64) {
    eventually("a newcomer that has caught up", || {
        let seen = group.node(leader).raft.group();
        let one = seen.members.iter().find(|one| one.member.id == id)?;
        (one.matched.is_some() && one.matched == seen.last).then_some(())
    })
    .await;
}

fn voters(group: &Group, leader: usize) -> BTreeSet<u64> {
    group.node(leader).raft.group().voters()
}

#[tokio::test]
async fn a_member_is_replaced_in_one_change_and_the_one_that_left_cannot_vote() {
    let mut group = Group::strangers(4, 1000);
    let members = group.members();
    group.node(0).raft.initialize(members[..3].to_vec()).await.unwrap();
    let leader = group.leader().await;
    group.propose("before").await;
    let (gone, gone_id) = ((leader + 1) % 3, ((leader + 1) % 3) as u64 + 1);
    let raft = group.node(leader).raft.clone();

    eventually("agreement", || raft.group().settled.then_some(())).await;
    let seen = raft.group();
    raft.admit(members[3].clone(), &seen).await.unwrap();
    caught_up(&group, leader, 4).await;
    let now = raft.group();
    assert_eq!(now.voters(), [1, 2, 3].into(), "it copies and does not vote");
    let wanted: BTreeSet<u64> = [1, 2, 3, 4].into_iter().filter(|id| *id != gone_id).collect();
    // What was seen before another change counts no more.
    let stale = raft.vote_in(wanted.clone(), &seen).await;
    assert!(matches!(stale, Err(ChangeError::Refused(_))), "{stale:?}");
    raft.vote_in(wanted.clone(), &now).await.unwrap();
    assert_eq!(voters(&group, leader), wanted);
    group.propose("between").await;
    // It copies on, so that it can hear of it, and stands for nothing.
    eventually("its last entry", || (group.node(gone).notes().len() == 2).then_some(())).await;
    assert_eq!(group.node(gone).raft.status().role, Role::Learner);
    raft.dismiss(gone_id, &raft.group()).await.unwrap();
    let refused = raft.dismiss(leader as u64 + 1, &raft.group()).await;
    assert!(matches!(refused, Err(ChangeError::Refused(_))), "a voter: {refused:?}");

    // Stopped and started again it disturbs nobody, and nobody counts on it.
    group.kill(gone);
    group.start(gone);
    let term = group.node(leader).raft.status().term;
    tokio::time::sleep(Duration::from_secs(1)).await;
    group.propose("after").await;
    assert_eq!(group.node(leader).raft.status().term, term, "nobody was asked for a vote");
    group.kill(gone);
    group.agree_with(&["before", "between", "after"].map(str::to_owned)).await;
}

#[tokio::test]
async fn a_newcomer_behind_the_purged_log_gets_a_snapshot_first() {
    let mut group = Group::strangers(4, 20);
    group.kill(3);
    let members = group.members();
    group.node(0).raft.initialize(members).await.unwrap();
    for n in 0..100 {
        group.propose(&format!("note {n}")).await;
    }
    let leader = group.leader().await;
    eventually("a purge", || group.node(leader).raft.status().purged).await;
    group.start(3);
    let newcomer = group.node(3).member("here");
    let raft = group.node(leader).raft.clone();
    raft.admit(newcomer, &raft.group()).await.unwrap();
    caught_up(&group, leader, 4).await;
    raft.vote_in([1, 2, 3, 4].into(), &raft.group()).await.unwrap();
    let notes: Vec<String> = (0..100).map(|n| format!("note {n}")).collect();
    group.agree_with(&notes).await;
}

#[tokio::test]
async fn members_are_told_of_each_other_and_only_a_leader_changes_them() {
    let group = Group::of(3, 1000).await;
    let leader = group.leader().await;
    let follower = &group.node((leader + 1) % 3).raft;
    let told = follower.watch_members().wait_for(|known| known.len() == 3).await.is_ok();
    assert!(told);
    let refused = follower.vote_in([1, 2].into(), &follower.group()).await;
    assert!(matches!(refused, Err(ChangeError::NotLeader { .. })), "{refused:?}");
    let all = |seen: &crate::raft::Group| {
        seen.members.iter().all(|one| one.heard.is_some_and(|age| age < DEADLINE))
    };
    eventually("everybody's word", || all(&group.node(leader).raft.group()).then_some(())).await;
}
