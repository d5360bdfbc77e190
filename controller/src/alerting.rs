//! The leader's loop about alerts: look, have it committed, send what was committed.
//!
//! Beside the loop of upgrades (`crate::reconcile`), so that neither waits for the other. A message
//! is sent only once it is committed in this leader's own term; whatever an earlier leader may have
//! sent is given up as unknown (`crate::plan::alert`). What is under way when the lead ends is cut
//! off after a moment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use trireme_proto::id::{ChannelId, IncidentId, NoticeId};
use trireme_proto::model::Target;
use trireme_proto::time::FleetTime;

use crate::brain::Brain;
use crate::clock::wall;
use crate::notify::{Alert, Message, Peer, PeerReport};
use crate::plan::alert::{Decision, Scene, plan, told_to};
use crate::state::alert::{AlertStep, Notice, NoticeState};
use crate::state::{Body, Fleet, Outcome};
use crate::submit::{Submission, lead, submit};

/// The loop looks out at least this often: waits of rules are counted in seconds.
const TICK: Duration = Duration::from_secs(1);
/// Shortest time between two looks; a twentieth of a core goes into them.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Messages that wait for one channel; what is beyond fails, and says so.
const QUEUE_MAX: usize = 64;
/// Reports of peers that wait to be read.
const REPORTS_MAX: usize = 64;
/// Time for messages under way to end when the lead does.
const FINISH: Duration = Duration::from_millis(500);

/// Looks after alerts for as long as this controller leads in `term`.
pub async fn run(brain: Arc<Brain>, term: u64, stop: CancellationToken) {
    let (reports, mut reported) = mpsc::channel(REPORTS_MAX);
    let mut desk = Desk::new(Arc::clone(&brain), term, reports);
    let mut applied = brain.raft.watch_applied();
    loop {
        applied.mark_unchanged();
        let (now, began) = (brain.now(), Instant::now());
        let decision = decide(&brain, term, now);
        let took = began.elapsed();
        let acted = !decision.steps.is_empty();
        let wake = decision.wake_at.map_or(TICK, |at| at.since(now).to_duration()).min(TICK);
        commit(&brain, decision.steps, &stop).await;
        // Whatever there is to do: a channel that is busy all the time must not keep others waiting.
        while let Ok((channel, report)) = reported.try_recv() {
            desk.heard(channel, report);
        }
        desk.reap();
        desk.dispatch();
        let steps = desk.outcomes();
        commit(&brain, steps, &stop).await;
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep((19 * took).max(PAUSE_MIN).min(TICK)) => {}
        }
        if acted {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(wake) => {}
            () = desk.next_end() => {}
            Some((channel, report)) = reported.recv() => desk.heard(channel, report),
            changed = applied.changed() => if changed.is_err() { break },
        }
    }
    desk.finish().await;
}

fn decide(brain: &Brain, term: u64, now: FleetTime) -> Decision {
    let wall = wall();
    // In place: a copy of what ten thousand nodes said costs more than deciding.
    brain.presence(|presence| brain.read(|fleet| plan(&Scene { fleet, presence, now, wall, term })))
}

/// Has steps committed in order; what is not is decided anew.
async fn commit(brain: &Arc<Brain>, steps: Vec<AlertStep>, stop: &CancellationToken) {
    for what in steps {
        let submission = Submission::by_controller(brain, Body::Alert { what });
        let answer = tokio::select! {
            () = stop.cancelled() => return,
            answer = lead(brain, submission) => answer,
        };
        match answer {
            Ok(reply) => {
                if let Outcome::Refused(problem) = reply.outcome {
                    warn!(%problem, "an alert was not recorded");
                    return;
                }
            }
            Err(problem) => {
                debug!(%problem, "an alert was not committed");
                return;
            }
        }
    }
}

