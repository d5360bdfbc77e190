//! The log on faulty disks: what is acknowledged survives, and nothing is acknowledged that might
//! not.

use std::io;
use std::path::Path;

use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, LogId};
use tokio::sync::oneshot::error::TryRecvError;

use super::faulty::FaultyDisk;
use super::group::{DEADLINE, Notes, Plain, eventually};
use crate::raft::failure::{Failure, Fatal};
use crate::raft::log_store::{self, Closer, LogStore};
use crate::raft::types::{Command, Entry, Id, LeaderId, Types, Vote};
use crate::raft::{Config, Member, Profile, ProposeError, Raft};

fn id(term: u64, index: u64) -> Id {
    LogId { leader_id: LeaderId { term, node_id: 1 }, index }
}

fn entry(term: u64, index: u64) -> Entry {
    let command = Bytes::from(format!("{term}.{index}"));
    Entry { log_id: id(term, index), payload: EntryPayload::Normal(Command(command)) }
}

fn vote(term: u64) -> Vote {
    Vote { leader_id: LeaderId { term, node_id: 1 }, committed: false }
}

struct Log {
    store: LogStore,
    closer: Closer,
    failure: Failure,
}

fn open(disk: &FaultyDisk) -> Log {
    let failure = Failure::new();
    let (store, closer) = log_store::open(disk.open(), &failure).expect("a readable log");
    Log { store, closer, failure }
}

type Flushed = <Types as openraft::RaftTypeConfig>::AsyncRuntime;
type Waiting =
    <<Flushed as openraft::AsyncRuntime>::Oneshot as openraft::async_runtime::Oneshot>::Receiver<
        io::Result<()>,
    >;

impl Log {
    /// Issues an append; the answer comes when it is on disk.
    async fn append(&mut self, entries: Vec<Entry>) -> io::Result<Waiting> {
        let (flushed, waiting) = Types::oneshot();
        self.store.append(entries, IOFlushed::signal(flushed)).await?;
        Ok(waiting)
    }

    async fn read(&mut self) -> Vec<Entry> {
        let mut reader = self.store.get_log_reader().await;
        reader.try_get_log_entries(..).await.expect("readable")
    }

    async fn vote(&mut self) -> Option<Vote> {
        self.store.get_log_reader().await.read_vote().await.expect("readable")
    }
}

#[tokio::test]
async fn what_waits_is_written_with_one_sync_and_answered_in_order() {
    let disk = FaultyDisk::default();
    let mut log = open(&disk);
    log.append(vec![entry(1, 0)]).await.unwrap().await.unwrap().unwrap();
    disk.hold(true);
    let before = disk.syncs();
    let mut waiting = Vec::new();
    for index in 1..=50 {
        waiting.push(log.append(vec![entry(1, index)]).await.unwrap());
    }
    // Readable at once, acknowledged only when synced.
    assert_eq!(log.read().await.len(), 51);
    assert!(waiting.iter_mut().all(|w| matches!(w.try_recv(), Err(TryRecvError::Empty))));
    disk.hold(false);
    waiting.pop().expect("fifty").await.unwrap().unwrap();
    assert!(waiting.iter_mut().all(|w| matches!(w.try_recv(), Ok(Ok(())))));
    // The first may have been alone when the thread looked; all others shared one.
    assert!(disk.syncs() - before <= 2, "{} syncs", disk.syncs() - before);
}

#[tokio::test]
async fn a_vote_is_on_disk_when_it_is_answered() {
    let disk = FaultyDisk::default();
    let mut log = open(&disk);
    log.store.save_vote(&vote(7)).await.unwrap();
    let found = open(&disk.after_crash(|| false)).vote().await;
    assert_eq!(found, Some(vote(7)));
}

