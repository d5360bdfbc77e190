//! A client of the fleet's controllers: any of them will do, and a change is applied once.
//!
//! The controllers are tried in order, starting with the one that answered last. One that cannot
//! be reached makes room for the next; one that answers "not now" is asked again after a pause.
//! Every attempt carries the same origin, by which the fleet knows a request it has already
//! applied. All of it ends at the deadline that the operator set.

mod endpoints;
mod exec;
mod guard;
mod logs;
mod rpc;
mod status;
mod watch;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Response, Status};
use trireme_proto::identity::{FleetName, Verified};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::request::REQUEST_ID;
use trireme_proto::time::Span;
use trireme_proto::tls::Credentials;
use trireme_proto::wire::{Consistency, Document, Origin};

use self::endpoints::{Endpoint, Endpoints};
pub use self::exec::{Exec, Said};
pub use self::guard::Guard;
pub use self::logs::{Heard, Logs};
pub use self::rpc::Reply;
pub use self::watch::{Event, Watch};

pub(crate) use self::status::{Verdict, judge};

use crate::context::Context;
use crate::error::{Failure, failed};

/// Streams in a row that end without anything new before it counts as a failure: each was opened
/// by a controller that answered, so this is not about being unreachable.
const EMPTY_STREAMS_MAX: u32 = 20;
/// Longest wait for one controller's answer, so that one that hangs does not use up the deadline.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// First pause between rounds; doubled each time.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between rounds: an election takes about a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Rounds in a row in which no controller can be reached before we give up: enough to ride out
/// a restart of one, not so many that a wrong address costs the whole deadline.
const UNREACHABLE_ROUNDS_MAX: u32 = 4;
/// Largest document taken: a list of 10,000 nodes is some 10 MiB.
const DOCUMENT_LEN_MAX: usize = 64 * 1024 * 1024;

/// A controller that has not heard from a leader for longer may not know where the others are.
const LEARN_AGE_MAX: u64 = 5_000;

/// Where a controller is asked: whatever is asked there carries the same id.
type Door = InterceptedService<Channel, Stamp>;

/// Talks to whichever controller answers.
pub struct Client {
    endpoints: Endpoints,
    timeout: Duration,
    context: Context,
    credentials: Credentials,
    /// Done once the certificate was looked at, and renewed if that was due.
    refreshed: OnceCell<()>,
    guard: Guard,
    /// Done once the fleet's name was given that a protected context asks for.
    confirmed: OnceCell<()>,
    /// Whether anything is to be changed.
    changing: AtomicBool,
    own: Verified,
    id: String,
    sequence: AtomicU64,
    /// Requests so far.
    asked: AtomicU64,
}

/// Puts an id on every attempt at a request; of a change its origin has one besides, which counts.
#[derive(Debug, Clone)]
struct Stamp(MetadataValue<Ascii>);

impl Interceptor for Stamp {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        request.metadata_mut().insert(REQUEST_ID, self.0.clone());
        Ok(request)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How long it makes sense to knock at closed doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// A few rounds: the operator waits for an answer.
    Rounds,
    /// Until the deadline: what we watched was there a moment ago.
    Deadline,
}

impl Client {
    /// Makes a client; nothing is connected before the first request.
    pub fn new(context: &Context, timeout: Span) -> Result<Self, Failure> {
        let credentials = context.credentials().map_err(Problem::from)?;
        Ok(Self {
            endpoints: Endpoints::new(&context.controllers, &credentials)?,
            timeout: timeout.to_duration(),
            context: context.clone(),
            refreshed: OnceCell::new(),
            guard: Guard::default(),
            confirmed: OnceCell::new(),
            changing: AtomicBool::new(false),
            own: credentials.verified(),
            credentials,
            id: random_id()?,
            sequence: AtomicU64::new(0),
            asked: AtomicU64::new(0),
        })
    }

    /// Returns the fleet that our certificate is of.
    pub fn fleet(&self) -> &FleetName {
        self.own.identity.fleet()
    }

    /// Returns the roots that we trust.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Returns who we are, as the fleet's certificate says.
    pub fn own(&self) -> &Verified {
        &self.own
    }

    /// Returns the origin of a new change; attempts to make it all carry this one.
    pub fn origin(&self) -> Origin {
        self.changing.store(true, Ordering::Relaxed);
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let request_id = format!("{}-{sequence}", self.id);
        Origin { request_id, client: self.id.clone(), sequence }
    }

    /// Returns a new id for a request that has none of its own.
    fn stamp(&self) -> Stamp {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("{}-r{number}", self.id).parse();
        Stamp(id.expect("hexadecimal digits and a number are plain text"))
    }

