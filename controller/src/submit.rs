//! The way of every change: who asks, whether they may, and through the leader into the log.
//!
//! A submission is made by the controller that authenticated the caller, and decided by the
//! leader before it is proposed. Refusals are recorded too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use trireme_proto::id::ServiceId;
use trireme_proto::problem::{Code, Problem};

use crate::brain::{Brain, no_leader};
use crate::checklists;
use crate::clock::wall;
use crate::raft::ProposeError;
use crate::state::checklist::ChecklistStep;
use crate::state::controllers::Step;
use crate::state::people::Change;
use crate::state::{Actor, Body, Command, Evidence, Fleet, Outcome, Reply, ledger, people};

/// Time a submission has to be committed, changes of leader included.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time one proposal has; a leader that lost its quorum does not hold callers for longer.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before another try at finding the leader: a fraction of an election.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Longest wait for nodes in sight to speak of a service: a heartbeat and its way to the leader.
const SETTLE_WAIT: Duration = Duration::from_secs(2);

/// Time between two looks at what they said.
const SETTLE_LOOK: Duration = Duration::from_millis(10);

/// A change on its way to the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Who asks, as authenticated where they are connected.
    pub actor: Actor,
    /// Client and sequence, by which a repeated command is recognised.
    pub origin: Option<(String, u64)>,
    /// What is asked.
    pub body: Body,
    /// Whether to judge and answer only.
    pub dry_run: bool,
}

impl Submission {
    /// Returns a change that this controller itself asks for.
    pub fn by_controller(brain: &Brain, body: Body) -> Self {
        let actor = Actor {
            subject: format!("controller/{}", brain.name),
            role: "system".to_owned(),
            source: "local".to_owned(),
            request_id: String::new(),
        };
        Self { actor, origin: None, body, dry_run: false }
    }
}

/// Has a change committed, wherever the leader is.
///
/// A refusal by apply is a [`Problem`]; so is a leader that cannot be reached in time. Trying
/// again is safe: commands are recognised by origin or change nothing when repeated.
pub async fn submit(brain: &Arc<Brain>, submission: Submission) -> Result<Reply, Problem> {
    let deadline = Instant::now() + SUBMIT_TIMEOUT;
    let mut leadership = brain.raft.watch_leadership();
    loop {
        leadership.mark_unchanged();
        let problem = match once(brain, &submission).await {
            Ok(reply) => return refusal(reply),
            Err(problem) if !problem.retryable => return Err(problem),
            Err(problem) => problem,
        };
        if Instant::now() + RETRY_PAUSE >= deadline {
            return Err(problem);
        }
        // A new leader is asked at once.
        let _changed_or_not = timeout(RETRY_PAUSE, leadership.changed()).await;
    }
}

async fn once(brain: &Arc<Brain>, submission: &Submission) -> Result<Reply, Problem> {
    if brain.leads().is_some() {
        return lead(brain, submission.clone()).await;
    }
    let leader = brain.leader().ok_or_else(|| no_leader(&"no leader is known"))?;
    brain.peers.forward(&leader, submission).await
}

/// Decides and proposes, on the leader.
pub async fn lead(brain: &Arc<Brain>, submission: Submission) -> Result<Reply, Problem> {
    let Some(_) = brain.leads() else { return Err(no_leader(&"this controller does not lead")) };
    let mut submission = submission;
    let shut_out = brain.read(|fleet| shut_out(fleet, &submission));
    if let Some(problem) = shut_out.clone() {
        let (action, target) = submission.body.describe();
        submission.body = Body::Refuse { action: action.to_owned(), target, problem };
    }
    let dry_run = submission.dry_run;
    let transfer = match &submission.body {
        Body::TransferLeader { to } => brain.peers.raft_id_of(to),
        _ => None,
    };
    let command = command(brain, submission).await;
    if dry_run {
        let mut fleet = brain.read(Clone::clone);
        let place = crate::state::apply::Position { index: fleet.index, term: fleet.term };
        return Ok(crate::state::apply(&mut fleet, place, &command).0);
    }
    let bytes = serde_json::to_vec(&command).expect("a command is plain values");
    match brain.raft.propose(Bytes::from(bytes), PROPOSE_TIMEOUT).await {
        Ok(applied) => {
            let reply: Reply = serde_json::from_slice(&applied.reply).map_err(|error| {
                Problem::new(Code::Failed, format!("a reply cannot be read: {error}"))
            })?;
            let refused = matches!(reply.outcome, Outcome::Refused(_));
            if let Some(to) = transfer.filter(|_| !refused) {
                hand_over(brain, to).await?;
            }
            shut_out.map_or(Ok(reply), Err)
        }
        Err(error @ ProposeError::TooLarge { .. }) => {
            Err(Problem::new(Code::Usage, error.to_string()).hint("send it in smaller parts"))
        }
        // Whether it was committed is unknown; the origin makes asking again safe.
        Err(error) => Err(no_leader(&error)),
    }
}

