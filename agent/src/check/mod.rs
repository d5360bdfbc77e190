//! Checks: how a node asks its services whether they are well.
//!
//! ```text
//!  schedule (when) ──▶ run (what: http, tcp, command) ──▶ Finding ──▶ state (rise and fall)
//! ```
//!
//! A run that takes too long is critical, for a hung service is down; a check that cannot be
//! asked at all (program missing, malformed URL) is unknown. Only ok and warning pass.

mod command;
mod http;
mod perfdata;
mod schedule;
mod state;
mod tcp;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use trireme_proto::id::ServiceId;
use trireme_proto::model::{CommandCheck, HttpCheck, Probe, TcpCheck};
use trireme_proto::placeholders::PlaceholderError;

pub use perfdata::Perf;
pub(crate) use perfdata::split;
pub use schedule::{Assigned, Schedule, Scheduler};
pub use state::{Board, CheckState, Health, Transition, Verdict};

use crate::host::Facts;
use crate::http::Client;

/// Longest message that is kept and reported: one line for people.
const MESSAGE_BYTES_MAX: usize = 256;

/// How a run of a check ended, the better first: the greatest of several is the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, but somebody should look.
    Warn,
    /// The check itself could not be made.
    Unknown,
    /// Does not work.
    Crit,
}

impl Status {
    /// Returns whether a service with this status serves.
    pub fn passes(self) -> bool {
        matches!(self, Self::Ok | Self::Warn)
    }

    /// Returns the exit code that a plugin tells it with.
    pub fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warn => 1,
            Self::Crit => 2,
            Self::Unknown => 3,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warning",
            Self::Unknown => "unknown",
            Self::Crit => "critical",
        })
    }
}

/// What one run of a check found.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// Why, for people: one line.
    pub message: String,
    /// Numbers that a plugin gave.
    pub perfdata: Vec<Perf>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    fn new(status: Status, message: impl Into<String>) -> Self {
        let message = one_line(message.into());
        Self { status, message, perfdata: Vec::new(), took: Duration::ZERO }
    }
}

/// What one run found, of which check, and when it began in the order of all runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The service.
    pub service: ServiceId,
    /// Name of the check.
    pub check: String,
    /// Rises with every run that begins on this node.
    pub seq: u64,
    /// What it found.
    pub outcome: Outcome,
}

/// Makes runs of checks.
#[derive(Debug)]
pub(crate) struct Runner {
    client: Arc<Client>,
    killed: command::Killed,
}

impl Runner {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self { client, killed: command::Killed::default() }
    }

    /// Asks once; always returns within `limit`, but for a process the kernel does not let go.
    pub(crate) async fn run(&self, probe: &Probe, limit: Duration) -> Outcome {
        let began = Instant::now();
        let late = |_| Outcome::new(Status::Crit, format!("no answer within {limit:?}"));
        let outcome = match probe {
            Probe::Http(check) => {
                timeout(limit, http::run(&self.client, check)).await.unwrap_or_else(late)
            }
            Probe::Tcp(check) => {
                timeout(limit, tcp::run(&self.client, check)).await.unwrap_or_else(late)
            }
            // It limits itself: a process has to be seen gone after its time is up.
            Probe::Command(check) => command::run(check, limit, &self.killed).await,
        };
        Outcome { took: began.elapsed(), ..outcome }
    }
}

/// Returns the probe with its placeholders filled in.
fn filled(probe: &Probe, facts: &Facts) -> Result<Probe, PlaceholderError> {
    Ok(match probe {
        Probe::Http(check) => {
            Probe::Http(HttpCheck { url: facts.fill(&check.url)?, status: check.status })
        }
        Probe::Tcp(check) => Probe::Tcp(TcpCheck { address: facts.fill(&check.address)? }),
        Probe::Command(check) => {
            let argv = check.argv.iter().map(|arg| facts.fill(arg));
            let env = check.env.iter().map(|(name, value)| Ok((name.clone(), facts.fill(value)?)));
            Probe::Command(CommandCheck {
                argv: argv.collect::<Result<_, _>>()?,
                env: env.collect::<Result<_, PlaceholderError>>()?,
            })
        }
    })
}

/// Returns the first line, cut to the longest message, without control characters.
fn one_line(text: String) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.len() == text.len()
        && line.len() <= MESSAGE_BYTES_MAX
        && !line.contains(char::is_control)
    {
        return text;
    }
    let end = line.floor_char_boundary(MESSAGE_BYTES_MAX);
    line[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
