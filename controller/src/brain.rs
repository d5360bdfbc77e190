//! What the parts of a running controller share: Raft, clocks, sessions, and what the leader sees.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use trireme_proto::id::{ControllerId, UpgradeId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::{FleetTime, Span, WallTime};
use trireme_proto::view::Reason;

use crate::clock::{FleetClock, Instant, wall};
use crate::machine::FleetMachine;
use crate::notify::Senders;
use crate::peers::{Described, Peers};
use crate::presence::Presence;
use crate::raft::{self, Raft, ReadKind};
use crate::reads::Questions;
use crate::refusals::Refusals;
use crate::sessions::{Sessions, elapsed};
use crate::state::controllers::{Group, Seat};
use crate::state::{Evidence, Fleet};
use crate::uses::Use;

/// What every upgrade waits for, as the leader last told.
pub type Waiting = BTreeMap<UpgradeId, Vec<Reason>>;

/// A leader that was heard from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Term it leads in.
    pub term: u64,
    /// Who it is.
    pub leader: ControllerId,
    /// When.
    pub at: Instant,
}

/// What the parts of a controller share.
#[derive(Debug)]
pub struct Brain {
    /// This controller.
    pub name: ControllerId,
    /// The replicated log and the state that follows from it.
    pub raft: Raft<FleetMachine>,
    /// Fleet time.
    pub clock: FleetClock,
    /// Agents connected here.
    pub sessions: Sessions,
    /// The other controllers.
    pub peers: Peers,
    /// Reads that wait for a quorum to confirm this leader.
    pub leading: Questions,
    /// Reads that wait for the leader's word, elsewhere.
    pub following: Questions,
    /// What sends alerts.
    pub senders: Arc<Senders>,
    /// What the leader waits for; followers hold what it last told.
    pub waiting: watch::Sender<Waiting>,
    /// Rises when the leader sees something new.
    pub noticed: Notify,
    /// Looks by people, to be noted now and then.
    pub uses: mpsc::Sender<Use>,
    /// Who was turned away before anybody decided, to be recorded.
    pub refusals: Refusals,
    /// How many wait for what agents say; the leader asks often while there are any.
    pub hurry: watch::Sender<usize>,
    presence: Mutex<Presence>,
    contact: Mutex<Option<Contact>>,
    offsets: Mutex<BTreeMap<ControllerId, i64>>,
    routed: AtomicU64,
}

impl Brain {
    /// Joins the parts.
    pub fn new(
        name: ControllerId,
        raft: Raft<FleetMachine>,
        sessions: Sessions,
        peers: Peers,
        reads: [Questions; 2],
        senders: Senders,
        (uses, refusals): (mpsc::Sender<Use>, Refusals),
    ) -> Arc<Self> {
        let [leading, following] = reads;
        Arc::new(Self {
            name,
            raft,
            clock: FleetClock::default(),
            sessions,
            peers,
            leading,
            following,
            senders: Arc::new(senders),
            waiting: watch::Sender::new(Waiting::new()),
            noticed: Notify::new(),
            uses,
            refusals,
            hurry: watch::Sender::new(0),
            presence: Mutex::default(),
            contact: Mutex::default(),
            offsets: Mutex::default(),
            routed: AtomicU64::new(0),
        })
    }

    /// Looks at the replicated state as it is here and now.
    pub fn read<T>(&self, look: impl FnOnce(&Fleet) -> T) -> T {
        let machine = self.raft.machine();
        let machine = machine.read().unwrap_or_else(PoisonError::into_inner);
        look(machine.state())
    }

    /// Looks at the state and at the number that tells whether clients are to be sent elsewhere.
    pub fn read_steering<T>(&self, look: impl FnOnce(&Fleet, u64) -> T) -> T {
        let machine = self.raft.machine();
        let machine = machine.read().unwrap_or_else(PoisonError::into_inner);
        look(machine.state(), machine.steering())
    }