/// What this leader has sent and is about to send.
struct Desk {
    brain: Arc<Brain>,
    term: u64,
    /// Messages of this term that were taken from the fleet's state.
    taken: BTreeSet<NoticeId>,
    queues: BTreeMap<ChannelId, VecDeque<NoticeId>>,
    busy: BTreeSet<ChannelId>,
    sending: JoinSet<(ChannelId, NoticeId, NoticeState)>,
    /// What became of messages and was not committed yet.
    ended: BTreeMap<NoticeId, NoticeState>,
    peers: BTreeMap<(ChannelId, String), Told>,
    telling: JoinSet<()>,
    reports: mpsc::Sender<(ChannelId, PeerReport)>,
    /// Why each peer did not take what it was last told.
    health: BTreeMap<(ChannelId, String), Option<String>>,
}

/// A peer of Alertmanager that is being told.
struct Told {
    revision: u64,
    alerts: watch::Sender<Arc<Vec<Alert>>>,
    task: AbortHandle,
}

impl Desk {
    fn new(brain: Arc<Brain>, term: u64, reports: mpsc::Sender<(ChannelId, PeerReport)>) -> Self {
        Self {
            brain,
            term,
            taken: BTreeSet::new(),
            queues: BTreeMap::new(),
            busy: BTreeSet::new(),
            sending: JoinSet::new(),
            ended: BTreeMap::new(),
            peers: BTreeMap::new(),
            telling: JoinSet::new(),
            reports,
            health: BTreeMap::new(),
        }
    }

    /// Begins to send what was committed for it.
    fn dispatch(&mut self) {
        let brain = Arc::clone(&self.brain);
        brain.read(|fleet| {
            for (id, notice) in &fleet.alerts.notices {
                let ours = notice.state == NoticeState::Claimed && notice.term == self.term;
                if !ours || !self.taken.insert(*id) {
                    continue;
                }
                let queue = self.queues.entry(notice.channel.clone()).or_default();
                if queue.len() < QUEUE_MAX {
                    queue.push_back(*id);
                } else {
                    let why = format!("{QUEUE_MAX} messages wait for this channel already");
                    self.ended.insert(*id, NoticeState::Failed(why));
                }
            }
            self.begin(fleet);
            self.tell_peers(fleet);
        });
        // What has left the state is never asked for again.
        if let Some(oldest) = brain.read(|fleet| fleet.alerts.notices.keys().next().copied()) {
            self.taken.retain(|id| *id >= oldest);
        }
    }

    /// Sends the next message of each channel that is free: one after the other, in order.
    fn begin(&mut self, fleet: &Fleet) {
        for (channel, queue) in &mut self.queues {
            if self.busy.contains(channel) {
                continue;
            }
            let Some(id) = queue.pop_front() else { continue };
            let (Some(notice), Some(record)) =
                (fleet.alerts.notices.get(&id), fleet.alerts.channels.get(channel))
            else {
                self.ended.insert(id, NoticeState::Failed("the channel is gone".to_owned()));
                continue;
            };
            let message = message(fleet, notice);
            let (senders, target) = (Arc::clone(&self.brain.senders), record.manifest.clone());
            self.busy.insert(channel.clone());
            self.sending.spawn(async move {
                let state = senders.send(&target, &message).await;
                (target.name, id, state)
            });
        }
        self.queues.retain(|_, queue| !queue.is_empty());
    }

    /// Keeps one task for each peer, and gives it what is to be told now.
    fn tell_peers(&mut self, fleet: &Fleet) {
        let now = self.brain.now();
        let mut wanted = BTreeSet::new();
        for (id, record) in &fleet.alerts.channels {
            let Target::Alertmanager(to) = &record.manifest.to else { continue };
            let told = told_to(fleet, &record.manifest, now);
            let told = told.into_iter().map(|(id, one)| Alert::of(&fleet.name, id, one));
            let alerts: Arc<Vec<_>> = Arc::new(told.collect());
            for url in &to.urls {
                let key = (id.clone(), url.clone());
                wanted.insert(key.clone());
                let known = self.peers.get(&key).filter(|peer| peer.revision == record.revision);
                if let Some(peer) = known {
                    peer.alerts.send_if_modified(|last| {
                        let changed = *last != alerts;
                        last.clone_from(&alerts);
                        changed
                    });
                    continue;
                }
                let (sender, receiver) = watch::channel(Arc::clone(&alerts));
                let peer = Peer {
                    senders: Arc::clone(&self.brain.senders),
                    channel: record.manifest.clone(),
                    url: url.clone(),
                    alerts: receiver,
                    reports: self.reports.clone(),
                };
                let task = self.telling.spawn(peer.run());
                let peer = Told { revision: record.revision, alerts: sender, task };
                if let Some(old) = self.peers.insert(key, peer) {
                    old.task.abort();
                }
            }
        }
        self.peers.retain(|key, peer| {
            let stays = wanted.contains(key);
            if !stays {
                peer.task.abort();
            }
            stays
        });
        self.health.retain(|key, _| wanted.contains(key));
    }

