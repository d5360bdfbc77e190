//! The one thread that writes `raft.redb`: it takes all that waits, commits it as one transaction
//! with one fsync (group commit), and only then reports, in the order of issue.
//!
//! ```text
//! core ──vote, append, truncate, purge, committed──▶ queue ──all of it──▶ transaction ──fsync──▶ replies
//! ```
//!
//! Invariant: nothing is acknowledged unless everything issued before it is on disk. After the
//! first error nothing is acknowledged at all, and nothing is tried again: what the kernel did
//! with the pages of a failed fsync is unknowable.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use openraft::storage::IOFlushed;
use prost::Message;
use redb::{Database, Durability, TableDefinition, WriteTransaction};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

use super::failure::{Failure, Fatal, io_error};
use super::place::{self, Syncing};
use super::types::{Entry, Id, Types, Vote, entry_size, entry_to_wire, id_to_wire, vote_to_wire};

/// The log: index to encoded entry.
pub(super) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// Single values, by the keys below.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
pub(super) const VOTE: &str = "vote";
pub(super) const COMMITTED: &str = "committed";
pub(super) const PURGED: &str = "purged";

/// Bytes that may wait for the disk; the core waits beyond. They also stay in the cache until
/// written, so this bounds that too.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// What an operation without entries counts in the queue.
const OPERATION_SIZE: usize = 512;

/// How long the mark of what is committed may wait for a transaction to ride on. Losing it costs
/// a restarted member some entries until a leader tells it the mark again.
const COMMITTED_DELAY: Duration = Duration::from_millis(50);

/// Transactions from one that carries the mark to the next: it takes pages of its own, which is too
/// much for every batch of entries.
const COMMITTED_EVERY: u32 = 16;

/// One thing to make durable.
pub(super) enum Op {
    Vote(Vote, oneshot::Sender<io::Result<()>>),
    Committed(Id),
    Append(Vec<Entry>, IOFlushed<Types>),
    /// Removes everything after this entry; everything there is, if none.
    Truncate(Option<Id>, oneshot::Sender<io::Result<()>>),
    /// Removes everything up to and with this entry.
    Purge(Id),
}

impl Op {
    fn size(&self) -> usize {
        match self {
            Self::Append(entries, _) => entries.iter().map(entry_size).sum::<usize>(),
            _ => 0,
        }
        .saturating_add(OPERATION_SIZE)
        .min(QUEUE_BYTES_MAX)
    }

    fn complete(self, result: io::Result<()>) {
        match self {
            // Nobody waits when the core stopped meanwhile.
            Self::Vote(_, reply) | Self::Truncate(_, reply) => drop(reply.send(result)),
            Self::Append(_, flushed) => flushed.io_completed(result),
            Self::Committed(_) | Self::Purge(_) => {}
        }
    }
}

struct Queued {
    sequence: u64,
    op: Op,
    _room: OwnedSemaphorePermit,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Queued>,
    closed: bool,
}

