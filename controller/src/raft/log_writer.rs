//! The one thread that writes the log: it takes all that waits, makes it durable as one batch with
//! one fsync (group commit), and only then reports, in the order of issue.
//!
//! ```text
//! core ──vote, append, truncate, purge, committed──▶ queue ──all of it──▶ batch ──fsync──▶ replies
//! ```
//!
//! Invariant: nothing is acknowledged unless everything issued before it is on disk. After the
//! first error nothing is acknowledged at all, and nothing is tried again: what the kernel did
//! with the pages of a failed fsync is unknowable.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use openraft::storage::IOFlushed;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use trireme_proto::wire;
use trireme_proto::wire::raft_operation::Operation;

use super::failure::{Failure, Fatal};
use super::place::{self, Syncing};
use super::store::{Kept, Store};
use super::types::{Entry, Id, Types, Vote, entry_size, entry_to_wire, id_to_wire, vote_to_wire};

/// Bytes that may wait for the disk; the core waits beyond. They also stay in the cache until
/// written, so this bounds that too.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// What an operation without entries counts in the queue.
const OPERATION_SIZE: usize = 512;

/// How long the mark of what is committed may wait for a batch to ride on. Losing it costs a
/// restarted member some entries until a leader tells it the mark again.
const COMMITTED_DELAY: Duration = Duration::from_millis(50);

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
    /// Whether the writer, if it waits, looks again soon by itself.
    timed: bool,
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
        // A mark that something is committed is in no hurry, and comes after each batch.
        let hurry = !state.timed || !matches!(op, Op::Committed(_));
        state.waiting.push_back(Queued { sequence, op, _room: room });
        drop(state);
        if hurry {
            self.wake.notify_one();
            self.pushed.notify_one();
        }
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
        let mut state = self.lock();
        state.timed = patience.is_some();
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

    /// Waits for work or the end, no longer than `patience`.
    async fn wait(&self, patience: Option<Duration>) {
        let pushed = self.pushed.notified();
        let idle = {
            let mut state = self.lock();
            state.timed = patience.is_some();
            state.waiting.is_empty() && !state.closed
        };
        if idle {
            let patience = patience.unwrap_or(Duration::MAX);
            let _ = tokio::time::timeout(patience, pushed).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the queue itself whole: each change to it is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the raft log is closed")
}

/// The writing side.
pub(super) struct Writer {
    pub queue: Arc<Queue>,
    pub store: Store,
    pub failure: Failure,
    /// Told the sequence number up to which everything can be read from the store.
    pub stored: Box<dyn Fn(u64) + Send>,
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

    fn run(mut self) {
        let (mut committed, mut patience) = (None, None);
        loop {
            let (batch, ending) = self.queue.take(patience);
            patience = patience_after(&batch);
            if !self.turn(batch, ending, &mut committed) {
                return;
            }
        }
    }

    /// The same in simulated time; each turn lasts as long as its fsync is said to take.
    async fn run_simulated(mut self, syncing: Arc<Syncing>) {
        let (mut committed, mut patience) = (None, None);
        loop {
            // Over, or overdue: the turn below sees which.
            self.queue.wait(patience).await;
            tokio::time::sleep(syncing(self.store.path())).await;
            let (batch, ending) = self.queue.take(Some(Duration::ZERO));
            patience = patience_after(&batch);
            if !self.turn(batch, ending, &mut committed) {
                return;
            }
        }
    }

    /// Makes one batch durable and answers it; tells whether there is more to do.
    fn turn(&mut self, batch: VecDeque<Queued>, ending: bool, committed: &mut Option<Id>) -> bool {
        for queued in &batch {
            if let Op::Committed(id) = &queued.op {
                *committed = Some(*id);
            }
        }
        let durable = batch.iter().any(|queued| !matches!(queued.op, Op::Committed(_)));
        // Without anything else to write, patience has run out or this is the end.
        let overdue = batch.is_empty() && committed.is_some();
        if durable || overdue {
            match self.store.write(encode(&batch, committed.take())) {
                Ok(Kept::Journaled) => {}
                Ok(Kept::Stored) => {
                    let last = batch.back().map(|queued| queued.sequence);
                    last.into_iter().for_each(&self.stored);
                }
                Err(fatal) => {
                    self.poison(batch, fatal);
                    return false;
                }
            }
        }
        let done = batch.is_empty() && ending;
        for queued in batch {
            queued.op.complete(Ok(()));
        }
        !done
    }

    fn poison(&self, batch: VecDeque<Queued>, fatal: Fatal) {
        self.failure.report(fatal);
        self.queue.close();
        let (late, _) = self.queue.take(Some(Duration::ZERO));
        let again = || io::Error::other("the raft log cannot be written");
        batch.into_iter().chain(late).for_each(|queued| queued.op.complete(Err(again())));
    }
}

/// Returns how long to wait for the next batch: after one that was not empty, until what it was
/// about is known to be committed, or until a mark that came with it is overdue.
fn patience_after(batch: &VecDeque<Queued>) -> Option<Duration> {
    (!batch.is_empty()).then_some(COMMITTED_DELAY)
}

/// Returns what of a batch has to be durable, in order.
fn encode(batch: &VecDeque<Queued>, committed: Option<Id>) -> wire::RaftBatch {
    let mut operations = Vec::with_capacity(batch.len());
    let mut push = |operation| {
        operations.push(wire::RaftOperation { operation: Some(operation) });
    };
    for queued in batch {
        match &queued.op {
            Op::Committed(_) => {}
            Op::Vote(vote, _) => push(Operation::Vote(vote_to_wire(vote))),
            Op::Append(entries, _) => {
                for entry in entries {
                    push(Operation::Entry(entry_to_wire(entry)));
                }
            }
            Op::Truncate(after, _) => {
                let after = after.as_ref().map(id_to_wire);
                push(Operation::Truncate(wire::RaftTruncation { after }));
            }
            Op::Purge(upto) => push(Operation::Purge(id_to_wire(upto))),
        }
    }
    wire::RaftBatch { operations, committed: committed.as_ref().map(id_to_wire) }
}
