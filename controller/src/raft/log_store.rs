//! The Raft log as the library sees it: what is issued is readable at once from memory, and is
//! acknowledged when the writer thread has it on disk.
//!
//! Invariants: operations reach the writer in the order of issue; the cache holds at least every
//! entry that the store does not show yet, so a reader never sees the store behind the log.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{LogIdOptionExt, OptionalSend};
use prost::Message;
use redb::{Database, ReadableDatabase, ReadableTable};
use tokio::sync::{RwLock, oneshot};
use trireme_proto::wire;

use super::failure::{Failure, Fatal, io_error};
use super::log_writer::{Ending, Op, Queue, Writer};
use super::place::blocking;
use super::store::{COMMITTED, LOG, META, PURGED, Store, VOTE};
use super::types::{
    Entry, Id, Types, Vote, entry_from_wire, entry_size, id_from_wire, vote_from_wire,
};

/// Newest entries kept in memory for replication and apply; older ones are read from disk.
const CACHE_ENTRIES_MAX: usize = 8192;
/// Their bytes: a share of the 40 MB that a small controller may take.
const CACHE_BYTES_MAX: usize = 4 << 20;
/// Bytes read at once for one message or one piece of apply; one entry may exceed it.
pub(super) const READ_BYTES_MAX: usize = 2 << 20;

struct Cached {
    sequence: u64,
    size: usize,
    entry: Entry,
}

/// What the log holds, as issued.
#[derive(Default)]
struct Memory {
    vote: Option<Vote>,
    committed: Option<Id>,
    purged: Option<Id>,
    last: Option<Id>,
    sequence: u64,
    cache: VecDeque<Cached>,
    cache_bytes: usize,
}

impl Memory {
    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn push(&mut self, sequence: u64, entry: Entry) {
        let size = entry_size(&entry);
        self.last = Some(entry.log_id);
        self.cache_bytes += size;
        self.cache.push_back(Cached { sequence, size, entry });
    }

    fn truncate(&mut self, after: Option<Id>) {
        let keep = after.map_or(0, |id| id.index.saturating_add(1));
        while let Some(cached) = self.cache.pop_back_if(|cached| cached.entry.log_id.index >= keep)
        {
            self.cache_bytes -= cached.size;
        }
        self.last = self.last.min(after).max(self.purged);
    }

    fn purge(&mut self, upto: Id) {
        while let Some(cached) =
            self.cache.pop_front_if(|cached| cached.entry.log_id.index <= upto.index)
        {
            self.cache_bytes -= cached.size;
        }
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(self.purged);
    }

    /// Lets go of what is too much, now that the store shows all up to here.
    fn stored(&mut self, sequence: u64) {
        while self.cache.len() > CACHE_ENTRIES_MAX || self.cache_bytes > CACHE_BYTES_MAX {
            let Some(cached) = self.cache.pop_front_if(|c| c.sequence <= sequence) else { return };
            self.cache_bytes -= cached.size;
        }
    }

    /// Splits a range into the part only on disk and the entries in memory, to about `bytes`.
    fn read(
        &self,
        range: std::ops::Range<u64>,
        bytes: usize,
    ) -> (std::ops::Range<u64>, Vec<Entry>) {
        let first = self.purged.next_index();
        let start = range.start.max(first);
        let end = range.end.min(self.last.next_index());
        let cached = self.cache.front().map_or(end, |cached| cached.entry.log_id.index);
        let disk = start..end.min(cached).max(start);
        // Entries are consecutive, so an index is an offset.
        let skip = usize::try_from(start.saturating_sub(cached)).unwrap_or(usize::MAX);
        let mut room = Room(bytes);
        let entries = self
            .cache
            .iter()
            .skip(skip)
            .take_while(|cached| cached.entry.log_id.index < end && room.take(cached.size))
            .map(|cached| cached.entry.clone())
            .collect();
        (disk, entries)
    }
}

/// Lets through entries until their bytes are used up, and always the first.
struct Room(usize);

impl Room {
    fn take(&mut self, size: usize) -> bool {
        let fits = self.0 > 0;
        self.0 = self.0.saturating_sub(size);
        fits
    }
}

