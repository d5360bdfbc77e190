//! What stands before the first request: a certificate that is still good, and for a change through
//! a protected context the fleet's name.

use std::sync::atomic::Ordering;

use trireme_proto::problem::{Code, Problem};

use super::Client;
use crate::error::{Failure, failed};
use crate::output::{Form, Out};
use crate::terminal;

/// How a person says that they know which fleet they change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// Fleet named on the command line.
    pub given: Option<String>,
    /// Whether there is somebody to ask.
    pub may_ask: bool,
}

impl Client {
    /// Returns the client with what was said of the fleet that is meant.
    #[must_use]
    pub fn guarded(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Makes ready for a request.
    pub(super) async fn prepare(&self) -> Result<(), Problem> {
        if self.changing.load(Ordering::Relaxed) && self.context.protected {
            self.confirmed.get_or_try_init(|| self.confirm()).await?;
        }
        let refresh = || crate::login::refresh(&self.context, &self.credentials);
        self.refreshed.get_or_try_init(refresh).await?;
        Ok(())
    }

    async fn confirm(&self) -> Result<(), Problem> {
        let (fleet, context) = (self.fleet().as_str(), &self.context.name);
        let typed = match &self.guard.given {
            Some(given) => given.clone(),
            None if self.guard.may_ask => {
                let question =
                    format!("Context {context} is protected. Type the name of its fleet: ");
                let answer = terminal::line(&Out::process(Form::Table), &question).await;
                answer.map_err(|failure| match failure {
                    Failure::Problem(problem) => *problem,
                    Failure::Closed => failed("nobody answers", &failure),
                })?
            }
            None => {
                let message = format!("context {context} is protected: changes name their fleet");
                return Err(Problem::new(Code::Usage, message)
                    .hint(format!("if you mean it, add --confirm-fleet {fleet}")));
            }
        };
        if typed.trim() == fleet {
            return Ok(());
        }
        let problem = terminal::not_confirmed();
        Err(problem.because(format!("the fleet is {fleet}, not `{}`", typed.trim())))
    }
}