    /// Asks until a controller answers for good; returns the answer and the address it is from.
    async fn ask<R>(
        &self,
        patience: Patience,
        call: impl AsyncFn(Door) -> Result<Response<R>, Status>,
    ) -> Result<(R, String), Problem> {
        self.prepare().await?;
        let end = Instant::now() + self.timeout;
        let mut pause = PAUSE_FIRST;
        let mut rounds = 0;
        let id = self.stamp();
        loop {
            let round = self.round(end, &id, &call).await?;
            let round = match round {
                Round::Answered(answer, address) => return Ok((answer, address)),
                Round::NotNow(problem) => {
                    rounds = 0;
                    problem
                }
                Round::Unreachable(problem) => {
                    rounds += 1;
                    problem
                }
            };
            let left = end.saturating_duration_since(Instant::now());
            let hopeless = patience == Patience::Rounds && rounds >= UNREACHABLE_ROUNDS_MAX;
            if left.is_zero() || hopeless {
                return Err(round);
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Asks each controller once; `Err` is an answer that asking again would not change.
    async fn round<R>(
        &self,
        end: Instant,
        id: &Stamp,
        call: &impl AsyncFn(Door) -> Result<Response<R>, Status>,
    ) -> Result<Round<R>, Problem> {
        let mut silent = Vec::new();
        let mut not_now: Option<Problem> = None;
        for Endpoint { address, channel } in self.endpoints.in_order() {
            let left = end.saturating_duration_since(Instant::now()).min(ATTEMPT_MAX);
            if left.is_zero() {
                silent.push((address, "not asked before the deadline".to_owned()));
                continue;
            }
            let door = InterceptedService::new(channel, id.clone());
            match tokio::time::timeout(left, call(door)).await {
                Ok(Ok(response)) => {
                    self.endpoints.prefer(&address);
                    return Ok(Round::Answered(response.into_inner(), address));
                }
                Ok(Err(status)) => match status::judge(&status) {
                    Verdict::Final(problem) => {
                        self.endpoints.prefer(&address);
                        return Err(problem);
                    }
                    Verdict::NotNow(problem) => not_now = not_now.or(Some(problem)),
                    Verdict::Unreachable(why) => silent.push((address, why)),
                },
                Err(_) => {
                    let why = format!("no answer within {:.1} s", left.as_secs_f64());
                    silent.push((address, why));
                }
            }
        }
        Ok(match not_now {
            Some(problem) => Round::NotNow(with_silent(problem, &silent)),
            None => Round::Unreachable(Self::unreachable(&silent)),
        })
    }

    /// Turns to the next controller after the one at `address` has ended a stream; returns why it
    /// did. `empty` counts the streams in a row that brought nothing.
    fn broke_off(
        &self,
        address: &str,
        end: Result<(), Status>,
        empty: &mut u32,
    ) -> Result<String, Problem> {
        let why = match end.map_err(|status| judge(&status)) {
            Ok(()) => "it ended the stream".to_owned(),
            Err(Verdict::Final(problem)) => return Err(problem),
            Err(Verdict::NotNow(problem)) => problem.message,
            Err(Verdict::Unreachable(why)) => why,
        };
        self.endpoints.avoid(address);
        *empty += 1;
        if *empty > EMPTY_STREAMS_MAX {
            let message = "controllers end the stream at once, again and again";
            return Err(Problem::new(Code::Unreachable, message));
        }
        Ok(why)
    }

    fn unreachable(silent: &[(String, String)]) -> Problem {
        let message = match silent.len() {
            1 => "the controller cannot be reached".to_owned(),
            n => format!("none of {n} controllers can be reached"),
        };
        let problem = with_silent(Problem::new(Code::Unreachable, message), silent);
        let problem = Problem { retryable: true, ..problem };
        problem.hint("services keep running without controllers; check that they run and are open")
    }

    /// Takes in where the controllers are, and keeps it with the context.
    fn learn(&self, document: &Document) {
        let fresh =
            document.consistency() != Consistency::Stale && document.age_ms <= LEARN_AGE_MAX;
        let told: Vec<String> = document.controllers.iter().map(|c| c.address.clone()).collect();
        if !fresh || !self.endpoints.learn(&told, document.index, &self.credentials) {
            return;
        }
        let enrol: Vec<String> = document.controllers.iter().map(|c| c.enrol.clone()).collect();
        if let Err(error) = self.context.moved(&told, &enrol) {
            tracing::warn!(%error, "where the controllers are now is not kept");
        }
    }
}

fn with_silent(problem: Problem, silent: &[(String, String)]) -> Problem {
    let why = |problem: Problem, (address, why): &(String, String)| {
        problem.because(format!("{address}: {why}"))
    };
    silent.iter().fold(problem, why)
}

enum Round<R> {
    Answered(R, String),
    NotNow(Problem),
    Unreachable(Problem),
}

/// Returns an id that no other run has, so that sequences need not be kept on disk.
fn random_id() -> Result<String, Problem> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| failed("the system's random source failed", &error))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