struct Shared {
    path: PathBuf,
    memory: Mutex<Memory>,
    /// Emptied when the store is closed, which also releases the lock on the file.
    database: RwLock<Option<Arc<Database>>>,
    queue: Arc<Queue>,
    failure: Failure,
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Each change is complete before anything in it could panic.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, range: std::ops::Range<u64>, bytes: usize) -> io::Result<Vec<Entry>> {
        let (disk, cached) = self.memory().read(range, bytes);
        if disk.is_empty() {
            return Ok(cached);
        }
        let database = self.database.read().await.clone().ok_or_else(closed)?;
        let until = disk.end;
        let (mut entries, room) = blocking(move || read_entries(&database, disk, bytes))
            .await
            .map_err(|error| self.failure.fail(Fatal::read(&self.path, error)))?;
        // What was cached follows only if the disk's part was not cut short.
        if entries.last().is_none_or(|e| e.log_id.index + 1 == until) {
            let mut room = Room(room);
            entries.extend(cached.into_iter().take_while(|entry| room.take(entry_size(entry))));
        }
        Ok(entries)
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the raft log is closed")
}

/// The log, owned by the core.
pub(super) struct LogStore {
    shared: Arc<Shared>,
}

/// A reader for replication and apply.
#[derive(Clone)]
pub(super) struct LogReader {
    shared: Arc<Shared>,
}

impl LogReader {
    /// Returns the vote that is held, or about to be: who was given it does not know of it yet.
    pub(super) fn vote(&self) -> Option<Vote> {
        self.shared.memory().vote
    }
}

/// What ends the writer and closes the file.
pub(super) struct Closer {
    shared: Arc<Shared>,
    writer: Mutex<Option<Ending>>,
}

impl Closer {
    /// Returns a reader of the log, which ends with it.
    pub(super) fn reader(&self) -> LogReader {
        LogReader { shared: Arc::clone(&self.shared) }
    }

    /// Lets everything issued reach the disk, ends the writer, and closes the file.
    pub(super) async fn close(&self) {
        self.shared.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            writer.await;
        }
        let Some(mut database) = self.shared.database.write().await.take() else { return };
        // Readers hold it for one read; the file is ours again when the last of them is done.
        while let Err(shared) = Arc::try_unwrap(database) {
            database = shared;
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

/// Opens the log in a store.
pub(super) fn open(store: Store, failure: &Failure) -> io::Result<(LogStore, Closer)> {
    let database = store.database();
    let queue = Arc::new(Queue::new());
    let shared = Arc::new(Shared {
        path: store.path().to_owned(),
        memory: Mutex::new(load(&database)?),
        database: RwLock::new(Some(database)),
        queue: Arc::clone(&queue),
        failure: failure.clone(),
    });
    let told = Arc::clone(&shared);
    let writer = Writer {
        queue,
        store,
        failure: failure.clone(),
        stored: Box::new(move |sequence| told.memory().stored(sequence)),
    };
    let ending = writer.start()?;
    let closer = Closer { shared: Arc::clone(&shared), writer: Mutex::new(Some(ending)) };
    Ok((LogStore { shared }, closer))
}

fn load(database: &Database) -> io::Result<Memory> {
    let transaction = database.begin_read().map_err(io_error)?;
    let (log, meta) = match (transaction.open_table(LOG), transaction.open_table(META)) {
        (Err(redb::TableError::TableDoesNotExist(_)), _)
        | (_, Err(redb::TableError::TableDoesNotExist(_))) => return Ok(Memory::default()),
        (log, meta) => (log.map_err(io_error)?, meta.map_err(io_error)?),
    };
    let value = |key| -> io::Result<Option<Bytes>> {
        let found = meta.get(key).map_err(io_error)?;
        Ok(found.map(|guard| Bytes::copy_from_slice(guard.value())))
    };
    let id = |key| -> io::Result<Option<Id>> {
        value(key)?.map(|b| Ok(id_from_wire(wire::RaftLogId::decode(b)?))).transpose()
    };
    let vote = value(VOTE)?
        .map(|bytes| vote_from_wire(Some(wire::RaftVote::decode(bytes)?)).map_err(io::Error::other))
        .transpose()?;
    let purged = id(PURGED)?;
    let last = match log.last().map_err(io_error)? {
        Some((_, guard)) => Some(decode(guard.value())?.log_id),
        None => None,
    };
    let committed = id(COMMITTED)?;
    Ok(Memory { vote, committed, purged, last: last.max(purged), ..Memory::default() })
}

fn decode(value: &[u8]) -> io::Result<Entry> {
    let message = wire::RaftEntry::decode(Bytes::copy_from_slice(value))?;
    entry_from_wire(message).map_err(io::Error::other)
}

/// Reads entries to about `bytes`; returns what room is left.
fn read_entries(
    database: &Database,
    range: std::ops::Range<u64>,
    bytes: usize,
) -> io::Result<(Vec<Entry>, usize)> {
    let transaction = database.begin_read().map_err(io_error)?;
    let log = transaction.open_table(LOG).map_err(io_error)?;
    let mut entries = Vec::new();
    let mut room = Room(bytes);
    for item in log.range(range).map_err(io_error)? {
        let entry = decode(item.map_err(io_error)?.1.value())?;
        if !room.take(entry_size(&entry)) {
            break;
        }
        entries.push(entry);
    }
    Ok((entries, room.0))
}

fn bounds(range: &impl RangeBounds<u64>) -> std::ops::Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(i) => *i,
        Bound::Excluded(i) => i.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(i) => i.saturating_add(1),
        Bound::Excluded(i) => *i,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<Types> for LogReader {
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        // What is past the end is no error; what is missing before it is.
        let mut range = bounds(&range);
        range.end = range.end.min(self.shared.memory().last.next_index());
        pieces(Arc::clone(&self.shared), range)
    }

    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.shared.read(bounds(&range), usize::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.vote())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.shared.read(start..end, READ_BYTES_MAX).await
    }
}

