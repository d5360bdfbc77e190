//! One program run for an admin: on record first, asked of its node once, its end on record too.
//!
//! ```text
//!  find the node ─▶ commit that it begins ─▶ ask, once ─▶ output … end ─▶ commit how it ended
//!                   not committed: not run                operator gone: taken back, node kills it
//! ```
//!
//! Nothing here is asked again. Where the way to the node breaks nobody knows how the program
//! ended, and that is what is recorded.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::warn;
use trireme_proto::id::NodeId;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::query::{ExecEnd, ExecEvent, ExecQuestion, ExecRequest, Question};
use trireme_proto::time::Span;
use trireme_proto::wire::Event;

use super::{Part, Place, Queries, Reply};
use crate::state::{Actor, Body, ExecStep, Outcome};
use crate::submit::{Submission, submit};

/// Time that a node has beyond the program's own: to kill what is left and to say so.
const GRACE: Span = Span::secs(20);

/// Tries at recording an end; each waits for a leader by itself.
const RECORD_TRIES: u32 = 3;

/// A program to run, for whom, and where its events go.
#[derive(Debug)]
pub struct Order {
    /// Who asks.
    pub actor: Actor,
    /// By which a repeated request is recognised.
    pub origin: (String, u64),
    /// What they ask.
    pub request: ExecRequest,
    /// Told once it is decided whether it begins.
    pub begun: oneshot::Sender<Result<(), Problem>>,
    /// Where events go.
    pub tell: mpsc::Sender<Result<Event, Problem>>,
}

/// Runs it; goes on after the operator has left, until its end is on record.
pub async fn run(queries: Arc<Queries>, order: Order) {
    let Order { actor, origin, request, begun, tell } = order;
    let request_id = actor.request_id.clone();
    let decided = begin(&queries, actor, origin, &request).await;
    let (id, place) = match decided {
        Ok(Some(begins)) => begins,
        Ok(None) => {
            let _left = begun.send(Ok(()));
            return;
        }
        Err(problem) => {
            let _left = begun.send(Err(problem));
            return;
        }
    };
    let (end, problem) = if begun.send(Ok(())).is_ok() {
        follow(&queries, &request, &id, &place, &tell).await
    } else {
        (unknown("the operator left before it began"), None)
    };
    let recorded = record(&queries, &request, &id, &request_id, &end).await;
    let last = match problem {
        Some(problem) => Err(problem),
        None => Ok(event(&ExecEvent::Ended { end: said(end, recorded) })),
    };
    let _left = tell.send(last).await;
}

/// Has it recorded that the run begins; returns its name and where the node is, or nothing where
/// it was only to be judged.
async fn begin(
    queries: &Queries,
    actor: Actor,
    origin: (String, u64),
    request: &ExecRequest,
) -> Result<Option<(String, Place)>, Problem> {
    let node = &request.node;
    let place = queries.locate(std::slice::from_ref(node)).await.remove(node);
    let place = place.ok_or_else(|| away(node))?;
    let mut random = [0_u8; 12];
    getrandom::fill(&mut random).map_err(|error| {
        Problem::new(Code::Failed, format!("the system's random source failed: {error}"))
    })?;
    let id = random.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let step = ExecStep::Begin {
        id: id.clone(),
        service: request.service.clone(),
        node: node.clone(),
        argv: request.argv.clone(),
        reason: request.reason.clone(),
        limit: request.limit,
        debug: request.debug,
    };
    let body = Body::Exec { step };
    let dry_run = request.dry_run;
    let submission = Submission { actor, origin: Some(origin), body, dry_run };
    let reply = submit(queries.brain(), submission).await?;
    match reply.outcome {
        _ if dry_run => Ok(None),
        Outcome::Begun { id: first } if first == id => Ok(Some((id, place))),
        // Another controller was asked the same before, and may run it now.
        _ => Err(Problem::new(Code::Conflict, "this very request was taken on before")
            .because("nothing is run twice")
            .hint("see what became of it: trictl audit list --action service.exec")),
    }
}

fn away(node: &NodeId) -> Problem {
    Problem::new(Code::Unreachable, format!("{node} is not connected to any controller"))
        .hint(format!("look at it: trictl get node {node}"))
}

