//! Feeds committed entries to the machine, and turns its state into snapshots and back.
//!
//! The state itself is volatile: after a restart the library installs the last snapshot and
//! applies the log again up to the saved mark of what was committed.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::alias::SnapshotOf;
use openraft::{EntryPayload, OptionalSend, Snapshot, StoredMembership};
use tokio::sync::watch;

use super::failure::{Failure, Fatal};
use super::machine::{Machine, Position, View};
use super::place::blocking;
use super::snapshot::{SnapshotFile, Snapshots};
use super::types::{Entry, Id, Meta, Stored, Types};

/// Entries applied under one lock; readers of the machine get in between.
const BATCH_MAX: usize = 256;

/// The machine, with where it stands in the log.
pub(super) struct StateMachine<M> {
    machine: Arc<RwLock<M>>,
    applied: Option<Id>,
    membership: Stored,
    snapshots: Arc<Snapshots>,
    progress: watch::Sender<u64>,
    failure: Failure,
}

type Replies = Vec<(ApplyResponder<Types>, Bytes)>;

impl<M: Machine> StateMachine<M> {
    pub(super) fn new(
        machine: Arc<RwLock<M>>,
        snapshots: Arc<Snapshots>,
        progress: watch::Sender<u64>,
        failure: Failure,
    ) -> Self {
        let membership = Stored::default();
        Self { machine, applied: None, membership, snapshots, progress, failure }
    }

    fn apply_batch(
        &mut self,
        batch: Vec<io::Result<EntryResponder<Types>>>,
    ) -> io::Result<Replies> {
        let mut replies = Vec::with_capacity(batch.len());
        // A panic of an earlier batch has stopped this member; nothing comes here after it.
        let mut machine = self.machine.write().unwrap_or_else(PoisonError::into_inner);
        for item in batch {
            let (entry, responder) = item?;
            let Entry { log_id, payload } = entry;
            let reply = match payload {
                EntryPayload::Blank => Bytes::new(),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(log_id), membership);
                    Bytes::new()
                }
                EntryPayload::Normal(command) => {
                    let at = Position {
                        index: log_id.index,
                        term: log_id.leader_id.term,
                        leader: log_id.leader_id.node_id,
                    };
                    catch_unwind(AssertUnwindSafe(|| machine.apply(at, &command.0))).map_err(
                        |panic| self.failure.fail(panicked(log_id.index, panic.as_ref())),
                    )?
                }
            };
            self.applied = Some(log_id);
            replies.extend(responder.map(|responder| (responder, reply)));
        }
        if let Some(applied) = self.applied {
            machine.batch_applied(applied.index);
        }
        Ok(replies)
    }

    fn meta(&self) -> Meta {
        Meta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }

    fn told(&self) {
        self.progress.send_replace(self.applied.map_or(0, |id| id.index));
    }

    fn failed(&self, error: io::Error) -> io::Error {
        self.failure.fail(Fatal::write(self.snapshots.dir(), error))
    }
}

fn panicked(index: u64, panic: &(dyn std::any::Any + Send)) -> Fatal {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let reason = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
    Fatal::Apply { index, reason: reason.to_owned() }
}

impl<M: Machine> RaftStateMachine<Types> for StateMachine<M> {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<Id>, Stored)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(BATCH_MAX);
        while let Some(batch) = batches.next().await {
            let replies = self.apply_batch(batch)?;
            self.told();
            for (responder, reply) in replies {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let view = self.machine.read().unwrap_or_else(PoisonError::into_inner).view();
        Builder {
            meta: self.meta(),
            view: Mutex::new(Some(view)),
            snapshots: Arc::clone(&self.snapshots),
            failure: self.failure.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: SnapshotFile) -> io::Result<()> {
        let (machine, snapshots) = (Arc::clone(&self.machine), Arc::clone(&self.snapshots));
        let kept = meta.clone();
        let installed = blocking(move || {
            // Durable before it counts: the log that it replaces is purged next.
            let snapshot = snapshots.keep(&kept, snapshot)?;
            let mut machine = machine.write().unwrap_or_else(PoisonError::into_inner);
            machine.restore(&mut snapshot.rows()?)?;
            if let Some(last) = kept.last_log_id {
                machine.batch_applied(last.index);
            }
            Ok(())
        });
        installed.await.map_err(|error| match error.kind() {
            // Whole on its way, and it does not fit what is here: no writing failed.
            io::ErrorKind::InvalidData => {
                self.failure.fail(Fatal::read(self.snapshots.dir(), error))
            }
            _ => self.failed(error),
        })?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.told();
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<Types, SnapshotFile>>> {
        let snapshots = Arc::clone(&self.snapshots);
        let found = blocking(move || snapshots.latest())
            .await
            .map_err(|error| self.failure.fail(Fatal::read(self.snapshots.dir(), error)))?;
        let beside = self.machine.read().unwrap_or_else(PoisonError::into_inner).beside();
        Ok(found.map(|(meta, snapshot)| {
            let snapshot = match beside {
                Some(beside) => snapshot.lacking(Arc::clone(&self.snapshots), beside),
                None => snapshot,
            };
            Snapshot { meta, snapshot }
        }))
    }
}

/// Writes one snapshot while later entries are applied.
pub(super) struct Builder {
    meta: Meta,
    /// Only ever moved out; the lock makes it shareable, as the library demands.
    view: Mutex<Option<Box<dyn View>>>,
    snapshots: Arc<Snapshots>,
    failure: Failure,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, SnapshotFile>> {
        let view = self.view.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let view = view.ok_or_else(|| io::Error::other("a view is written once"))?;
        let (meta, snapshots) = (self.meta.clone(), Arc::clone(&self.snapshots));
        let snapshot = blocking(move || snapshots.write(&meta, view))
            .await
            .map_err(|error| self.failure.fail(Fatal::write(self.snapshots.dir(), error)))?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot })
    }
}
