//! Composition root: the one place where the parts of a controller meet.
//!
//! ```text
//!  peer listener   Raft, Peer               controllers' certificates
//!  api listener    Agent, Operator, ..      agents' and users' certificates
//!  enrol listener  Enrol, Login             no certificate, a one-time token
//!  dns             UDP and TCP              anybody
//! ```

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use trireme_proto::channel::{ChannelOptions, channel};
use trireme_proto::tls::{Credentials, Server as Wanted};

use crate::accept::{Connections, Peer};
use crate::api::is_denied;
use crate::audit::AuditLog;
use crate::brain::Brain;
use crate::clock::wall;
use crate::config::Config;
use crate::dns::Dns;
use crate::listen::{Doors, Listeners};
use crate::machine::{FleetMachine, chain};
use crate::notify::Senders;
use crate::peers::Peers;
use crate::pki::{Authority, Store};
use crate::raft::{self, Dial, DialError, Line, Member, Raft, line};
use crate::reads::{Asked, questions};
use crate::sessions::Sessions;
use crate::state::Fleet;
use crate::telemetry::requests::Requests;
use crate::telemetry::{self, Readiness, Telemetry};
use crate::zone::zone;
use crate::{bootstrap, checkpoint, reconcile, refusals, regroup, uses};

/// Time for those who watch its health to hear that a controller leaves, before it does.
const FAREWELL: Duration = Duration::from_millis(100);

/// Time for short requests to be answered when the controller is told to stop.
const GRACE: Duration = Duration::from_millis(300);

/// Time between two looks for connections whose certificate has ended.
const EXPIRY_TICK: Duration = Duration::from_secs(5);

/// Time for the rest to end when the controller is told to stop.
const DRAIN: Duration = Duration::from_secs(3);

/// Longest wait for a leader before DNS answers from what is on this disk.
const CATCH_UP_WAIT: Duration = Duration::from_secs(10);

/// Time between two tries to catch up.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(50);

/// Shortest time between two computations of the DNS zone.
const ZONE_PAUSE: Duration = Duration::from_millis(5);