/// Asks the node and passes on what it says; returns how the run ended, and the problem if the
/// node did not run it.
async fn follow(
    queries: &Queries,
    request: &ExecRequest,
    id: &str,
    place: &Place,
    tell: &mpsc::Sender<Result<Event, Problem>>,
) -> (ExecEnd, Option<Problem>) {
    let question = Question::Exec(ExecQuestion {
        id: id.to_owned(),
        service: request.service.clone(),
        argv: request.argv.clone(),
        limit: request.limit,
        container: request.container.clone(),
        debug: request.debug,
    });
    let limit = Span(request.limit.0 + GRACE.0);
    let mut reply = match queries.ask(&request.node, place, &question, limit).await {
        Ok(reply) => reply,
        Err(problem) => {
            return (unknown(&format!("not begun: {}", problem.message)), Some(problem));
        }
    };
    let passed = timeout(limit.to_duration() + Duration::from_secs(5), pass(&mut reply, tell));
    match passed.await {
        Ok(Passed::Ended(end)) => (end, None),
        Ok(Passed::Refused(problem)) => {
            (unknown(&format!("not run: {}", problem.message)), Some(problem))
        }
        Ok(Passed::Left) => (unknown("the operator left, and the node was told to kill it"), None),
        Ok(Passed::Lost) => (unknown("the way to the node broke"), None),
        Err(_) => (unknown("the node did not say how it ended"), None),
    }
}

/// How passing on ended.
enum Passed {
    /// The node said how the program ended.
    Ended(ExecEnd),
    /// The node did not run it.
    Refused(Problem),
    /// Nobody listens any more.
    Left,
    /// The way to the node broke.
    Lost,
}

async fn pass(reply: &mut Reply, tell: &mpsc::Sender<Result<Event, Problem>>) -> Passed {
    loop {
        let part = tokio::select! {
            part = reply.next() => part,
            () = tell.closed() => return Passed::Left,
        };
        let told = match part {
            None => return Passed::Lost,
            Some(Part::End(ended)) => {
                return ended.problem.map_or(Passed::Lost, Passed::Refused);
            }
            Some(Part::Chunk { stream: 0, data }) => match serde_json::from_slice(&data) {
                Ok(ExecEvent::Ended { end }) => return Passed::Ended(end),
                Ok(begun @ ExecEvent::Begun { .. }) => event(&begun),
                Err(_) => continue,
            },
            Some(Part::Chunk { stream, data }) => Event { data, stream, ..Event::default() },
        };
        if tell.send(Ok(told)).await.is_err() {
            return Passed::Left;
        }
    }
}

/// Records how the run ended, by this controller: also of a person who may do nothing any more.
async fn record(
    queries: &Queries,
    request: &ExecRequest,
    id: &str,
    request_id: &str,
    end: &ExecEnd,
) -> Result<(), Problem> {
    let step = ExecStep::End {
        id: id.to_owned(),
        service: request.service.clone(),
        node: request.node.clone(),
        end: end.to_string(),
    };
    let mut submission = Submission::by_controller(queries.brain(), Body::Exec { step });
    request_id.clone_into(&mut submission.actor.request_id);
    let mut tries = 0;
    loop {
        let recorded = submit(queries.brain(), submission.clone()).await;
        tries += 1;
        match recorded {
            Ok(_) => return Ok(()),
            Err(problem) if problem.retryable && tries < RECORD_TRIES => {}
            Err(problem) => {
                warn!(id, %problem, %end, "how a run ended could not be recorded");
                return Err(problem);
            }
        }
    }
}

/// Returns the end as the operator is told it.
fn said(mut end: ExecEnd, recorded: Result<(), Problem>) -> ExecEnd {
    if let Err(problem) = recorded {
        let note = format!("and this could not be recorded: {}", problem.message);
        end.why = Some(end.why.map_or(note.clone(), |why| format!("{why}, {note}")));
    }
    end
}

fn unknown(why: &str) -> ExecEnd {
    ExecEnd { why: Some(why.to_owned()), ..ExecEnd::default() }
}

fn event<T: Serialize>(value: &T) -> Event {
    let json = serde_json::to_vec(value).expect("events are plain values").into();
    Event { json, ..Event::default() }
}
