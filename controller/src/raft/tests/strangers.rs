//! Who is refused: emptied and exchanged directories, other fleets, and callers who speak for
//! somebody else.

use prost::Message;
use tonic::{Code, Request};
use trireme_proto::wire;
use trireme_proto::wire::raft_client::RaftClient;

use super::group::{DEADLINE, Group, eventually, plain_line};
use crate::raft::{DiskError, ENVELOPE, Fatal, Role, StartError, identify};

#[tokio::test]
async fn an_emptied_directory_under_an_old_id_stops_its_member_and_nobody_else() {
    let mut group = Group::of(3, 1000).await;
    group.propose("before").await;
    let wiped = (group.leader().await + 1) % 3;
    group.kill(wiped);
    let dir = group.config(wiped).dir;
    // The last tasks of the killed member may still write.
    eventually("an empty directory", || {
        std::fs::remove_dir_all(&dir).ok();
        (!dir.exists()).then_some(())
    })
    .await;
    group.start(wiped);
    let raft = group.node(wiped).raft.clone();
    let fatal = tokio::time::timeout(DEADLINE, raft.stopped()).await.expect("stops");
    let Fatal::NewDisk { id, known, found, .. } = &fatal else { panic!("{fatal}") };
    assert_eq!(*id, wiped as u64 + 1);
    assert_ne!(known, found);
    let text = fatal.to_string();
    assert!(text.contains("is new, but the fleet knows controller"), "{text}");
    eventually("its end", || (raft.status().role == Role::Stopped).then_some(())).await;
    // It neither voted nor took an entry.
    assert_eq!((raft.status().last_log, raft.status().term), (None, 0));
    group.kill(wiped);
    group.propose("after").await;
    group.agree_with(&["before", "after"].map(str::to_owned)).await;
}

#[tokio::test]
async fn a_directory_of_another_fleet_name_or_id_is_refused_at_start() {
    let mut group = Group::strangers(1, 1000);
    group.kill(0);
    let dial = || super::group::Plain::named("c1");
    for change in ["fleet", "name", "id"] {
        let mut config = group.config(0);
        match change {
            "fleet" => config.fleet = "other".to_owned(),
            "name" => config.name = "c9".to_owned(),
            _ => config.id = 9,
        }
        let error = loop {
            let start =
                crate::raft::Raft::start(config.clone(), dial(), super::group::Notes::default());
            match start.await {
                Err(StartError::Disk(DiskError::InUse { .. })) => tokio::task::yield_now().await,
                other => break other.expect_err(change),
            }
        };
        assert!(matches!(error, StartError::Disk(DiskError::Foreign { .. })), "{error}");
        let text = error.to_string();
        assert!(text.contains("belongs to controller c1 (1) of fleet test, not to "), "{text}");
    }
}

/// Calls a member as `caller` with this envelope, and returns how it was refused.
async fn refusal(group: &Group, caller: &str, envelope: wire::RaftEnvelope) -> (Code, String) {
    let channel = plain_line(&group.node(0).addr.to_string(), caller);
    let mut request = Request::new(wire::RaftVoteRequest {
        vote: Some(wire::RaftVote { term: 1000, node: 2, committed: false }),
        last: Some(wire::RaftLogId { term: 1000, leader: 2, index: 1000 }),
        transfer: true,
        pre: false,
    });
    let value = tonic::metadata::MetadataValue::from_bytes(&envelope.encode_to_vec());
    request.metadata_mut().insert_bin(ENVELOPE, value);
    let status = RaftClient::new(channel).vote(request).await.expect_err("refused");
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn who_speaks_for_somebody_else_is_refused_before_anything_is_looked_at() {
    let group = Group::of(3, 1000).await;
    group.propose("note").await;
    group.agree_with(&["note".to_owned()]).await;
    let term = group.node(0).raft.status().term;
    let members = group.members();
    let honest = wire::RaftEnvelope {
        fleet: "test".to_owned(),
        from: 2,
        from_disk: members[1].disk.clone(),
        to: 1,
        to_disk: members[0].disk.clone(),
    };
    let with = |change: &dyn Fn(&mut wire::RaftEnvelope)| {
        let mut envelope = honest.clone();
        change(&mut envelope);
        envelope
    };
    let cases = [
        ("agent-7", honest.clone(), Code::Unauthenticated, "no certificate"),
        ("c3", honest.clone(), Code::PermissionDenied, "c3 may not speak for raft id 2"),
        ("c3", with(&|e| e.from = 9), Code::PermissionDenied, "may not speak for raft id 9"),
        (
            "c2",
            with(&|e| e.from_disk = "other".to_owned()),
            Code::PermissionDenied,
            "may not speak for raft id 2 on disk other",
        ),
        (
            "c2",
            with(&|e| e.fleet = "other".to_owned()),
            Code::PermissionDenied,
            "of fleet test, not of fleet other",
        ),
        ("c2", with(&|e| e.to = 3), Code::FailedPrecondition, "with raft id 1, not 3"),
        (
            "c2",
            with(&|e| e.to_disk = "other".to_owned()),
            Code::FailedPrecondition,
            "the fleet knows controller 1 on disk other",
        ),
    ];
    for (caller, envelope, code, text) in cases {
        let (found, message) = refusal(&group, caller, envelope).await;
        assert_eq!(found, code, "{message}");
        assert!(message.contains(text), "{message}");
    }
    // No vote moved, and a caller who is wrong about our disk does not stop us.
    assert_eq!(group.node(0).raft.status().term, term);
    group.propose("after").await;
}

#[tokio::test]
async fn a_member_says_who_it_is_to_controllers_only() {
    let group = Group::strangers(1, 1000);
    let addr = group.node(0).addr.to_string();
    let found = identify(plain_line(&addr, "c2"), DEADLINE).await.unwrap();
    assert_eq!(&found.identity, group.node(0).raft.identity());
    assert!(!found.initialized);
    let refused = identify(plain_line(&addr, "agent-7"), DEADLINE).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}
