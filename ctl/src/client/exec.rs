//! A program run beside a service: asked for once, whatever happens on the way.

use tonic::Streaming;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::query::{ExecEvent, ExecRequest};
use trireme_proto::wire::queries_client::QueriesClient;
use trireme_proto::wire::{Event, ServiceExecRequest};

use super::status::{Verdict, judge};
use super::{Client, Patience};
use crate::error::{Failure, caused};

/// What a run brings.
#[derive(Debug)]
pub enum Said {
    /// It begins, or has ended.
    Event(ExecEvent),
    /// What the program wrote: 1 for stdout, 2 for stderr.
    Output(u32, Vec<u8>),
}

/// A run under way; dropping it kills the program.
#[derive(Debug)]
pub struct Exec(Streaming<Event>);

impl Client {
    /// Has a program run.
    ///
    /// Every attempt to ask carries one origin: a second one that arrives is refused, not run.
    pub async fn exec(&self, request: &ExecRequest) -> Result<Exec, Failure> {
        let origin = Some(self.origin());
        let request = serde_json::to_vec(request).expect("a request is plain values").into();
        let request = ServiceExecRequest { origin, request };
        let call = async |door| QueriesClient::new(door).service_exec(request.clone()).await;
        let (stream, _) = self.ask(Patience::Rounds, call).await?;
        Ok(Exec(stream))
    }
}

impl Exec {
    /// Returns what comes next; nothing after the end.
    pub async fn next(&mut self) -> Result<Option<Said>, Failure> {
        let event = match self.0.message().await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(None),
            Err(status) => {
                return Err(match judge(&status) {
                    Verdict::Final(problem) => problem.into(),
                    Verdict::NotNow(problem) => lost(&problem.message).into(),
                    Verdict::Unreachable(why) => lost(&why).into(),
                });
            }
        };
        if event.stream > 0 {
            return Ok(Some(Said::Output(event.stream, event.data.to_vec())));
        }
        let event = serde_json::from_slice(&event.json).map_err(|error| {
            caused(Problem::new(Code::Failed, "a controller answered in another form"), &error)
                .hint("it may be of another version: compare `trictl version` with its own")
        })?;
        Ok(Some(Said::Event(event)))
    }
}

/// Returns the problem of a controller that is gone: whether the program ended nobody here knows.
fn lost(why: &str) -> Problem {
    let message = "the controller that ran it is gone; its node kills the program";
    Problem::new(Code::Unreachable, message)
        .because(why.to_owned())
        .hint("see what is on record of it: trictl audit list --action service.exec")
}
