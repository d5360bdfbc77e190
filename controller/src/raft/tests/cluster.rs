//! Whole groups over real gRPC: agreement, restarts, elections, hand-over and snapshots.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::group::{DEADLINE, Group, Node, Notes, Plain, eventually};
use crate::raft::network::{Links, Network};
use crate::raft::types::{LeaderId, Types, Vote};
use crate::raft::{
    COMMAND_BYTES_MAX, Fatal, InitializeError, ProposeError, Raft, ReadError, ReadKind, StartError,
    TransferError,
};

fn notes(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("note {n}")).collect()
}

/// Returns the files in a folder with this extension, oldest first.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    let mut found: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    found.sort();
    found
}

#[tokio::test]
async fn three_members_apply_the_same_commands_in_the_same_order() {
    let group = Group::of(3, 1000).await;
    let notes = notes(20);
    for note in &notes {
        group.propose(note).await;
    }
    group.agree_with(&notes).await;
}

#[tokio::test]
async fn a_follower_reads_what_was_written_before() {
    let group = Group::of(3, 1000).await;
    for n in 0..20 {
        group.propose(&format!("note {n}")).await;
        let leader = group.leader().await;
        let index = group.node(leader).raft.read_index(ReadKind::Linearizable).await.unwrap();
        let follower = &group.node((leader + 1) % 3);
        follower.raft.wait_applied(index, DEADLINE).await.unwrap();
        assert_eq!(follower.notes().len(), n + 1);
    }
}

/// Waits until a leader is confirmed: on a busy machine answers may come too late.
async fn confirmed(group: &Group, leader: usize, least: u64) {
    let until = Instant::now() + DEADLINE;
    loop {
        match group.node(leader).raft.confirmed().await {
            Some(index) => return assert!(index >= least, "{index}"),
            None => assert!(Instant::now() < until, "nobody confirms"),
        }
    }
}

#[tokio::test]
async fn a_leader_is_confirmed_by_whom_it_takes_and_nobody_else_is() {
    let mut group = Group::of(3, 1000).await;
    let index = group.propose("note").await;
    let leader = group.leader().await;
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    confirmed(&group, leader, index).await;
    assert_eq!(group.node(one).raft.confirmed().await, None, "it follows");
    group.kill(one);
    confirmed(&group, leader, index).await;
    group.kill(other);
    assert_eq!(group.node(leader).raft.confirmed().await, None, "alone it cannot know");
}

#[tokio::test]
async fn a_leader_reads_by_its_lease_and_a_follower_does_not() {
    let group = Group::of(3, 1000).await;
    let index = group.propose("note").await;
    let leader = group.leader().await;
    let raft = &group.node(leader).raft;
    assert!(raft.read_barrier(ReadKind::Lease, DEADLINE).await.unwrap() >= index);
    let follower = &group.node((leader + 1) % 3).raft;
    let refused = follower.read_barrier(ReadKind::Lease, DEADLINE).await;
    let Err(ReadError::NotLeader { leader: Some(named) }) = refused else { panic!("{refused:?}") };
    assert_eq!(named, group.members()[leader]);
}

