//! A running member of the group: start, propose, read, hand over, stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{
    ClientWriteError, Fatal as CoreFatal, ForwardToLeader, LinearizableReadError, RaftError,
};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use trireme_proto::wire::raft_server::RaftServer;

use super::config::Config;
use super::confirm::Confirming;
use super::disk::{Disk, Identity};
use super::failure::{Failure, Fatal, StartError};
use super::log_store::{self, Closer, LogReader};
use super::machine::Machine;
use super::members;
use super::network::{Dial, Links, Network};
use super::service::{Authorize, Service};
use super::snapshot::Snapshots;
use super::state_machine::StateMachine;
use super::status::{Leadership, Role, Status};
use super::store::{Files, System};
use super::types::{Command, Member, Record, Types};
use super::{COMMAND_BYTES_MAX, MESSAGE_BYTES_MAX};

/// Proposals under way at once; the next is refused rather than queued without end.
const PROPOSALS_MAX: usize = 4096;

/// Time between two looks at whether connections to the others are open; also how long each look
/// may take. A member that came back is connected to again within it.
const OPEN_EVERY: Duration = Duration::from_secs(2);

pub(super) type Library<M> = openraft::Raft<Types, StateMachine<M>>;

/// What apply answered, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Index of the entry.
    pub index: u64,
    /// Term of the entry.
    pub term: u64,
    /// The machine's reply.
    pub reply: Bytes,
}

/// Why a proposal has no reply.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was proposed: ask the leader, if there is one.
    #[error("this controller does not lead{}", hint(leader.as_ref()))]
    NotLeader {
        /// The leader, if known; none while there is no quorum, or leadership moves.
        leader: Option<Member>,
    },
    /// The command may or may not be applied, now or later: ask again with the same number.
    #[error("it is not known whether the command was applied")]
    OutcomeUnknown,
    /// Nothing was proposed.
    #[error("{PROPOSALS_MAX} commands are already under way: try again")]
    Full,
    /// Nothing was proposed.
    #[error("a command of {size} bytes exceeds {COMMAND_BYTES_MAX}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// This controller has stopped; an entry of the proposal may or may not survive.
    #[error(transparent)]
    Stopped(#[from] Fatal),
}

/// Why a read cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Only the leader can tell.
    #[error("this controller does not lead{}", hint(leader.as_ref()))]
    NotLeader {
        /// The leader, if known.
        leader: Option<Member>,
    },
    /// The leader could not confirm that it still leads.
    #[error("no quorum of the controllers confirmed the leader")]
    NoQuorum,
    /// The entries the read has to see were not applied in time.
    #[error("entry {index} was not applied in time")]
    Late {
        /// The index waited for.
        index: u64,
    },
    /// This controller has stopped.
    #[error(transparent)]
    Stopped(#[from] Fatal),
}

/// Why the group was not initialised.
#[derive(Debug, thiserror::Error)]
pub enum InitializeError {
    /// It was before, here or elsewhere.
    #[error("this controller is already a member of a group")]
    Already,
    /// The list is not usable.
    #[error("the list of members is refused: {0}")]
    Members(String),
    /// This controller has stopped.
    #[error(transparent)]
    Stopped(#[from] Fatal),
}

/// Why leadership was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Only the leader can.
    #[error("this controller does not lead{}", hint(leader.as_ref()))]
    NotLeader {
        /// The leader, if known.
        leader: Option<Member>,
    },
    /// The target has no vote.
    #[error("raft id {0} is no voting member")]
    NotVoter(u64),
    /// The target did not take over in time; somebody else may lead.
    #[error("controller {0} did not take over in time")]
    Late(u64),
    /// This controller has stopped.
    #[error(transparent)]
    Stopped(#[from] Fatal),
}

pub(super) fn hint(leader: Option<&Member>) -> String {
    leader.map_or_else(String::new, |m| format!(": controller {} does, at {}", m.name, m.api))
}

/// What a read has to be sure of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadKind {
    /// Sees everything acknowledged before it began: a quorum is asked.
    Linearizable,
    /// The same as long as clocks run alike: the leader's lease is trusted, nobody is asked.
    Lease,
}

/// A handle on a running member; clones are the same member.
pub struct Raft<M: Machine> {
    pub(super) inner: Arc<Inner<M>>,
}

impl<M: Machine> Clone for Raft<M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<M: Machine> std::fmt::Debug for Raft<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raft").field("identity", &self.inner.identity).finish_non_exhaustive()
    }
}

pub(super) struct Inner<M: Machine> {
    pub(super) library: Library<M>,
    pub(super) identity: Arc<Identity>,
    pub(super) config: Config,
    pub(super) confirming: Confirming,
    machine: Arc<RwLock<M>>,
    snapshots: Arc<Snapshots>,
    pub(super) failure: Failure,
    pub(super) log: LogReader,
    pub(super) applied: watch::Receiver<u64>,
    leadership: watch::Receiver<Leadership>,
    pub(super) members: watch::Receiver<Vec<Member>>,
    proposals: Semaphore,
    tasks: Mutex<JoinSet<()>>,
    pub(super) closer: Closer,
}

