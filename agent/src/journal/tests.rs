//! The journal on a disk that forgets what was not synced, tears writes and fills up.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use redb::StorageBackend;
use trireme_proto::action::{Progress, Report};
use trireme_proto::id::ActionId;

use super::*;
use crate::plan::Change;

/// Size of what a disk writes at once; a torn write ends at such a border.
const SECTOR: usize = 512;

/// A disk in memory that knows which writes were synced.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What is there after the power was cut.
    synced: Vec<u8>,
    /// Writes since the last sync, in order.
    unsynced: Vec<(usize, Vec<u8>)>,
    /// Largest size, if there is one.
    room: Option<usize>,
}

impl Disk {
    /// Cuts the power: of the unsynced sectors those that `lucky` picks have arrived.
    fn crash(&self, mut lucky: impl FnMut() -> bool) -> Self {
        let platter = self.0.lock().unwrap();
        let mut bytes = platter.synced.clone();
        for (at, data) in &platter.unsynced {
            for (index, sector) in data.chunks(SECTOR).enumerate() {
                if lucky() {
                    let from = at + index * SECTOR;
                    bytes.resize(bytes.len().max(from + sector.len()), 0);
                    bytes[from..from + sector.len()].copy_from_slice(sector);
                }
            }
        }
        // The length is metadata, which file systems journal by themselves.
        bytes.resize(bytes.len().max(platter.seen.len()), 0);
        let platter = Platter { seen: bytes.clone(), synced: bytes, ..Platter::default() };
        Self(Arc::new(Mutex::new(platter)))
    }

