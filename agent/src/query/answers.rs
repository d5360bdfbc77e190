//! What this node answers, from its host alone.

use std::sync::Arc;

use tokio::sync::mpsc;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::query::{Ended, LogPiece, LogsQuestion, Question};

use super::{Answering, Closed, Outlet, Respond, exec, look};
use crate::host::{Host as _, LinesError, Machine};
use crate::telemetry;

/// Answers questions about the machine.
#[derive(Debug)]
pub struct Answers {
    machine: Arc<Machine>,
    ask: mpsc::Sender<telemetry::Question>,
}

impl Answers {
    /// Answers about `machine`, and what the agent's loop says when asked.
    pub(crate) fn new(machine: Arc<Machine>, ask: mpsc::Sender<telemetry::Question>) -> Self {
        Self { machine, ask }
    }
}

impl Respond for Answers {
    fn respond(&self, question: Question, outlet: Outlet) -> Answering {
        let machine = Arc::clone(&self.machine);
        match question {
            Question::Logs(question) => {
                Box::pin(async move { logs(&machine, &question, &outlet).await })
            }
            Question::Exec(question) => Box::pin(async move {
                exec::exec(&machine, &question, &outlet).await?;
                Ok(Ended::default())
            }),
            Question::Use(question) => Box::pin(async move {
                let used = machine.used(&question.services).await;
                outlet.send_whole(&used).await.map_err(gone)?;
                Ok(Ended::default())
            }),
            Question::Status(question) => {
                let ask = self.ask.clone();
                Box::pin(async move {
                    let status = look::status(&machine, &ask, &question.service).await?;
                    outlet.send_whole(&status).await.map_err(gone)?;
                    Ok(Ended::default())
                })
            }
        }
    }
}

async fn logs(
    machine: &Machine,
    question: &LogsQuestion,
    outlet: &Outlet,
) -> Result<Ended, Problem> {
    // At once, so that whoever asked knows that somebody is looking.
    outlet.send(&LogPiece::default()).await.map_err(gone)?;
    let mut lines = machine.lines(question).await.map_err(|error| unreadable(&error))?;
    while let Some(piece) = lines.next().await.map_err(|error| unreadable(&error))? {
        outlet.send(&piece).await.map_err(gone)?;
    }
    Ok(Ended::default())
}

fn unreadable(error: &LinesError) -> Problem {
    let code = match error {
        LinesError::Undeclared { .. } | LinesError::Missing { .. } => Code::NotFound,
        LinesError::Refused { .. } => Code::Denied,
        LinesError::Grep(_) => Code::Usage,
        LinesError::Template { .. } | LinesError::Journal { .. } | LinesError::Io { .. } => {
            Code::Failed
        }
    };
    Problem::new(code, error.to_string())
}

/// Nobody reads this problem: the stream it would go over has ended.
pub(super) fn gone(closed: Closed) -> Problem {
    Problem::new(Code::Unreachable, closed.to_string())
}