#[tokio::test]
async fn a_group_restarted_from_disk_has_lost_nothing() {
    let mut group = Group::of(3, 1000).await;
    let mut notes = notes(20);
    for note in &notes {
        group.propose(note).await;
    }
    (0..3).for_each(|at| group.kill(at));
    (0..3).for_each(|at| group.start(at));
    notes.push("after".to_owned());
    group.propose("after").await;
    group.agree_with(&notes).await;
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_follows_when_it_returns() {
    let mut group = Group::of(3, 1000).await;
    group.propose("before").await;
    let old = group.leader().await;
    let term = group.node(old).raft.status().term;
    group.kill(old);
    group.propose("between").await;
    let new = group.leader().await;
    assert!(group.node(new).raft.status().term > term);
    group.start(old);
    group.propose("after").await;
    group.agree_with(&["before", "between", "after"].map(str::to_owned)).await;
}

#[tokio::test]
async fn a_member_that_is_gone_is_called_with_pauses() {
    let mut group = Group::of(3, 1000).await;
    let leader = group.leader().await;
    let gone = (leader + 1) % 3;
    group.kill(gone);
    group.propose("without it").await;
    let calls = || group.node(leader).calls.load(Ordering::SeqCst);
    let before = calls();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Two heartbeats each 60 ms and a few appends; a call that is refused costs no 100 us, so
    // there would be thousands without a pause.
    let made = calls() - before;
    assert!((1..200).contains(&made), "{made} calls in a second");
    group.start(gone);
    group.propose("with it").await;
    group.agree_with(&["without it", "with it"].map(str::to_owned)).await;
}

#[tokio::test]
async fn leadership_is_handed_to_the_member_that_is_named() {
    let group = Group::of(3, 1000).await;
    let from = group.leader().await;
    let to = (from + 1) % 3;
    let to_id = to as u64 + 1;
    group.node(from).raft.transfer(to_id).await.unwrap();
    assert_eq!(group.leader().await, to);
    let refused = group.node(from).raft.transfer(to_id).await;
    assert!(matches!(refused, Err(TransferError::NotLeader { .. })), "{refused:?}");
    let unknown = group.node(to).raft.transfer(9).await;
    assert!(matches!(unknown, Err(TransferError::NotVoter(9))), "{unknown:?}");
    group.propose("after").await;
    group.agree_with(&["after".to_owned()]).await;
}

#[tokio::test]
async fn a_follower_names_the_leader_instead_of_proposing() {
    let group = Group::of(3, 1000).await;
    // On a busy machine nobody leads for a moment, or another one does than did a moment ago.
    let until = Instant::now() + DEADLINE;
    loop {
        let leader = group.leader().await;
        let follower = &group.node((leader + 1) % 3).raft;
        let refused = follower.propose(Bytes::from("note"), DEADLINE).await;
        match refused {
            Err(ProposeError::NotLeader { leader: Some(named) })
                if named == group.members()[leader] =>
            {
                break;
            }
            Ok(_) | Err(ProposeError::NotLeader { .. }) if Instant::now() < until => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_command_over_the_limit_is_refused_and_one_at_it_is_not() {
    let group = Group::of(3, 1000).await;
    // On a busy machine so many bytes may cost a leader its term; then another one takes them.
    let until = Instant::now() + DEADLINE;
    loop {
        let raft = &group.node(group.leader().await).raft;
        let refused = raft.propose(vec![0; COMMAND_BYTES_MAX + 1].into(), DEADLINE).await;
        assert!(matches!(refused, Err(ProposeError::TooLarge { .. })), "{refused:?}");
        // Several together exceed a message, so they have to be split.
        let proposals = (0..8).map(|_| raft.propose(vec![0; COMMAND_BYTES_MAX].into(), DEADLINE));
        let applied = futures_util::future::join_all(proposals).await;
        if applied.iter().all(Result::is_ok) {
            break;
        }
        let lost = |one: &Result<_, _>| {
            matches!(
                one,
                Ok(_) | Err(ProposeError::NotLeader { .. } | ProposeError::OutcomeUnknown)
            )
        };
        assert!(applied.iter().all(lost) && Instant::now() < until, "{applied:?}");
    }
    for at in 0..3 {
        eventually("agreement", || (group.node(at).notes().len() >= 8).then_some(())).await;
    }
}

#[tokio::test]
async fn a_group_is_initialised_once_with_distinct_members() {
    let group = Group::strangers(3, 1000);
    let members = group.members();
    let raft = &group.node(0).raft;
    let mut twins = members.clone();
    twins[2].name = "c2".to_owned();
    for (list, reason) in
        [(members[1..].to_vec(), "it must name controller c1"), (twins, "two members share a name")]
    {
        let Err(InitializeError::Members(text)) = raft.initialize(list).await else {
            panic!("accepted")
        };
        assert!(text.starts_with(reason), "{text}");
    }
    raft.initialize(members.clone()).await.unwrap();
    group.propose("note").await;
    group.agree_with(&["note".to_owned()]).await;
    for at in 0..3 {
        let again = group.node(at).raft.initialize(members.clone()).await;
        assert!(matches!(again, Err(InitializeError::Already)), "{again:?}");
    }
}

#[tokio::test]
async fn a_member_behind_the_purged_log_catches_up_by_snapshot() {
    let mut group = Group::of(3, 20).await;
    let late = (group.leader().await + 1) % 3;
    group.propose("first").await;
    let behind = group.node(late).raft.status().last_log;
    group.kill(late);
    // Several chunks' worth.
    let mut expected = vec!["first".to_owned()];
    for n in 0..150 {
        expected.push(format!("{n} {}", "x".repeat(20_000)));
        group.propose(expected.last().unwrap()).await;
    }
    let leader = group.leader().await;
    eventually("a purge", || (group.node(leader).raft.status().purged > behind).then_some(()))
        .await;
    group.start(late);
    group.propose("last").await;
    expected.push("last".to_owned());
    group.agree_with(&expected).await;
    for at in 0..3 {
        let dir = group.config(at).dir.join("snapshots");
        eventually("tidiness", || {
            let kept = files(&dir, "snap").len();
            (files(&dir, "tmp").is_empty() && (1..=2).contains(&kept)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_restart_from_snapshot_and_log_shows_every_command_once() {
    let mut group = Group::of(1, 10).await;
    let notes = notes(35);
    for note in &notes {
        group.propose(note).await;
    }
    eventually("a snapshot", || group.node(0).raft.status().snapshot).await;
    group.kill(0);
    group.start(0);
    group.leader().await;
    group.agree_with(&notes).await;
}

#[tokio::test]
async fn an_unreadable_snapshot_is_passed_over_for_the_one_before() {
    let mut group = Group::of(1, 10).await;
    let dir = group.config(0).dir.join("snapshots");
    let notes = notes(25);
    for note in &notes {
        group.propose(note).await;
    }
    eventually("two snapshots", || (files(&dir, "snap").len() == 2).then_some(())).await;
    let node = group.nodes[0].take().unwrap();
    node.raft.shutdown().await;
    drop(node);
    let newest = files(&dir, "snap").pop().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    group.start(0);
    group.leader().await;
    group.agree_with(&notes).await;
}

#[tokio::test]
async fn a_panic_in_apply_stops_the_member_and_names_the_entry() {
    let group = Group::of(1, 1000).await;
    let raft = &group.node(0).raft;
    let index = group.propose("note").await + 1;
    let refused = raft.propose(Bytes::from("panic"), DEADLINE).await;
    assert!(refused.is_err(), "{refused:?}");
    let fatal = tokio::time::timeout(DEADLINE, raft.stopped()).await.unwrap();
    let Fatal::Apply { index: found, reason } = fatal else { panic!("{fatal}") };
    assert_eq!(found, index);
    assert!(reason.contains("asked to"), "{reason}");
}

#[tokio::test]
async fn a_pre_vote_is_really_asked_and_changes_nothing() {
    use openraft::network::{NetVote, RPCOption, RaftNetworkFactory};
    use openraft::raft::VoteRequest;
    let mut group = Group::of(3, 1000).await;
    group.propose("note").await;
    group.agree_with(&["note".to_owned()]).await;
    let leader = group.leader().await;
    let (asked, asking) = ((leader + 1) % 3, (leader + 2) % 3);
    let before = group.node(asked).raft.status();
    let member = group.node(asked).member("here");
    let identity = group.node(asking).raft.identity().clone();
    let dial = Plain::named(&identity.name);
    let mut network = Network::new(Links::new(identity.into(), dial), DEADLINE);
    let (id, record) = member.into();
    let mut client = network.new_client(id, &record).await;
    let leader_id = LeaderId { term: before.term + 5, node_id: asking as u64 + 1 };
    let stale = VoteRequest::<Types>::new(Vote { leader_id, committed: false }, None);
    let answer = client.pre_vote(stale.clone(), RPCOption::new(DEADLINE)).await.unwrap();
    assert!(!answer.vote_granted, "a log that is behind was preferred");
    assert_eq!(group.node(asked).raft.status().term, before.term);
    // Nobody there is no consent either.
    group.kill(asked);
    client.pre_vote(stale, RPCOption::new(DEADLINE)).await.unwrap_err();
}

#[tokio::test]
async fn a_directory_serves_one_member_at_a_time_and_again_after_shutdown() {
    let mut group = Group::of(1, 1000).await;
    group.propose("note").await;
    let dial = || Plain::named("c1");
    let second = Raft::start(group.config(0), dial(), Notes::default()).await;
    let text = second.unwrap_err().to_string();
    assert!(text.contains("is another controller running on this data directory?"), "{text}");
    let node: Node = group.nodes[0].take().unwrap();
    node.raft.shutdown().await;
    let third = Raft::start(group.config(0), dial(), Notes::default()).await.unwrap();
    eventually("the note", || (third.machine().read().unwrap().notes == ["note"]).then_some(()))
        .await;
    third.shutdown().await;
}

#[tokio::test]
async fn a_removed_log_beside_snapshots_is_no_new_directory() {
    let mut group = Group::of(1, 10).await;
    for note in notes(15) {
        group.propose(&note).await;
    }
    eventually("a snapshot", || group.node(0).raft.status().snapshot).await;
    group.kill(0);
    let log = group.config(0).dir.join("raft.redb");
    std::fs::remove_file(&log).unwrap();
    let Err(StartError::Disk(error)) = group.try_start(0) else { panic!("started") };
    let text = error.to_string();
    assert!(text.contains("raft.redb is missing although"), "{text}");
}