    fn heard(&mut self, channel: ChannelId, report: PeerReport) {
        let key = (channel, report.url);
        if self.peers.contains_key(&key) {
            self.health.insert(key, report.error);
        }
    }

    /// Takes in what has ended.
    fn reap(&mut self) {
        while let Some(ended) = self.sending.try_join_next() {
            self.take(ended);
        }
    }

    /// Waits until a message has ended; for ever if none is under way.
    async fn next_end(&mut self) {
        match self.sending.join_next().await {
            Some(ended) => self.take(ended),
            None => std::future::pending().await,
        }
    }

    fn take(&mut self, ended: Result<(ChannelId, NoticeId, NoticeState), JoinError>) {
        match ended {
            Ok((channel, id, state)) => {
                debug!(%channel, %id, state = state.word(), why = state.reason(), "message ended");
                self.busy.remove(&channel);
                self.ended.insert(id, state);
            }
            Err(error) => warn!(%error, "a message broke"),
        }
    }

    /// Returns what is to be committed about messages and peers.
    fn outcomes(&mut self) -> Vec<AlertStep> {
        let mut steps = Vec::new();
        let brain = Arc::clone(&self.brain);
        brain.read(|fleet| {
            let known = &fleet.alerts.notices;
            // What is committed by now need not be said again.
            self.ended.retain(|id, state| {
                known.get(id).is_some_and(|one| one.state.word() != state.word())
            });
            let mut channels: BTreeMap<&ChannelId, Option<&String>> = BTreeMap::new();
            for ((channel, _), error) in &self.health {
                let worst = channels.entry(channel).or_default();
                *worst = worst.or(error.as_ref());
            }
            for (channel, error) in channels {
                let Some(record) = fleet.alerts.channels.get(channel) else { continue };
                if record.failing.is_some() != error.is_some() {
                    let (channel, error) = (channel.clone(), error.cloned());
                    steps.push(AlertStep::Health { channel, error });
                }
            }
        });
        if !self.ended.is_empty() {
            steps.push(AlertStep::Settle { outcomes: self.ended.clone() });
        }
        steps
    }

    /// Lets what is under way end, and tells whoever leads now what became of it.
    async fn finish(mut self) {
        let ending = async {
            while !self.sending.is_empty() {
                self.next_end().await;
            }
            if !self.ended.is_empty() {
                let what = AlertStep::Settle { outcomes: std::mem::take(&mut self.ended) };
                let told = Submission::by_controller(&self.brain, Body::Alert { what });
                if let Err(problem) = submit(&self.brain, told).await {
                    debug!(%problem, "what became of messages was not recorded");
                }
            }
        };
        // Whoever leads next takes what is not told by then for unknown.
        let _ = tokio::time::timeout(FINISH, ending).await;
    }
}

/// Returns what a message says, by the state as it is.
fn message(fleet: &Fleet, notice: &Notice) -> Message {
    let pick = |over: bool| -> Vec<(IncidentId, crate::state::alert::Incident)> {
        let wanted = notice.incidents.iter().filter(|(_, nth)| (**nth == 0) == over);
        wanted
            .filter_map(|(id, _)| Some((*id, fleet.alerts.incidents.get(id)?.clone())))
            .map(|(id, mut incident)| {
                // It may have ended since this was decided; then the next message says so.
                incident.resolved = incident.resolved.filter(|_| over);
                (id, incident)
            })
            .collect()
    };
    Message {
        fleet: fleet.name.clone(),
        channel: notice.channel.to_string(),
        rule: notice.rule.as_ref().map(ToString::to_string),
        by: notice.by.clone(),
        firing: pick(false),
        over: pick(true),
    }
}