#[tokio::test]
async fn what_is_truncated_is_off_the_disk_when_it_is_answered() {
    let disk = FaultyDisk::default();
    let mut log = open(&disk);
    let entries = vec![entry(1, 0), entry(1, 1), entry(1, 2)];
    log.append(entries).await.unwrap().await.unwrap().unwrap();
    log.store.truncate_after(Some(id(1, 0))).await.unwrap();
    // A snapshot that replaces the rest may be durable before the log's next entry is.
    assert_eq!(open(&disk.after_crash(|| false)).read().await, vec![entry(1, 0)]);
}

#[tokio::test]
async fn a_failed_sync_ends_every_acknowledgement_for_good() {
    let disk = FaultyDisk::default();
    let mut log = open(&disk);
    log.append(vec![entry(1, 0)]).await.unwrap().await.unwrap().unwrap();
    disk.fail_after(0, io::ErrorKind::Other);
    let refused = log.append(vec![entry(1, 1)]).await.unwrap().await.unwrap();
    assert!(refused.is_err());
    // The disk works again, but what it lost meanwhile is unknowable.
    disk.heal();
    assert!(log.append(vec![entry(1, 2)]).await.is_err());
    assert!(log.store.save_vote(&vote(2)).await.is_err());
    let Some(Fatal::Write { path, .. }) = log.failure.get() else { panic!("no cause") };
    assert_eq!(path, Path::new("raft.journal"));
    let mut found = open(&disk.after_crash(|| false));
    assert_eq!(found.read().await, vec![entry(1, 0)]);
    assert_eq!(found.vote().await, None);
}

#[tokio::test]
async fn the_mark_of_what_is_committed_survives_an_orderly_end() {
    let disk = FaultyDisk::default();
    let mut log = open(&disk);
    log.append(vec![entry(1, 0), entry(1, 1)]).await.unwrap().await.unwrap().unwrap();
    log.store.save_committed(Some(id(1, 1))).await.unwrap();
    log.closer.close().await;
    assert_eq!(open(&disk).store.read_committed().await.unwrap(), Some(id(1, 1)));
}

/// What a log holds.
#[derive(Debug, Clone, Default, PartialEq)]
struct Held {
    vote: Option<Vote>,
    entries: Vec<Entry>,
    purged: Option<Id>,
}

/// A stream of numbers that a seed fixes.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("small")
    }
}

impl Held {
    fn term(&self) -> u64 {
        self.vote.map_or(1, |vote| vote.leader_id.term)
    }

    fn voted(&self) -> Self {
        Self { vote: Some(vote(self.term() + 1)), ..self.clone() }
    }

    /// Returns what one random thing to do leads to: each state after the one before, the last of
    /// which is acknowledged.
    fn next(&self, numbers: &mut Numbers) -> Vec<Self> {
        match numbers.below(8) {
            0 => vec![self.voted()],
            1 if !self.entries.is_empty() => {
                let mut shorter = self.clone();
                shorter.entries.truncate(numbers.index(self.entries.len()));
                vec![shorter.clone(), shorter.voted()]
            }
            2 if self.entries.len() > 3 => {
                let mut later = self.clone();
                let gone: Vec<_> = later.entries.drain(..=self.entries.len() / 2).collect();
                later.purged = gone.last().map(|entry| entry.log_id);
                vec![later.clone(), later.voted()]
            }
            _ => {
                let mut longer = self.clone();
                let last = self.entries.last().map(|entry| entry.log_id).max(self.purged);
                let start = last.map_or(0, |id| id.index + 1);
                let more = start..=start + numbers.below(5);
                longer.entries.extend(more.map(|index| entry(self.term(), index)));
                vec![longer]
            }
        }
    }

    /// Issues what leads from here to `next`, and waits where there is something to wait for.
    async fn issue(&self, next: &Self, log: &mut Log) -> io::Result<()> {
        if next.vote != self.vote {
            return log.store.save_vote(&next.vote.expect("votes stay")).await;
        }
        if next.purged != self.purged {
            return log.store.purge(next.purged.expect("purges stay")).await;
        }
        if next.entries.len() < self.entries.len() {
            let after = next.entries.last().map(|entry| entry.log_id).or(self.purged);
            return log.store.truncate_after(after).await;
        }
        let more = next.entries[self.entries.len()..].to_vec();
        log.append(more).await?.await.map_err(io::Error::other)?
    }
}