impl<M: Machine> Raft<M> {
    /// Opens or makes the data directory and starts the member; the state is restored on return.
    ///
    /// The member must be served ([`Self::service`]) to be of use. Call [`Self::shutdown`] before
    /// dropping the last handle: the library's own tasks outlive handles.
    pub async fn start(
        config: Config,
        dial: Arc<dyn Dial>,
        machine: M,
    ) -> Result<Self, StartError> {
        Self::start_on(config, dial, machine, &System).await
    }

    pub(super) async fn start_on(
        config: Config,
        dial: Arc<dyn Dial>,
        machine: M,
        files: &dyn Files,
    ) -> Result<Self, StartError> {
        let library = Arc::new(config.library()?);
        let failure = Failure::new();
        let disk = Disk::open(&config, files)?;
        let reading = |path: &std::path::Path| {
            let path = path.to_owned();
            move |error| StartError::Fatal(Fatal::read(&path, error))
        };
        let snapshots =
            Arc::new(Snapshots::open(&disk.snapshots).map_err(reading(&disk.snapshots))?);
        let path = disk.store.path().to_owned();
        let (log, closer) = log_store::open(disk.store, &failure).map_err(reading(&path))?;
        let identity = Arc::new(disk.identity);
        let machine = Arc::new(RwLock::new(machine));
        let (progress, applied) = watch::channel(0);
        let state = StateMachine::new(
            Arc::clone(&machine),
            Arc::clone(&snapshots),
            progress,
            failure.clone(),
        );
        let patience = config.profile.timing().election_min;
        let links = Links::new(Arc::clone(&identity), dial);
        let network = Network::new(links.clone(), patience);
        let core = openraft::Raft::new(config.id, library, network, log, state).await;
        let library = core.map_err(|error| started(&failure, &error))?;
        let mut tasks = JoinSet::new();
        let (lead, leadership) = watch::channel(Leadership::default());
        tasks.spawn(follow_leadership(library.clone(), lead));
        let (tell, members) = watch::channel(Vec::new());
        tasks.spawn(members::follow(library.clone(), tell));
        tasks.spawn(stop_on_failure(library.clone(), failure.clone()));
        tasks.spawn(keep_open(library.clone(), links.clone(), config.id));
        let inner = Inner {
            library,
            identity,
            config,
            confirming: Confirming::new(links),
            machine,
            snapshots,
            failure,
            log: closer.reader(),
            applied,
            leadership,
            members,
            proposals: Semaphore::new(PROPOSALS_MAX),
            tasks: Mutex::new(tasks),
            closer,
        };
        let raft = Self { inner: Arc::new(inner) };
        raft.check_own_record().await?;
        Ok(raft)
    }

    /// The log must know this member by the disk it is on, if it knows it at all.
    async fn check_own_record(&self) -> Result<(), StartError> {
        let id = self.inner.identity.raft_id;
        let known = self
            .inner
            .library
            .with_raft_state(move |state| {
                state.membership_state.effective().get_node(&id).map(|record| record.disk.clone())
            })
            .await
            .map_err(|error| started(&self.inner.failure, &error))?;
        match known {
            Some(known) if known != self.inner.identity.disk => {
                let found = self.inner.identity.disk.clone();
                let dir = self.inner.config.dir.clone();
                self.shutdown().await;
                Err(Fatal::NewDisk { dir, id, known, found }.into())
            }
            _ => Ok(()),
        }
    }