/// The bounded queue between the core and the thread.
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    /// Wakes a writer that is no thread.
    pushed: Notify,
    room: Arc<Semaphore>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            pushed: Notify::new(),
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
        }
    }

    /// Waits until `op` fits.
    pub(super) async fn room(&self, op: &Op) -> io::Result<OwnedSemaphorePermit> {
        let size = u32::try_from(op.size()).unwrap_or(u32::MAX);
        Arc::clone(&self.room).acquire_many_owned(size).await.map_err(|_| closed())
    }

    /// Appends an operation; callers keep the order of their sequence numbers.
    pub(super) fn push(&self, sequence: u64, op: Op, room: OwnedSemaphorePermit) -> io::Result<()> {
        let mut state = self.lock();
        if state.closed {
            return Err(closed());
        }
        state.waiting.push_back(Queued { sequence, op, _room: room });
        drop(state);
        self.wake.notify_one();
        self.pushed.notify_one();
        Ok(())
    }

    /// Lets the thread finish what waits, and end.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.wake.notify_one();
        self.pushed.notify_one();
    }

    /// Waits for work; an empty answer before the end means that `patience` ran out.
    fn take(&self, patience: Option<Duration>) -> (VecDeque<Queued>, bool) {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let state = self.lock();
        let mut state = match patience {
            None => self.wake.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                self.wake
                    .wait_timeout_while(state, patience, idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        (std::mem::take(&mut state.waiting), state.closed)
    }

    fn is_idle(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && !state.closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the queue itself whole: each change to it is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the raft log is closed")
}

/// The mark of what is committed, until it is written.
#[derive(Default)]
struct Mark {
    committed: Option<Id>,
    /// Transactions since the one that carried it last.
    skipped: u32,
}

impl Mark {
    /// Returns it if this transaction shall carry it.
    fn take(&mut self, overdue: bool) -> Option<Id> {
        self.skipped += 1;
        if !overdue && self.skipped < COMMITTED_EVERY {
            return None;
        }
        self.skipped = 0;
        self.committed.take()
    }
}

/// The writing side.
pub(super) struct Writer {
    pub queue: Arc<Queue>,
    pub database: Arc<Database>,
    pub path: PathBuf,
    pub failure: Failure,
    /// Told the sequence number up to which everything is on disk, before anybody is answered.
    pub durable: Box<dyn Fn(u64) + Send>,
}

/// Comes about when the writer has ended.
pub(super) type Ending = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Writer {
    /// Begins to work: on a thread of its own or, simulated, in a task.
    pub(super) fn start(self) -> io::Result<Ending> {
        if let Some(syncing) = place::simulated() {
            let mut task = JoinSet::new();
            task.spawn(self.run_simulated(syncing));
            return Ok(Box::pin(task.join_all().map(drop)));
        }
        let thread = std::thread::Builder::new().name("raft-log".to_owned());
        let thread = thread.spawn(|| self.run())?;
        // Its own panics are reported by itself.
        Ok(Box::pin(place::blocking(move || Ok(thread.join())).map(drop)))
    }

    fn run(self) {
        let mut mark = Mark::default();
        loop {
            let patience = mark.committed.map(|_| COMMITTED_DELAY);
            let (batch, ending) = self.queue.take(patience);
            if !self.turn(batch, ending, &mut mark) {
                return;
            }
        }
    }

    /// The same in simulated time; each turn lasts as long as its fsync is said to take.
    async fn run_simulated(self, syncing: Arc<Syncing>) {
        let mut mark = Mark::default();
        loop {
            let patience = mark.committed.map(|_| COMMITTED_DELAY);
            let wait = self.queue.pushed.notified();
            if self.queue.is_idle() {
                // Over, or overdue: the turn below sees which.
                let _ = tokio::time::timeout(patience.unwrap_or(Duration::MAX), wait).await;
            }
            tokio::time::sleep(syncing(&self.path)).await;
            let (batch, ending) = self.queue.take(Some(Duration::ZERO));
            if !self.turn(batch, ending, &mut mark) {
                return;
            }
        }
    }

    /// Makes one batch durable and answers it; tells whether there is more to do.
    fn turn(&self, batch: VecDeque<Queued>, ending: bool, mark: &mut Mark) -> bool {
        for queued in &batch {
            if let Op::Committed(id) = &queued.op {
                mark.committed = Some(*id);
            }
        }
        let durable = batch.iter().any(|queued| !matches!(queued.op, Op::Committed(_)));
        // Without anything else to write, patience has run out or this is the end.
        let overdue = batch.is_empty() && mark.committed.is_some();
        if (durable || overdue)
            && let Err(error) = self.write(&batch, mark.take(overdue))
        {
            self.poison(batch, error);
            return false;
        }
        let last = batch.back().map(|queued| queued.sequence);
        last.into_iter().for_each(&self.durable);
        let done = batch.is_empty() && ending;
        for queued in batch {
            queued.op.complete(Ok(()));
        }
        !done
    }

    fn write(&self, batch: &VecDeque<Queued>, committed: Option<Id>) -> io::Result<()> {
        let mut transaction = self.database.begin_write().map_err(io_error)?;
        transaction.set_durability(Durability::Immediate).map_err(io_error)?;
        fill(&transaction, batch, committed)?;
        transaction.commit().map_err(io_error)
    }

    fn poison(&self, batch: VecDeque<Queued>, error: io::Error) {
        let kind = error.kind();
        self.failure.report(Fatal::write(&self.path, error));
        self.queue.close();
        let again = || io::Error::new(kind, "the raft log cannot be written");
        let (late, _) = self.queue.take(Some(Duration::ZERO));
        batch.into_iter().chain(late).for_each(|queued| queued.op.complete(Err(again())));
    }
}

/// Puts every operation of the batch into the transaction, in order.
fn fill(
    transaction: &WriteTransaction,
    batch: &VecDeque<Queued>,
    committed: Option<Id>,
) -> io::Result<()> {
    let mut log = transaction.open_table(LOG).map_err(io_error)?;
    let mut meta = transaction.open_table(META).map_err(io_error)?;
    for queued in batch {
        match &queued.op {
            Op::Committed(_) => {}
            Op::Vote(vote, _) => {
                let value = vote_to_wire(vote).encode_to_vec();
                meta.insert(VOTE, value.as_slice()).map_err(io_error)?;
            }
            Op::Append(entries, _) => {
                for entry in entries {
                    let value = entry_to_wire(entry);
                    let mut place = log
                        .insert_reserve(entry.log_id.index, value.encoded_len())
                        .map_err(io_error)?;
                    value.encode(&mut place.as_mut()).map_err(io::Error::other)?;
                }
            }
            Op::Truncate(after, _) => {
                let from = after.as_ref().map_or(0, |id| id.index.saturating_add(1));
                log.retain_in(from.., |_, _| false).map_err(io_error)?;
            }
            Op::Purge(upto) => {
                log.retain_in(..=upto.index, |_, _| false).map_err(io_error)?;
                let value = id_to_wire(upto).encode_to_vec();
                meta.insert(PURGED, value.as_slice()).map_err(io_error)?;
            }
        }
    }
    if let Some(id) = committed {
        let value = id_to_wire(&id).encode_to_vec();
        meta.insert(COMMITTED, value.as_slice()).map_err(io_error)?;
    }
    Ok(())
}