/// One history: random work, a power cut during some sync, and a look at what is left.
async fn survives(seed: u64) {
    let mut numbers = Numbers(seed);
    let disk = FaultyDisk::default();
    let mut log = open(&disk);
    disk.fail_after(numbers.index(40), io::ErrorKind::Other);
    let mut held = Held::default();
    let mut possible = Vec::new();
    for _ in 0..200 {
        possible = vec![held.clone()];
        possible.extend(held.next(&mut numbers));
        let mut done = true;
        for pair in possible.windows(2) {
            done = done && pair[0].issue(&pair[1], &mut log).await.is_ok();
        }
        if !done {
            break;
        }
        held = possible.pop().expect("itself");
    }
    assert!(log.failure.get().is_some(), "seed {seed}: the disk never failed");
    let mut found = open(&disk.after_crash(|| numbers.below(2) == 0));
    let found = Held {
        vote: found.vote().await,
        entries: found.read().await,
        purged: found.store.get_log_state().await.unwrap().last_purged_log_id,
    };
    // The step that failed was not acknowledged: it may be there, in order, or not.
    assert!(possible.contains(&found), "seed {seed}: {found:?} is none of {possible:?}");
}

#[tokio::test]
async fn whatever_was_acknowledged_survives_any_power_cut() {
    for seed in 0..200 {
        survives(seed).await;
    }
}

fn alone(dir: &Path) -> Config {
    Config {
        fleet: "test".to_owned(),
        id: 1,
        name: "c1".to_owned(),
        dir: dir.to_owned(),
        profile: Profile::Lan,
        snapshot_every: 1000,
    }
}

async fn start(dir: &Path, disk: &FaultyDisk) -> Raft<Notes> {
    let dial = Plain::named("c1");
    Raft::start_on(alone(dir), dial, Notes::default(), disk).await.expect("started")
}

#[tokio::test]
async fn a_full_disk_stops_the_member_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let raft = start(dir.path(), &disk).await;
    let identity = raft.identity();
    let me = Member {
        id: 1,
        name: identity.name.clone(),
        region: "here".to_owned(),
        addr: "127.0.0.1:1".to_owned(),
        api: String::new(),
        disk: identity.disk.clone(),
    };
    raft.initialize(vec![me]).await.unwrap();
    let mut acknowledged = 0;
    let note = |n: usize| Bytes::from(format!("{n} {}", "x".repeat(100_000)));
    eventually("a leader", || raft.watch_leadership().borrow().leader).await;
    disk.fill();
    let refused = loop {
        match raft.propose(note(acknowledged), DEADLINE).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(refused, ProposeError::Stopped(Fatal::Full { .. }) | ProposeError::OutcomeUnknown),
        "{refused}"
    );
    let fatal = tokio::time::timeout(DEADLINE, raft.stopped()).await.expect("stops");
    let text = fatal.to_string();
    assert!(text.starts_with("no space is left for ") && text.contains("raft.redb"), "{text}");
    assert!(matches!(
        raft.propose(note(0), DEADLINE).await,
        Err(ProposeError::Stopped(Fatal::Full { .. }))
    ));
    raft.shutdown().await;
    drop(raft);

    let disk = disk.after_crash(|| false);
    let raft = start(dir.path(), &disk).await;
    let applied = eventually("a proposal", || {
        (raft.watch_leadership().borrow().leader == Some(1)).then_some(())
    });
    applied.await;
    raft.propose(Bytes::from("after"), DEADLINE).await.expect("goes on");
    let notes = raft.machine().read().unwrap().notes.clone();
    let expected: Vec<_> = (0..acknowledged).map(note).collect();
    assert!(notes.starts_with(&expected), "{} of {acknowledged}", notes.len());
    assert_eq!(notes.last(), Some(&Bytes::from("after")));
    raft.shutdown().await;
}