    /// Returns the gRPC service for other members.
    pub fn service(&self, authorize: impl Authorize) -> RaftServer<Service<M>> {
        let service = Service {
            library: self.inner.library.clone(),
            identity: Arc::clone(&self.inner.identity),
            dir: self.inner.config.dir.clone(),
            snapshots: Arc::clone(&self.inner.snapshots),
            log: self.inner.closer.reader(),
            failure: self.inner.failure.clone(),
            authorize: Box::new(authorize),
            receiving: Service::<M>::receiving(),
        };
        RaftServer::new(service)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Returns whose data directory this is.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// Returns the machine, for local reads; what it shows may be behind the leader.
    pub fn machine(&self) -> &Arc<RwLock<M>> {
        &self.inner.machine
    }

    /// Makes these the voting members of a new group. Once, on one member, with all of them empty.
    pub async fn initialize(&self, members: Vec<Member>) -> Result<(), InitializeError> {
        self.check_members(&members).map_err(InitializeError::Members)?;
        if self.inner.library.is_initialized().await.map_err(|e| self.fatal(&e))? {
            return Err(InitializeError::Already);
        }
        let members: BTreeMap<u64, Record> = members.into_iter().map(Into::into).collect();
        self.inner.library.initialize(members).await.map_err(|error| match error {
            RaftError::APIError(_) => InitializeError::Already,
            RaftError::Fatal(fatal) => self.fatal(&fatal).into(),
        })
    }

    fn check_members(&self, members: &[Member]) -> Result<(), String> {
        let own = &self.inner.identity;
        let me = members.iter().find(|member| member.id == own.raft_id);
        if me.is_none_or(|me| me.name != own.name || me.disk != own.disk) {
            return Err(format!(
                "it must name controller {} with raft id {} on disk {}",
                own.name, own.raft_id, own.disk
            ));
        }
        if let Some(member) = members.iter().find(|m| m.disk.is_empty() || m.addr.is_empty()) {
            return Err(format!("controller {} has no disk or no address", member.name));
        }
        let twice = |what: &str, count: usize| {
            if count == members.len() { Ok(()) } else { Err(format!("two members share {what}")) }
        };
        twice("a raft id", members.iter().map(|m| m.id).collect::<BTreeSet<_>>().len())?;
        twice("a name", members.iter().map(|m| &m.name).collect::<BTreeSet<_>>().len())?;
        twice("an address", members.iter().map(|m| &m.addr).collect::<BTreeSet<_>>().len())?;
        twice("a disk", members.iter().map(|m| &m.disk).collect::<BTreeSet<_>>().len())
    }

    /// Proposes a command and returns the machine's reply once it is committed and applied here.
    pub async fn propose(
        &self,
        command: Bytes,
        timeout: Duration,
    ) -> Result<Applied, ProposeError> {
        let size = command.len();
        if size > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge { size });
        }
        if let Some(fatal) = self.inner.failure.get() {
            return Err(fatal.into());
        }
        let _slot = self.inner.proposals.try_acquire().map_err(|_| ProposeError::Full)?;
        let write = self.inner.library.client_write(Command(command));
        let Ok(answer) = tokio::time::timeout(timeout, write).await else {
            return Err(ProposeError::OutcomeUnknown);
        };
        let answer = answer.map_err(|error| match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
                ProposeError::NotLeader { leader: leader(to) }
            }
            RaftError::APIError(_) => ProposeError::OutcomeUnknown,
            RaftError::Fatal(fatal) => self.fatal(&fatal).into(),
        })?;
        Ok(Applied {
            index: answer.log_id.index,
            term: answer.log_id.leader_id.term,
            reply: answer.data,
        })
    }

    /// On the leader, returns the index that a read of this kind has to see applied.
    ///
    /// A follower asks the leader for it and then calls [`Self::wait_applied`].
    pub async fn read_index(&self, kind: ReadKind) -> Result<u64, ReadError> {
        if let Some(fatal) = self.inner.failure.get() {
            return Err(fatal.into());
        }
        if kind == ReadKind::Linearizable
            && let Some(index) = self.confirmed().await
        {
            return Ok(index);
        }
        let policy = match kind {
            ReadKind::Linearizable => ReadPolicy::ReadIndex,
            ReadKind::Lease => ReadPolicy::LeaseRead,
        };
        let (id, _) =
            self.inner.library.get_read_log_id(policy).await.map_err(|error| match error {
                RaftError::APIError(LinearizableReadError::ForwardToLeader(to)) => {
                    ReadError::NotLeader { leader: leader(to) }
                }
                RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => {
                    ReadError::NoQuorum
                }
                RaftError::Fatal(fatal) => self.fatal(&fatal).into(),
            })?;
        Ok(id.index())
    }

    /// On the leader, waits until the machine shows all that a read of this kind has to see.
    pub async fn read_barrier(&self, kind: ReadKind, timeout: Duration) -> Result<u64, ReadError> {
        let index = self.read_index(kind).await?;
        self.wait_applied(index, timeout).await?;
        Ok(index)
    }

    /// Waits until the machine has applied this index.
    pub async fn wait_applied(&self, index: u64, timeout: Duration) -> Result<(), ReadError> {
        // Most often it has, and then there is nothing to wait for nor to be woken from.
        if *self.inner.applied.borrow() >= index {
            return Ok(());
        }
        let mut applied = self.inner.applied.clone();
        let reached = applied.wait_for(|applied| *applied >= index);
        tokio::select! {
            biased;
            reached = tokio::time::timeout(timeout, reached) => match reached {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) => Err(self.stop_reason().into()),
                Err(_) => Err(ReadError::Late { index }),
            },
            fatal = self.stopped() => Err(fatal.into()),
        }
    }

    /// Tells each index up to which the machine has applied; 0 before anything.
    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.inner.applied.clone()
    }

    /// Tells each change of term and leader.
    ///
    /// A new leader sees its own election before it has applied what its predecessors committed;
    /// who decides on state calls [`Self::read_barrier`] first.
    pub fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Returns what this member knows of itself and the group.
    pub fn status(&self) -> Status {
        // Copied at once: holding the borrow blocks the core.
        let metrics = self.inner.library.metrics().borrow_watched().clone();
        Status::from_metrics(&metrics)
    }

    /// Hands leadership to a voter, and returns when it leads.
    pub async fn transfer(&self, to: u64) -> Result<(), TransferError> {
        let status = self.status();
        if status.role != Role::Leader {
            return Err(TransferError::NotLeader { leader: status.leader });
        }
        if !status.voters.iter().any(|voter| voter.member.id == to) {
            return Err(TransferError::NotVoter(to));
        }
        if to == status.id {
            return Ok(());
        }
        let mut leadership = self.watch_leadership();
        self.inner
            .library
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(|fatal| self.fatal(&fatal))?;
        let timing = self.inner.config.profile.timing();
        // An election of its own would have happened by then.
        let limit = timing.election_max * 3;
        let moved = leadership.wait_for(|now| now.term > status.term && now.leader == Some(to));
        match tokio::time::timeout(limit, moved).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(self.stop_reason().into()),
            Err(_) => Err(TransferError::Late(to)),
        }
    }

    /// Asks for a snapshot now; it is written while the member goes on.
    pub async fn snapshot(&self) -> Result<(), Fatal> {
        self.inner.library.trigger().snapshot().await.map_err(|fatal| self.fatal(&fatal))
    }

    /// Waits until this member stops for good, and tells why; for ever, while it is well.
    pub async fn stopped(&self) -> Fatal {
        self.inner.failure.reported().await
    }

    /// Stops the member and closes its files, after which the directory can be opened again.
    pub async fn shutdown(&self) {
        // An error here only says that the core had ended before.
        drop(self.inner.library.shutdown().await);
        let mut tasks =
            std::mem::take(&mut *self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        self.inner.closer.close().await;
    }

    pub(super) fn fatal(&self, error: &CoreFatal<Types>) -> Fatal {
        self.inner.failure.get().unwrap_or_else(|| Fatal::Core(error.to_string()))
    }

    fn stop_reason(&self) -> Fatal {
        self.fatal(&CoreFatal::Stopped)
    }
}

