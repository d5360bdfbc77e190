//! Answers how a service stands: what the host says of it, what its checks found, and what the
//! fleet is told.

use tokio::sync::mpsc;
use trireme_proto::action::{Observed, ServiceState};
use trireme_proto::id::ServiceId;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::query::{CheckStatus, PARTS_MAX, ServiceStatus};
use trireme_proto::time::Span;

use crate::check::Health;
use crate::host::{HostError, Looked, Machine, Observation, RunState};
use crate::telemetry::{self, CheckShown, Question};

/// Looks at a service.
pub(super) async fn status(
    machine: &Machine,
    ask: &mpsc::Sender<Question>,
    service: &ServiceId,
) -> Result<ServiceStatus, Problem> {
    let shown = telemetry::ask(ask).await.ok_or_else(|| {
        Problem::new(Code::Unreachable, "the agent is busy and does not tell how things are")
    })?;
    let looked = machine.look(service).await.map_err(|error| unseen(&error))?;
    let checks = shown.checks.into_iter().filter(|check| check.service == *service);
    let checks = checks.take(PARTS_MAX).map(check).collect();
    let observed = shown.observed.get(service).cloned().unwrap_or_else(nothing);
    let Some(Looked { driver, observation, mut instances }) = looked else {
        return Ok(ServiceStatus {
            driver: "none".to_owned(),
            state: "never started".to_owned(),
            why: None,
            observed,
            action: None,
            restarts: 0,
            instances: Vec::new(),
            checks,
        });
    };
    instances.truncate(PARTS_MAX);
    let (state, why) = words(&observation);
    Ok(ServiceStatus {
        driver: driver.to_owned(),
        state: state.to_owned(),
        why,
        observed,
        action: observation.action,
        restarts: observation.restart,
        instances,
        checks,
    })
}

/// Returns the problem of what the host does not tell.
pub(super) fn unseen(error: &HostError) -> Problem {
    let mut problem = Problem::new(Code::Failed, error.to_string());
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        problem = problem.because(error.to_string());
        cause = error.source();
    }
    problem
}

fn nothing() -> Observed {
    let failing = std::collections::BTreeMap::new();
    Observed { state: ServiceState::NeverStarted, running: None, version: None, failing }
}

fn check(check: CheckShown) -> CheckStatus {
    let health = match check.health {
        Health::Pending => "pending",
        Health::Passing => "passing",
        Health::Failing => "failing",
    };
    CheckStatus {
        name: check.check,
        health: health.to_owned(),
        status: check.status.to_string(),
        message: check.message,
        since: check.since,
        took: Span(u64::try_from(check.took.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// Returns what a service does in a word or two, and why if it is not as it should be.
fn words(observation: &Observation) -> (&'static str, Option<String>) {
    match &observation.state {
        RunState::NeverStarted => ("never started", None),
        RunState::Stopped => ("stopped", None),
        RunState::Running { .. } => ("running", None),
        RunState::Stopping { .. } => ("stopping", None),
        RunState::Backoff { why } => ("waiting to be started again", Some(why.clone())),
        RunState::Exited { exit } => ("exited", Some(exit.to_string())),
        RunState::Unwell { why, .. } => ("unwell", Some(why.clone())),
        RunState::Broken { why } => ("broken", Some(why.clone())),
    }
}
