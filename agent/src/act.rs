//! Performs what the core asks for on the host, one thing at a time.
//!
//! Each function translates: it decides nothing and remembers nothing. Waiting for health is not
//! here but in [`crate::observe`], where the checks are.

use tracing::{info, warn};
use trireme_proto::action::{RunSpec, Step};
use trireme_proto::id::ServiceId;

use crate::host::{Host, HostError, Probed as Found, Quiesced};
use crate::plan::{Outcome, Probed, Task, Work};

/// Does a step; a wait may be cut short by dropping this.
pub(crate) async fn run<H: Host>(host: &H, task: &Task) -> Outcome {
    let Task { key, service, work } = task;
    info!(action = %key.action, direction = ?key.direction, step = %key.step, %service, "step begins");
    let done = match work {
        Work::Fetch { spec } => host.fetch(spec).await.map(|_| ()),
        Work::Quiesce { drain, in_flight } => {
            match host.quiesce(service, in_flight.as_deref(), *drain).await {
                Quiesced::TimedOut(Some(last)) => {
                    warn!(%service, %drain, last, "work was still in flight when its time was up");
                }
                Quiesced::TimedOut(None) | Quiesced::NotRunning | Quiesced::Empty => {}
            }
            Ok(())
        }
        Work::Stop => host.stop(service).await.map(|stopped| {
            if stopped.killed {
                warn!(%service, "it did not stop in its time and was killed");
            }
        }),
        Work::Point { spec } => host.point(service, spec.as_ref()).await,
        Work::Start { recreate, .. } => {
            host.start(service, key.action, *recreate).await.map(|_| ())
        }
        Work::Gate { .. } => {
            return Outcome::Failed("the gate is not a step of the host".to_owned());
        }
    };
    match done {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Failed(chain(&error)),
    }
}

/// Finds out whether a step was done before a crash.
pub(crate) async fn probe<H: Host>(host: &H, task: &Task) -> Probed {
    let Task { key, service, work } = task;
    let found = match work {
        Work::Fetch { spec } => host.staged(spec).await,
        Work::Stop => host.probe_stop(service),
        Work::Point { spec } => {
            host.probe_point(service, spec.as_ref().map(RunSpec::digest).as_ref())
        }
        Work::Start { spec, .. } => host.probe_start(service, &spec.digest(), key.action),
        Work::Quiesce { .. } | Work::Gate { .. } => Found::NotDone,
    };
    info!(action = %key.action, step = %key.step, %service, ?found, "probed after a restart");
    match found {
        Found::Done => Probed::Done,
        Found::NotDone => Probed::NotDone,
        Found::Unknown(reason) => {
            warn!(action = %key.action, step = %key.step, %service, reason, "cannot be told");
            Probed::Unknown
        }
    }
}

/// Returns what a service is pointed at.
pub(crate) fn pointed_at<H: Host>(
    host: &H,
    service: &ServiceId,
) -> Result<Option<RunSpec>, String> {
    host.current(service).map_err(|error: HostError| chain(&error))
}

/// Returns whether `step` changes what the placeholders of checks stand for.
pub(crate) fn moves_facts(step: Step) -> bool {
    matches!(step, Step::Point | Step::Start)
}

/// Returns an error with all of its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