pub(super) fn leader(forward: ForwardToLeader<Types>) -> Option<Member> {
    let id = forward.leader_id?;
    Some(forward.leader_node?.member(id))
}

fn started(failure: &Failure, error: &CoreFatal<Types>) -> StartError {
    failure.get().unwrap_or_else(|| Fatal::Core(error.to_string())).into()
}

/// Passes on each change of leadership until the core ends.
async fn follow_leadership<M: Machine>(library: Library<M>, out: watch::Sender<Leadership>) {
    let mut metrics = library.server_metrics();
    loop {
        let now = {
            let metrics = metrics.borrow_and_update();
            Leadership { term: metrics.vote.leader_id.term, leader: metrics.current_leader }
        };
        out.send_if_modified(|known| std::mem::replace(known, now) != now);
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps connections to all other members open, for whoever may have to lead.
async fn keep_open<M: Machine>(library: Library<M>, links: Links, own: u64) {
    let mut metrics = library.metrics();
    loop {
        let members: Vec<(u64, Record)> = {
            let metrics = metrics.borrow_and_update();
            let nodes = metrics.membership_config.membership().nodes();
            nodes.filter(|(id, _)| **id != own).map(|(id, record)| (*id, record.clone())).collect()
        };
        let unknown = members.is_empty();
        let each = members.iter().map(|(id, record)| links.open(*id, record, OPEN_EVERY));
        futures_util::future::join_all(each).await;
        if unknown {
            // Before there is a group its first membership is the next news.
            if metrics.changed().await.is_err() {
                return;
            }
        } else {
            tokio::time::sleep(OPEN_EVERY).await;
        }
    }
}

/// Ends the core after the first fatal error, and notices when it ended by itself.
async fn stop_on_failure<M: Machine>(library: Library<M>, failure: Failure) {
    // These change with leadership alone, so that nobody is woken for every entry; and their end is
    // that of the core.
    let mut news = library.server_metrics();
    let ended = async { while news.changed().await.is_ok() {} };
    tokio::select! {
        biased;
        () = ended => {
            match library.metrics().borrow_watched().running_state.clone() {
                // Without a last word: whoever asks it to end gets to hear `Stopped`.
                Ok(()) => failure.report(Fatal::Core("it panicked".to_owned())),
                Err(CoreFatal::Stopped) => {}
                Err(other) => failure.report(Fatal::Core(other.to_string())),
            }
        }
        _ = failure.reported() => drop(library.shutdown().await),
    }
}