/// Returns why a person may do nothing, as the leader knows it: whoever asked for them may lag
/// behind. Logging in is judged by apply.
fn shut_out(fleet: &Fleet, submission: &Submission) -> Option<Problem> {
    match &submission.body {
        Body::Refuse { .. }
        | Body::People { change: Change::Login { .. } | Change::Renew { .. } } => None,
        _ => people::shut_out(fleet, &submission.actor.subject),
    }
}

/// Hands leadership over, now that it is recorded who wanted it.
async fn hand_over(brain: &Brain, to: u64) -> Result<(), Problem> {
    brain.raft.transfer(to).await.map_err(|error| {
        Problem::new(Code::Failed, format!("leadership stays where it was: {error}"))
            .hint("look at the controllers: trictl controller status")
    })
}

/// Stamps a submission with the leader's time and evidence.
async fn command(brain: &Arc<Brain>, submission: Submission) -> Command {
    let mut body = submission.body;
    match &mut body {
        Body::Apply { evidence, .. } => *evidence = brain.evidence(),
        Body::StartUpgrade { plan, evidence } => {
            *evidence = settled(brain, [plan.service.clone()].into()).await;
        }
        Body::Regroup { step: Step::Begin { group, .. } } => *group = brain.group(),
        Body::Operate { service, evidence, .. } => {
            *evidence = settled(brain, [service.clone()].into()).await;
        }
        Body::Checklist { what: ChecklistStep::Run { checklist, findings } } => {
            *findings = checklists::findings(brain, checklist).await;
        }
        Body::Drain { place, evidence, .. } => {
            let pairs = brain.read(|fleet| fleet.pairs_at(place));
            *evidence =
                settled(brain, pairs.into_iter().map(|(_, service)| service).collect()).await;
        }
        _ => {}
    }
    Command {
        at: brain.now(),
        wall: wall(),
        skew: brain.skew(),
        actor: submission.actor,
        origin: submission.origin,
        body,
    }
}

/// Returns evidence in which nodes speak of services as they were left by what was last done.
async fn settled(brain: &Brain, services: BTreeSet<ServiceId>) -> Evidence {
    let is_settled = |evidence: &Evidence| {
        brain.read(|fleet| {
            services.iter().all(|service| {
                // While it is being upgraded nodes are behind for good reason, and it is refused.
                fleet.active_upgrade(service).is_some()
                    || fleet
                        .services
                        .get(service)
                        .is_none_or(|record| ledger::is_settled(fleet, evidence, &record.manifest))
            })
        })
    };
    let _asking = brain.ask_often();
    let wait = async {
        while !is_settled(&brain.evidence()) {
            sleep(SETTLE_LOOK).await;
        }
    };
    // Whoever has not spoken by then is judged as silent.
    let _ = timeout(SETTLE_WAIT, wait).await;
    brain.evidence()
}

/// Turns a refusal by apply into the problem it is.
fn refusal(reply: Reply) -> Result<Reply, Problem> {
    match reply.outcome {
        Outcome::Refused(problem) | Outcome::Waiting(problem) => Err(problem),
        _ => Ok(reply),
    }
}
