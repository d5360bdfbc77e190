//! Runs a program for an admin: its output goes out as it comes, and its time is limited.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::query::{
    CHUNK_BYTES_GOOD, EXEC_BYTES_MAX, EXEC_LIMIT_MAX, ExecEnd, ExecEvent, ExecQuestion,
};
use trireme_proto::time::Span;

use super::{Closed, Outlet};
use crate::host::{ExecError, Exit, Machine, Run};

/// Time for the rest of the output once the program has ended: only what it has started can still
/// hold the pipe.
const REST_WAIT: Duration = Duration::from_millis(300);
/// Longest wait to learn how a program ended that was killed.
const EXIT_WAIT: Duration = Duration::from_secs(2);

/// Runs it to its end.
pub(super) async fn exec(
    machine: &Machine,
    question: &ExecQuestion,
    outlet: &Outlet,
) -> Result<(), Problem> {
    let run = machine.exec(question).await.map_err(|error| refused(&error))?;
    let begun = ExecEvent::Begun { id: question.id.clone(), instance: run.instance.clone() };
    outlet.send(&begun).await.map_err(super::answers::gone)?;
    let limit = question.limit.min(EXEC_LIMIT_MAX);
    let end = follow(run, limit, outlet).await.map_err(super::answers::gone)?;
    outlet.send(&ExecEvent::Ended { end }).await.map_err(super::answers::gone)
}

async fn follow(mut run: Run, limit: Span, outlet: &Outlet) -> Result<ExecEnd, Closed> {
    let began = Instant::now();
    let mut until = began + limit.to_duration();
    let mut end = ExecEnd::default();
    let (mut exit, mut open) = (None, true);
    while open || exit.is_none() {
        tokio::select! {
            piece = run.output.next(), if open => match piece {
                None => open = false,
                Some((stream, data)) => {
                    let passed = timeout_at(until, pass(&mut end, outlet, stream, data)).await;
                    let Ok(passed) = passed else { break };
                    passed?;
                }
            },
            ended = &mut run.exit, if exit.is_none() => {
                exit = Some(ended);
                until = until.min(Instant::now() + REST_WAIT);
            }
            () = sleep_until(until) => break,
        }
    }
    end.lasted = Span(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    let late = exit.is_none();
    let gone = run.clear().await;
    if late {
        exit = timeout(EXIT_WAIT, &mut run.exit).await.ok();
    }
    match exit {
        Some(Exit::Code(code)) => end.exit_code = Some(code.into()),
        Some(Exit::Signal(signal)) => end.signal = Some(signal),
        Some(Exit::Unknown) | None => {}
    }
    let why = [
        late.then(|| format!("its time of {limit} was up and it was killed")),
        (!gone).then(|| "something of it may still run".to_owned()),
    ];
    let why: Vec<_> = why.into_iter().flatten().collect();
    end.why = (!why.is_empty()).then(|| why.join(", "));
    Ok(end)
}

/// Passes on as much of what the program wrote as may be shown.
async fn pass(
    end: &mut ExecEnd,
    outlet: &Outlet,
    stream: u32,
    mut data: Bytes,
) -> Result<(), Closed> {
    let room = EXEC_BYTES_MAX.saturating_sub(end.shown_bytes);
    let shown = data.len().min(usize::try_from(room).unwrap_or(usize::MAX));
    end.dropped_bytes += data.split_off(shown).len() as u64;
    while !data.is_empty() {
        let piece = data.split_to(data.len().min(CHUNK_BYTES_GOOD));
        end.shown_bytes += piece.len() as u64;
        outlet.send_bytes(stream, piece).await?;
    }
    Ok(())
}

fn refused(error: &ExecError) -> Problem {
    let code = match error {
        ExecError::NotAllowed(_) => Code::Denied,
        ExecError::Again(_) => Code::Conflict,
        ExecError::Unit(_)
        | ExecError::Nameless
        | ExecError::Which(_)
        | ExecError::Entrypoint(_) => Code::Usage,
        ExecError::Unknown(_) | ExecError::NoneRuns(_) => Code::NotFound,
        ExecError::Spawn { .. } | ExecError::Engine(_) | ExecError::Host(_) => Code::Failed,
    };
    let mut problem = Problem::new(code, error.to_string());
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        problem = problem.because(error.to_string());
        cause = error.source();
    }
    problem
}