/// Streams a range piece by piece, so that a long one is never in memory as a whole.
fn pieces(
    shared: Arc<Shared>,
    range: std::ops::Range<u64>,
) -> impl Stream<Item = io::Result<Entry>> + Send {
    use futures_util::stream::{self, StreamExt, TryStreamExt};
    stream::try_unfold((shared, range), |(shared, range)| async move {
        if range.is_empty() {
            return Ok::<_, io::Error>(None);
        }
        let entries = shared.read(range.clone(), READ_BYTES_MAX).await?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Err(missing(range.start));
        };
        if first.log_id.index != range.start {
            return Err(missing(range.start));
        }
        let rest = last.log_id.index + 1..range.end;
        Ok(Some((stream::iter(entries).map(Ok), (shared, rest))))
    })
    .try_flatten()
}

fn missing(index: u64) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("entry {index} of the log is missing"))
}

impl LogStore {
    async fn issue(&self, op: Op, change: impl FnOnce(&mut Memory, u64)) -> io::Result<()> {
        let room = self.shared.queue.room(&op).await?;
        // The core is the only caller, so the order in memory is the order in the queue.
        let sequence = {
            let mut memory = self.shared.memory();
            let sequence = memory.next();
            change(&mut memory, sequence);
            sequence
        };
        self.shared.queue.push(sequence, op, room)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let memory = self.shared.memory();
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: memory.last })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader { shared: Arc::clone(&self.shared) }
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (reply, written) = oneshot::channel();
        let vote = *vote;
        self.issue(Op::Vote(vote, reply), |memory, _| memory.vote = Some(vote)).await?;
        written.await.map_err(|_| closed())?
    }

    async fn save_committed(&mut self, committed: Option<Id>) -> io::Result<()> {
        // It never goes back, so there is no absence to record.
        let Some(id) = committed else { return Ok(()) };
        self.issue(Op::Committed(id), |memory, _| memory.committed = committed).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<Id>> {
        Ok(self.shared.memory().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let copies = entries.clone();
        self.issue(Op::Append(entries, callback), |memory, sequence| {
            for entry in copies {
                memory.push(sequence, entry);
            }
        })
        .await
    }

    async fn truncate_after(&mut self, last_log_id: Option<Id>) -> io::Result<()> {
        let (reply, written) = oneshot::channel();
        self.issue(Op::Truncate(last_log_id, reply), |memory, _| memory.truncate(last_log_id))
            .await?;
        // Waited for: what comes next may be a snapshot, durable by itself, in place of what goes
        // here. A crash that left both would leave a member that cannot start.
        written.await.map_err(|_| closed())?
    }

    async fn purge(&mut self, log_id: Id) -> io::Result<()> {
        self.issue(Op::Purge(log_id), |memory, _| memory.purge(log_id)).await
    }
}
