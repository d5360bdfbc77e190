//! Questions of operators, answered beside everything else and after it.
//!
//! ```text
//!  Query ──▶ a task of its own ──▶ Outlet: waits for credit ──▶ after heartbeats and reports
//!  QueryCredit ──▶ the reader has room for more
//!  QueryCancel, the end of the stream, the limit ──▶ the task ends, and what it had started
//! ```
//!
//! Only a controller begins a question. Nothing here changes what the node runs, and nothing but
//! the names of programs run for admins is remembered: with the stream to the controller every
//! answer ends.

mod answers;
mod exec;
mod look;
mod outlet;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::timeout;
use tracing::{debug, error};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::query::{Ended, NODE_QUERIES_MAX, Question};
use trireme_proto::wire::{AgentMessage, Query, QueryCancel, QueryCredit};

pub use answers::Answers;
pub use outlet::{Closed, Outlet};

/// Longest that any answer may take, whatever the controller says; who follows asks again.
const LIMIT_MAX: Duration = Duration::from_hours(1);

/// An answer that is being given.
pub type Answering = Pin<Box<dyn Future<Output = Result<Ended, Problem>> + Send>>;

/// Answers questions.
pub trait Respond: fmt::Debug + Send + Sync {
    /// Begins to answer; what there is to say goes through the outlet. Dropping the answer ends
    /// whatever was started for it.
    fn respond(&self, question: Question, outlet: Outlet) -> Answering;
}

/// The questions of one stream.
#[derive(Debug)]
pub(crate) struct Queries {
    respond: Arc<dyn Respond>,
    answers: mpsc::Sender<AgentMessage>,
    open: BTreeMap<u64, Open>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Open {
    outlet: Outlet,
    task: AbortHandle,
}

impl Queries {
    /// Makes the desk of a stream; answers go into `answers`.
    pub(crate) fn new(respond: Arc<dyn Respond>, answers: mpsc::Sender<AgentMessage>) -> Self {
        Self { respond, answers, open: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Begins to answer a question.
    pub(crate) fn begin(&mut self, query: &Query) {
        let number = query.number;
        let outlet = Outlet::new(number, query.credit, self.answers.clone());
        let refused = if self.open.contains_key(&number) {
            Some(Problem::new(Code::Usage, "this question is being answered already"))
        } else if self.open.len() >= NODE_QUERIES_MAX {
            let message = format!("the node answers {NODE_QUERIES_MAX} questions already");
            Some(Problem::new(Code::Conflict, message).hint("ask again when some have ended"))
        } else {
            None
        };
        let limit = Duration::from_millis(query.limit_ms).min(LIMIT_MAX);
        let answer = match (refused, serde_json::from_slice(&query.question)) {
            (Some(problem), _) => Err(problem),
            (None, Ok(question)) => Ok(self.respond.respond(question, outlet.clone())),
            (None, Err(error)) => {
                let message = format!("the agent cannot read the question: {error}");
                Err(Problem::new(Code::Usage, message).hint("the agent may be of an older version"))
            }
        };
        let told = outlet.clone();
        debug!(number, "a question is answered");
        let is_open = answer.is_ok();
        let task = self.tasks.spawn(async move {
            let ended = match answer {
                Ok(answer) => timeout(limit, answer).await.unwrap_or_else(|_| Err(late(limit))),
                Err(problem) => Err(problem),
            };
            // If it cannot be told, the stream is gone and so is whoever asked.
            let _ = told.end(&ended.unwrap_or_else(Ended::with)).await;
        });
        if is_open {
            self.open.insert(number, Open { outlet, task });
        }
    }

    /// Lets an answer send more.
    pub(crate) fn credit(&self, credit: &QueryCredit) {
        if let Some(open) = self.open.get(&credit.number) {
            open.outlet.credit(credit.chunks);
        }
    }

    /// Ends an answer that nobody listens to.
    pub(crate) fn cancel(&mut self, cancel: QueryCancel) {
        if let Some(open) = self.open.remove(&cancel.number) {
            debug!(number = cancel.number, "a question was taken back");
            open.task.abort();
        }
    }

    /// Forgets one answer that has ended; waits for ever while there is none.
    pub(crate) async fn ended(&mut self) {
        let id: Id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => {
                if error.is_panic() {
                    error!(%error, "an answer broke");
                    self.broke(error.id());
                }
                error.id()
            }
            None => return std::future::pending().await,
        };
        self.open.retain(|_, open| open.task.id() != id);
    }

    /// Says that an answer will never end well.
    fn broke(&mut self, id: Id) {
        let open = self.open.values().find(|open| open.task.id() == id);
        let Some(outlet) = open.map(|open| open.outlet.clone()) else { return };
        self.tasks.spawn(async move {
            let problem = Problem::new(Code::Failed, "the agent itself broke in the answer");
            let _gone = outlet.end(&Ended::with(problem)).await;
        });
    }
}

fn late(limit: Duration) -> Problem {
    Problem::new(Code::Unreachable, format!("the answer took longer than {limit:?}"))
}