    /// Returns a copy of the state that stays as it is; for views, not for hot paths.
    pub fn fleet(&self) -> Arc<Fleet> {
        let machine = self.raft.machine();
        let machine = machine.read().unwrap_or_else(PoisonError::into_inner);
        machine.fleet()
    }

    /// Returns fleet time, never behind any command.
    pub fn now(&self) -> FleetTime {
        self.clock.now().max(self.read(|fleet| fleet.now))
    }

    /// Returns the term in which this controller leads, if it does.
    pub fn leads(&self) -> Option<u64> {
        let leadership = *self.raft.watch_leadership().borrow();
        (leadership.leader == Some(self.raft.identity().raft_id)).then_some(leadership.term)
    }

    /// Returns the name of the leader, if one is known.
    pub fn leader(&self) -> Option<ControllerId> {
        let leader = self.raft.watch_leadership().borrow().leader?;
        if leader == self.raft.identity().raft_id {
            return Some(self.name.clone());
        }
        self.peers.name_of(leader)
    }

    /// Returns the group as the leader sees it, as commands carry it.
    pub fn group(&self) -> Group {
        self.seats(self.raft.group())
    }

    /// Returns a group as commands carry it.
    pub fn seats(&self, group: raft::Group) -> Group {
        let seats = group.members.into_iter().map(|one| Seat {
            id: one.member.id,
            name: one.member.name,
            disk: one.member.disk,
            votes: one.votes,
            will_vote: one.will_vote,
            heard: one.heard.map(span),
            matched: one.matched,
        });
        Group {
            own: self.raft.identity().raft_id,
            settled: group.settled,
            last: group.last.unwrap_or(0),
            seats: seats.collect(),
        }
    }

    /// Tells what this controller is.
    pub async fn describe(&self) -> Result<Described, Problem> {
        let initialized = self.raft.is_initialized().await.map_err(|error| no_leader(&error))?;
        let (own, status) = (self.peers.own().clone(), self.raft.status());
        Ok(Described {
            name: own.name,
            record: own.record,
            disk: self.raft.identity().disk.clone(),
            initialized,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            last: status.last_log.unwrap_or(0),
            applied: status.applied.unwrap_or(0),
            agents: u32::try_from(self.sessions.len()).unwrap_or(u32::MAX),
        })
    }

    /// Forgets what was known of the clocks of others than these.
    pub fn forget_others(&self, than: &[ControllerId]) {
        lock(&self.offsets).retain(|name, _| than.contains(name));
    }

    /// Works on what the leader sees.
    pub fn presence<T>(&self, work: impl FnOnce(&mut Presence) -> T) -> T {
        work(&mut lock(&self.presence))
    }

    /// Returns what the leader sees, as commands carry it.
    pub fn evidence(&self) -> Evidence {
        let now = self.now();
        self.presence(|presence| presence.evidence(now))
    }