/// Longest time between two, of however large a zone: drains wait for it.
const ZONE_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Tells why a controller cannot start or had to stop, with what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct ServerError {
    what: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ServerError {
    fn plain(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    pub(crate) fn because<E: std::error::Error + Send + Sync + 'static>(
        what: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self { what, source: Some(Box::new(source)) }
    }
}

/// Makes Raft's channels to other controllers.
struct PeerDial(Credentials);

impl Dial for PeerDial {
    fn line(&self, member: &Member) -> Result<Line, DialError> {
        let server = Wanted::Controller(member.name.parse()?);
        Ok(line(channel(&member.addr, &server, &self.0, &ChannelOptions::default())?))
    }
}

/// Runs a controller until it is told to stop or can no longer keep its promises.
///
/// Raft, and all that other controllers ask, runs on `replicating`: a request of an operator or ten
/// thousand agents coming back at once delay no heartbeat there.
pub async fn run(
    config: Config,
    bootstrap: bool,
    replicating: &Handle,
    leaving: CancellationToken,
) -> Result<(), ServerError> {
    let stop = CancellationToken::new();
    let authority = Arc::new(authority(&config)?);
    let listeners = Listeners::bind(config.listen, replicating).await?;
    let primary = config.name.to_string();
    let empty = zone(&crate::state::Fleet::default(), &config.domain, &primary)
        .map_err(ServerError::because("`domain` cannot be answered for"))?;
    let answers = Arc::new(ArcSwap::from_pointee(empty));
    // Found out now and not once everything runs; it answers only when it has caught up.
    drop(bind_dns(&config, &answers).await?);

    let mut tasks = JoinSet::new();
    let dial = Arc::new(PeerDial(authority.credentials().clone()));
    let (brain, mut failures) =
        think(&config, &authority, &dial, replicating, &mut tasks, &stop).await?;
    let connections = Connections::default();
    let requests = Arc::new(Requests::default());
    let readiness = Readiness::new(&brain, &authority, &config.data, &leaving);
    let doors = Doors {
        brain: &brain,
        authority: &authority,
        connections: &connections,
        requests: &requests,
        readiness: &readiness,
        stop: &stop,
    };
    let telemetry = Telemetry {
        listeners: doors.open(&mut tasks, replicating, listeners)?,
        brain: Arc::clone(&brain),
        authority: Arc::clone(&authority),
        data: config.data.clone(),
        connections: connections.clone(),
        requests,
        failures: failures.clone(),
        changes: AtomicU64::new(0),
        readiness,
    };
    let shown = telemetry::show(&config.telemetry, telemetry, &mut tasks, &stop).await;
    let _shown = shown.map_err(ServerError::because("metrics and health cannot be shown"))?;
    tasks.spawn(answer(Arc::clone(&brain), config.clone(), Arc::clone(&answers), stop.clone()));
    tasks.spawn(reconcile::run(Arc::clone(&brain), stop.clone()));
    let published = Published { config: config.clone(), answers, connections: connections.clone() };
    tasks.spawn(publish(Arc::clone(&brain), published, stop.clone()));
    tasks.spawn(renew(Arc::clone(&authority), stop.clone()));
    tasks.spawn(checkpoint::keep(Arc::clone(&brain), authority, stop.clone()));
    info!(controller = %config.name, api = %config.listen.api, dns = %config.listen.dns, "serving");
    if bootstrap {
        bootstrap::run(Arc::clone(&brain), &config, &*dial)
            .await
            .map_err(ServerError::because("the fleet cannot be initialised"))?;
    }
    let ended = tokio::select! {
        () = leaving.cancelled() => Ok(()),
        fatal = brain.raft.stopped() => {
            Err(ServerError::because("the replicated log cannot go on")(fatal))
        }
        message = failure(&mut failures) => Err(ServerError::plain(message)),
        // No failure: it is not to be started again.
        why = regroup::removed(&brain) => {
            warn!(why, "this controller was removed from the fleet and ends");
            Ok(())
        }
    };
    leaving.cancel();
    tokio::time::sleep(FAREWELL).await;
    stop.cancel();
    drain(&mut tasks, &connections).await;
    brain.raft.shutdown().await;
    ended
}

/// Takes up the controller's identity.
fn authority(config: &Config) -> Result<Authority, ServerError> {
    let dir = config.data.join("pki");
    let missing = format!(
        "controller {} has no usable identity in {}; set one up with `trireme-controller request`, \
         `trictl ca sign-controller --name NAME --request FILE` and `trireme-controller install`",
        config.name,
        dir.display()
    );
    let loaded = Store::new(dir).load(&config.fleet, &config.region, &config.name, wall());
    loaded.map_err(ServerError::because(missing))
}

/// Starts Raft and what asks other controllers; returns what the parts share, and what tells why
/// the audit could not be kept.
async fn think(
    config: &Config,
    authority: &Authority,
    dial: &Arc<PeerDial>,
    replicating: &Handle,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<(Arc<Brain>, watch::Receiver<Option<String>>), ServerError> {
    let sessions = Sessions::default();
    let audit = AuditLog::open(&config.data.join("audit.redb"))
        .map_err(ServerError::because("the audit log cannot be opened"))?;
    let machine = FleetMachine::new(audit, Arc::new(sessions.clone()));
    let failures = machine.failures();
    let dialling = Arc::clone(dial) as Arc<dyn Dial>;
    let raft = on(replicating, Raft::start(raft_config(config)?, dialling, machine))
        .await
        .map_err(ServerError::because("the replicated log cannot be opened"))?;
    let own = config.own().ok_or_else(|| ServerError::plain("`controllers` lacks this one"))?;
    let (peers, outboxes) = Peers::new(own, config.others(), authority.credentials())
        .map_err(ServerError::because("the other controllers cannot be dialled"))?;
    let (id, members) = (config.raft_id, raft.watch_members());
    tasks.spawn(peers.clone().run(outboxes, id, members, stop.clone()));
    let ((leading, led), (following, followed)) = (questions(), questions());
    let reads = [leading, following];
    let senders = Senders::new(config.secrets());
    let (uses, noted) = mpsc::channel(uses::WAITING_MAX);
    let (refusals, heard) = refusals::refusals();
    let name = config.name.clone();
    let brain = Brain::new(name, raft, sessions, peers, reads, senders, (uses, refusals));
    tasks.spawn(uses::keep(Arc::clone(&brain), noted, stop.clone()));
    tasks.spawn(refusals::keep(Arc::clone(&brain), heard, stop.clone()));
    answer_reads(tasks, &brain, [led, followed], stop);
    Ok((brain, failures))
}

/// Has reads answered with an index that is recent enough: as the leader, and elsewhere.
fn answer_reads(
    tasks: &mut JoinSet<()>,
    brain: &Arc<Brain>,
    [led, followed]: [Asked; 2],
    stop: &CancellationToken,
) {
    let asking = Arc::clone(brain);
    tasks.spawn(led.answer(move || Arc::clone(&asking).index_as_leader(), stop.clone()));
    let asking = Arc::clone(brain);
    tasks.spawn(followed.answer(move || Arc::clone(&asking).index_from_leader(), stop.clone()));
}

/// Lets what is under way end, and ends the rest.
async fn drain(tasks: &mut JoinSet<()>, connections: &Connections) {
    // Streams of agents never end by themselves: they go to another controller at once.
    tokio::time::sleep(GRACE).await;
    connections.cut_all();
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        warn!("some requests did not end in time");
    }
}

async fn bind_dns(
    config: &Config,
    answers: &Arc<ArcSwap<crate::dns::Zone>>,
) -> Result<Dns, ServerError> {
    Dns::bind(&[config.listen.dns], Arc::clone(answers))
        .await
        .map_err(ServerError::because("the built-in DNS cannot start"))
}

/// Answers DNS once what is answered is up to date: a controller that comes back must not send
/// clients to nodes that were drained while it was away. Without any leader it answers from what
/// it has after a while, because clients are better served by old answers than by none.
async fn answer(
    brain: Arc<Brain>,
    config: Config,
    answers: Arc<ArcSwap<crate::dns::Zone>>,
    stop: CancellationToken,
) {
    let caught_up = async {
        loop {
            if brain.barrier(raft::ReadKind::Linearizable).await.is_ok() {
                let index = brain.read(|fleet| fleet.index);
                while brain.routed_to() < index {
                    tokio::time::sleep(ZONE_PAUSE).await;
                }
                return;
            }
            tokio::time::sleep(CATCH_UP_PAUSE).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => return,
        outcome = tokio::time::timeout(CATCH_UP_WAIT, caught_up) => {
            if outcome.is_err() {
                warn!("no leader was found: DNS answers from what is on this disk");
            }
        }
    }
    match bind_dns(&config, &answers).await {
        Ok(dns) => dns.run(stop).await,
        Err(error) => warn!(error = chain(&error), "DNS does not answer"),
    }
}

async fn renew(authority: Arc<Authority>, stop: CancellationToken) {
    if let Err(error) = authority.keep_renewed(stop).await {
        warn!(error = chain(&error), "the controller's certificate is not renewed any more");
    }
}

async fn failure(failures: &mut watch::Receiver<Option<String>>) -> String {
    let failed = failures.wait_for(Option::is_some).await.map(|message| message.clone());
    match failed {
        Ok(Some(message)) => message,
        _ => std::future::pending().await,
    }
}

fn raft_config(config: &Config) -> Result<raft::Config, ServerError> {
    let profile = config.profile().map_err(ServerError::plain)?;
    Ok(raft::Config {
        fleet: config.fleet.to_string(),
        id: config.raft_id,
        name: config.name.to_string(),
        dir: config.data.join("raft"),
        profile,
        snapshot_every: config.snapshot_every,
    })
}

/// Does something on another runtime.
async fn on<T: Send + 'static>(
    place: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    place.spawn(work).await.expect("the runtime outlives the server, and panics abort")
}

/// What follows the replicated state.
struct Published {
    config: Config,
    answers: Arc<ArcSwap<crate::dns::Zone>>,
    connections: Connections,
}

/// Follows the replicated state: the DNS zone, and connections of those who are denied.
async fn publish(brain: Arc<Brain>, published: Published, stop: CancellationToken) {
    let Published { config, answers, connections } = published;
    let mut applied = brain.raft.watch_applied();
    let (mut cut, mut steered) = (Cut::default(), 0);
    loop {
        applied.mark_unchanged();
        let began = Instant::now();
        // In place: holding the state while it is applied to would have all of it copied.
        let (index, answered) = brain.read_steering(|fleet, steering| {
            let same = std::mem::replace(&mut steered, steering) == steering;
            let zone = (!same).then(|| zone(fleet, &config.domain, config.name.as_str()));
            (fleet.index, zone)
        });
        let took = began.elapsed();
        match answered {
            None => {}
            Some(Ok(zone)) => answers.store(Arc::new(zone)),
            Some(Err(error)) => warn!(%error, "the DNS zone stays as it was"),
        }
        brain.routed(index);
        cut = cut_denied(&brain, &connections, cut);
        // A large zone takes a tenth of a core at most.
        tokio::time::sleep((9 * took).clamp(ZONE_PAUSE, ZONE_PAUSE_MAX)).await;
        tokio::select! {
            () = stop.cancelled() => return,
            changed = applied.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(EXPIRY_TICK) => { connections.cut_expired(wall()); }
        }
    }
}

/// Up to where denials were looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cut {
    /// Identities on the deny-list.
    denied: usize,
    /// Log index at which people last lost something.
    lost: u64,
}

/// Closes connections of those who were denied, or lost something, since `known`; returns how far
/// that goes. Who lost only a part comes back at once, and finds what is left.
fn cut_denied(brain: &Brain, connections: &Connections, known: Cut) -> Cut {
    let now = brain.read(|fleet| Cut { denied: fleet.denied.len(), lost: fleet.users_lost });
    if now != known {
        let fleet = brain.fleet();
        let condemned =
            |peer: &Peer| is_denied(&fleet, peer).is_some() || has_lost(&fleet, peer, known.lost);
        let cut = connections.cut(condemned);
        if cut > 0 {
            info!(connections = cut, "denied identities were cut off");
        }
    }
    now
}

/// Returns whether a person lost something after the log index `since`.
fn has_lost(fleet: &Fleet, peer: &Peer, since: u64) -> bool {
    let Ok(person) = peer.person() else { return false };
    fleet.users.get(&person.name).is_some_and(|user| user.lost > since)
}