    fn limit(&self, room: Option<usize>) {
        self.0.lock().unwrap().room = room;
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().seen.len()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(Disk::len(self) as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.0.lock().unwrap().seen[from..from + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (len, mut platter) = (usize::try_from(len).unwrap(), self.0.lock().unwrap());
        if platter.room.is_some_and(|room| len > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.seen.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.synced = platter.seen.clone();
        platter.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (from, mut platter) = (usize::try_from(offset).unwrap(), self.0.lock().unwrap());
        if platter.room.is_some() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.seen[from..from + data.len()].copy_from_slice(data);
        platter.unsynced.push((from, data.to_vec()));
        Ok(())
    }
}

fn record(seq: u64) -> Record {
    let report = Report { seq, action: ActionId(seq), progress: Progress::Done };
    Record { change: Change::Restarted { at: seq, rebooted: false }, reports: vec![report] }
}

fn lazy(seq: u64) -> Record {
    Record { change: Change::Acked { seq }, reports: vec![] }
}

fn open(disk: &Disk) -> (Journal, Recovered) {
    Journal::open_on(disk.clone(), "first").unwrap()
}

fn fold(records: &[Record]) -> State {
    let mut state = State::default();
    for record in records {
        state.apply(record);
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_was_appended_is_there_after_any_crash(
        batches in prop::collection::vec((1..4_u64, prop::bool::weighted(0.2)), 1..12),
        luck in prop::collection::vec(any::<bool>(), 64),
    ) {
        let disk = Disk::default();
        let (mut journal, recovered) = open(&disk);
        prop_assert_eq!(recovered.state, State::default());
        let (mut written, mut safe) = (Vec::new(), 0);
        for (size, acks) in batches {
            let from = written.len() as u64 + 1;
            let batch: Vec<_> = if acks {
                vec![lazy(from.saturating_sub(2))]
            } else {
                (from..from + size).map(record).collect()
            };
            journal.append(&batch).unwrap();
            written.extend(batch);
            if !acks {
                safe = written.len();
            }
        }
        let mut luck = luck.into_iter().cycle();
        let torn = disk.crash(|| luck.next().unwrap());
        let (journal, recovered) = open(&torn);
        let survived = (safe..=written.len()).any(|n| fold(&written[..n]) == recovered.state);
        prop_assert!(survived, "recovered {:?} of {written:?}", recovered.state);
        prop_assert_eq!(journal.state(), &recovered.state);
        prop_assert_eq!(recovered.incarnation, "first");
    }
}

#[test]
fn a_crash_while_the_journal_is_made_leaves_none_or_a_whole_one() {
    for keep in 0..40 {
        let disk = Disk::default();
        drop(open(&disk));
        let mut left = keep;
        let torn = disk.crash(|| {
            left -= 1;
            left >= 0
        });
        let (_, recovered) = Journal::open_on(torn, "second").unwrap();
        assert!(["first", "second"].contains(&recovered.incarnation.as_str()));
    }
}

#[test]
fn keeps_its_name_boot_and_assignments() {
    let disk = Disk::default();
    let (mut journal, recovered) = open(&disk);
    assert_eq!((recovered.boot_id, recovered.assignments), (None, vec![]));
    let assignment = Assignment {
        service: "web".parse().unwrap(),
        checks: vec![],
        wanted: BTreeMap::new(),
        logs: [].into(),
    };
    journal.set_boot_id("boot-1").unwrap();
    journal.set_address("127.1.0.1").unwrap();
    journal.set_serving(&["web".parse().unwrap()]).unwrap();
    journal.set_assignments(std::slice::from_ref(&assignment)).unwrap();
    drop(journal);
    let (_, recovered) = Journal::open_on(disk.crash(|| false), "second").unwrap();
    assert_eq!(recovered.incarnation, "first");
    assert_eq!(recovered.boot_id.as_deref(), Some("boot-1"));
    assert_eq!(recovered.address.as_deref(), Some("127.1.0.1"));
    assert_eq!(recovered.serving, ["web".parse().unwrap()]);
    assert_eq!(recovered.assignments, [assignment]);
}

#[test]
fn records_are_folded_away_and_the_file_stays_small() {
    let disk = Disk::default();
    let (mut journal, _) = open(&disk);
    for seq in 1..=3 * RECORDS_MAX {
        journal.append(&[record(seq), lazy(seq)]).unwrap();
    }
    let state = journal.state().clone();
    assert_eq!((state.seq, state.queue.len()), (3 * RECORDS_MAX, 0));
    assert!(journal.next - journal.first <= RECORDS_MAX);
    drop(journal);
    let (journal, recovered) = open(&disk.crash(|| false));
    assert_eq!(recovered.state, state);
    assert!(journal.next - journal.first <= RECORDS_MAX);
    assert!(disk.len() < 4 * 1024 * 1024, "{} bytes", disk.len());
}

#[test]
fn a_full_disk_is_told_apart_and_loses_nothing() {
    let disk = Disk::default();
    let (mut journal, _) = open(&disk);
    journal.append(&[record(1)]).unwrap();
    disk.limit(Some(0));
    let error = journal.append(&[record(2)]).unwrap_err();
    assert!(matches!(error, JournalError::Full { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "disk is full: cannot write journal.redb; nothing was acknowledged and services keep \
         running: free some space and start the agent again"
    );
    assert_eq!(journal.state(), &fold(&[record(1)]), "a failed write must not count");
    drop(journal);
    let freed = disk.crash(|| false);
    let (mut journal, recovered) = open(&freed);
    assert_eq!(recovered.state, fold(&[record(1)]));
    journal.append(&[record(2)]).unwrap();
}

#[test]
fn a_second_agent_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), "first").unwrap();
    let error = Journal::open(dir.path(), "second").unwrap_err();
    assert!(matches!(error, JournalError::InUse { .. }), "{error:?}");
    drop(journal);
    assert_eq!(Journal::open(dir.path(), "second").unwrap().1.incarnation, "first");
}

#[test]
fn a_copy_torn_in_its_midst_is_refused_or_whole_but_never_misread() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), "first").unwrap();
    for seq in 1..=20 {
        journal.append(&[record(seq)]).unwrap();
    }
    let whole = std::fs::read(dir.path().join(FILE_NAME)).unwrap();
    let expected = journal.state().clone();
    for part in [0, 1, 100, whole.len() / 3, whole.len() / 2, whole.len() - 1, whole.len()] {
        let copy = tempfile::tempdir().unwrap();
        std::fs::write(copy.path().join(FILE_NAME), &whole[..part]).unwrap();
        match Journal::open(copy.path(), "second") {
            Err(_) => {}
            // An empty file is a journal not yet made; everything else must be all there.
            Ok((_, recovered)) if part == 0 => assert_eq!(recovered.incarnation, "second"),
            Ok((_, recovered)) => assert_eq!(recovered.state, expected, "{part} bytes"),
        }
    }
}

#[test]
fn a_record_of_a_later_version_is_named() {
    let disk = Disk::default();
    let (journal, _) = open(&disk);
    let transaction = journal.database.begin_write().unwrap();
    transaction
        .open_table(RECORDS)
        .unwrap()
        .insert(0, br#"{"change":{"is":"teleported"}}"#.as_slice())
        .unwrap();
    transaction.commit().unwrap();
    drop(journal);
    let error = Journal::open_on(disk, "second").unwrap_err();
    assert!(error.to_string().starts_with("record 0 in journal journal.redb cannot be read"));
}