    /// Has the leader ask often what agents say, as long as the returned value lives.
    pub fn ask_often(&self) -> Hurry<'_> {
        self.hurry.send_modify(|count| *count += 1);
        Hurry(&self.hurry)
    }

    /// Records that the leader was heard from.
    pub fn heard_from(&self, contact: Contact) {
        *lock(&self.contact) = Some(contact);
    }

    /// Returns the term of the leader last heard from, and how long ago that was.
    pub fn contact(&self) -> Option<(u64, Span)> {
        if let Some(term) = self.leads() {
            let status = self.raft.status();
            // A leader of one is its own quorum.
            let age = if status.voters.len() == 1 { Duration::ZERO } else { status.quorum_age? };
            return Some((term, span(age)));
        }
        let contact = lock(&self.contact).clone()?;
        Some((contact.term, elapsed(contact.at)))
    }

    /// Returns the leader, if it was heard from lately: Raft remembers one until there is another.
    pub fn present_leader(&self) -> Option<ControllerId> {
        let (_, age) = self.contact()?;
        self.leader().filter(|_| age <= LEADER_SILENCE_MAX)
    }

    /// Records that clients are steered by the state at `index`.
    pub fn routed(&self, index: u64) {
        self.routed.store(index, Ordering::Release);
    }

    /// Returns the index up to which clients are steered here: what confirms a drain.
    pub fn routed_to(&self) -> u64 {
        self.routed.load(Ordering::Acquire)
    }

    /// Records how far the clock of a peer is ahead of ours.
    pub fn compare_clock(&self, peer: &ControllerId, theirs: WallTime) {
        let offset = i64::try_from(theirs.0).unwrap_or(i64::MAX)
            - i64::try_from(wall().0).unwrap_or(i64::MAX);
        lock(&self.offsets).insert(peer.clone(), offset);
    }

    /// Returns how far each peer's wall clock was ahead of ours when last asked, in milliseconds.
    pub fn offsets(&self) -> BTreeMap<ControllerId, f64> {
        #[expect(clippy::cast_precision_loss, reason = "for people; clocks are not off by ages")]
        let millis = |offset: &i64| *offset as f64;
        lock(&self.offsets).iter().map(|(peer, offset)| (peer.clone(), millis(offset))).collect()
    }

    /// Returns how far our wall clock is off the controllers' median (DESIGN rule 15).
    pub fn skew(&self) -> Span {
        let mut offsets: Vec<i64> = lock(&self.offsets).values().copied().collect();
        offsets.push(0);
        offsets.sort_unstable();
        Span(offsets[offsets.len() / 2].unsigned_abs())
    }

    /// Waits until what is read here includes everything committed before now.
    pub async fn barrier(&self, kind: ReadKind) -> Result<(), Problem> {
        let index = match (self.leads(), kind) {
            (Some(_), ReadKind::Lease) => {
                self.raft.read_index(kind).await.map_err(|error| no_leader(&error))?
            }
            (Some(_), ReadKind::Linearizable) => self.leading.ask().await?,
            (None, _) => self.following.ask().await?,
        };
        self.raft.wait_applied(index, READ_WAIT).await.map_err(|error| no_leader(&error))
    }
}

impl Brain {
    /// Returns an index that everything committed before is at or below, as the leader.
    pub async fn index_as_leader(self: Arc<Self>) -> Result<u64, Problem> {
        self.raft.read_index(ReadKind::Linearizable).await.map_err(|error| no_leader(&error))
    }

    /// Returns an index that everything committed before is at or below, from the leader.
    pub async fn index_from_leader(self: Arc<Self>) -> Result<u64, Problem> {
        let mut leadership = self.raft.watch_leadership();
        leadership.mark_unchanged();
        let leader = self.leader().ok_or_else(|| no_leader(&"no leader is known"))?;
        tokio::select! {
            index = self.peers.read_index(&leader) => index,
            // Whoever led may be gone: nobody waits for it in vain.
            _ = leadership.changed() => Err(no_leader(&"the leader changes")),
        }
    }
}

/// Somebody waits for what agents say.
#[derive(Debug)]
pub struct Hurry<'a>(&'a watch::Sender<usize>);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Silence after which a leader counts as gone: it speaks each second, and the slowest profile
/// elects another one sooner.
const LEADER_SILENCE_MAX: Span = Span::secs(5);

/// Longest wait of a read for this controller to catch up.
const READ_WAIT: Duration = Duration::from_secs(5);

/// Returns the problem of a controller that cannot reach a leader.
pub fn no_leader(error: &dyn std::fmt::Display) -> Problem {
    let mut problem = Problem::new(Code::Unreachable, "no leader could be reached")
        .because(error.to_string())
        .hint("look at the controllers: trictl controller status");
    problem.retryable = true;
    problem
}

fn span(duration: Duration) -> Span {
    Span(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
