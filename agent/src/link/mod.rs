//! The one connection of the node: to any controller, its own region's by preference.
//!
//! ```text
//! candidates ──▶ session ──▶ lost: pause, next candidate
//!     ▲             ├──────▶ told to leave: next candidate
//!     └─────────────┴──────▶ certificate renewed: the same one again, at once
//! ```
//!
//! The link carries and decides nothing. What it is to say it finds in two watched values, so
//! that a slow or absent controller never holds up the agent: how things are ([`Outlook`]) and
//! what was not yet acknowledged ([`Unacked`]). What it hears goes into one bounded channel.
//! Questions of operators are answered beside all that ([`Respond`]), and after it: an answer is
//! sent when nothing else waits to be.

mod backoff;
mod join;
mod nonce;
mod order;
mod session;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use trireme_proto::action::{Action, Assignment, Observed, Report, Samples};
use trireme_proto::id::ServiceId;
use trireme_proto::identity::Identity;
use trireme_proto::tls::Credentials;

pub use backoff::{BASE as PAUSE_BASE, LIMIT as PAUSE_LIMIT, next as next_pause};
pub use join::{JoinError, join};
pub use order::Known;
pub use session::WELCOME_TIMEOUT;
pub use store::{Store, StoreError, Told};

use crate::clock;
use crate::query::Respond;
use session::Ended;

/// Version that controllers are told.
pub const AGENT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Largest message either way: an action of the largest manifest is a tenth of it.
pub const MESSAGE_LEN_MAX: usize = 1024 * 1024;

/// What to do when the node was away for longer than its certificate lived.
const EXPIRED: &str = "the node's certificate has expired, so no controller will take it: remove \
    the node (`trictl node remove NODE --reason WHY --confirm NODE`), and join it again under a \
    new name";

/// A session that lasted so long was a good one: the next pause is short again.
const GOOD_SESSION: Duration = Duration::from_secs(10);

/// How things are on this node; said with every heartbeat, and at once when it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Recovery epoch of the newest accepted action.
    pub epoch: u64,
    /// Generation of the newest accepted action.
    pub generation: u64,
    /// What is seen of each service.
    pub observed: BTreeMap<ServiceId, Observed>,
}

/// Reports not yet acknowledged, in order of their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unacked {
    /// The reports.
    pub reports: Arc<[Report]>,
    /// Moves when a controller has asked for something that was said already.
    pub again: u64,
}

/// What the link hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A controller took the node's stream.
    Welcome {
        /// Its name.
        controller: String,
        /// Address at which clients reach the node, as the fleet knows it.
        address: String,
    },
    /// The stream ended.
    Lost,
    /// An action is offered.
    Offer {
        /// The action.
        action: Box<Action>,
        /// Age in milliseconds of the nonce it echoes, if that is one of ours.
        nonce_age: Option<u64>,
    },
    /// Reports up to this number are committed.
    Acked(u64),
    /// What the node should check.
    Assigned(Vec<Assignment>),
}

/// Who the agent is, for the controllers' records.
#[derive(Debug, Clone)]
pub struct Hello {
    /// Name of the data directory.
    pub incarnation: String,
    /// Boot it runs in.
    pub boot_id: String,
}

/// The link and all it needs; see [`Link::run`].
#[derive(Debug)]
pub struct Link {
    /// Where the identity lies.
    pub store: Store,
    /// The identity.
    pub credentials: Credentials,
    /// Controllers named in the configuration.
    pub configured: Vec<Known>,
    /// What the first message says.
    pub hello: Hello,
    /// Where what is heard goes.
    pub heard: mpsc::Sender<Heard>,
    /// How things are.
    pub outlook: watch::Receiver<Outlook>,
    /// Numbers that are reported with each heartbeat, and hasten none.
    pub samples: watch::Receiver<Samples>,
    /// What was not yet acknowledged.
    pub unacked: watch::Receiver<Unacked>,
    /// Random number that spreads the fleet's renewals.
    pub draw: u32,
    /// Who answers what operators ask.
    pub respond: Arc<dyn Respond>,
}

impl Link {
    /// Stays connected until nobody listens any more.
    pub async fn run(mut self) {
        let mut pause = backoff::BASE;
        let mut avoid: Option<String> = None;
        loop {
            let region = match self.credentials.identity() {
                Identity::Agent { region, .. } | Identity::Controller { region, .. } => {
                    region.to_string()
                }
                Identity::User { .. } => String::new(),
            };
            let told = self.store.controllers();
            let random = getrandom::u64().unwrap_or_default();
            let order =
                order::candidates(&told.known, &self.configured, &region, avoid.as_deref(), random);
            avoid = None;
            if order.is_empty() {
                warn!("no controller is known: name one under `controllers`");
            }
            let until = self.credentials.verified().not_after;
            if until <= clock::wall() {
                warn!(%until, "{EXPIRED}");
            }
            for address in order {
                let began = Instant::now();
                let ended = self.stay(&address).await;
                let good = began.elapsed() >= GOOD_SESSION;
                match ended {
                    Ended::Unheard => return,
                    Ended::Left(reason) => {
                        info!(%address, reason, "the controller sends the node elsewhere");
                        avoid = Some(address);
                    }
                    Ended::Lost(reason) => {
                        warn!(%address, reason, "no stream to this controller");
                    }
                    // `stay` goes on by itself.
                    Ended::Renewed => {}
                }
                if good {
                    pause = backoff::BASE;
                    break;
                }
                pause = self.rest(pause).await;
            }
            if self.heard.is_closed() {
                return;
            }
        }
    }

    /// Holds sessions with one controller as long as only the certificate changes.
    async fn stay(&mut self, address: &str) -> Ended {
        loop {
            let (ended, welcomed) = session::run(self, address).await;
            if welcomed && self.heard.send(Heard::Lost).await.is_err() {
                return Ended::Unheard;
            }
            if !matches!(ended, Ended::Renewed) {
                return ended;
            }
        }
    }

    async fn rest(&self, pause: Duration) -> Duration {
        let pause = backoff::next(pause, getrandom::u32().unwrap_or_default());
        tokio::select! {
            () = sleep(pause) => {}
            () = self.heard.closed() => {}
        }
        pause
    }
}

/// Returns what went wrong, for people: the innermost cause that a status carries.
fn reason(status: &tonic::Status) -> String {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(status);
    let mut innermost = None;
    while let Some(error) = cause {
        innermost = Some(error.to_string());
        cause = error.source();
    }
    innermost.unwrap_or_else(|| status.message().to_owned())
}
