//! What a controller shows of itself: metrics, health, and who asked for what.
//!
//! ```text
//!  /metrics  page      computed when asked for      /livez   the process answers
//!  /readyz   ready     checks, one by one           grpc.health.v1 on the api listener
//!  access    before every service: an id, a count, a line in the log
//! ```

pub mod access;
pub mod names;
mod page;
mod ready;
pub mod requests;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trireme_proto::identity::{Identity, Verified, subject as subject_of};
use trireme_telemetry::{Admit, Answer, Asked, Door, DoorError, Options, Reply, Site, live, ready};

pub use ready::Readiness;

use self::requests::Requests;
use crate::accept::{Connections, Peer, Watch};
use crate::api::is_denied;
use crate::brain::Brain;
use crate::pki::Authority;

/// Where a controller listens for probes and scrapers unless it is told otherwise.
pub const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7404);

/// Everything that is shown, and where it is found.
#[derive(Debug)]
pub struct Telemetry {
    /// What the parts share.
    pub brain: Arc<Brain>,
    /// Certificates.
    pub authority: Arc<Authority>,
    /// Data directory.
    pub data: PathBuf,
    /// Open connections.
    pub connections: Connections,
    /// What became of sockets, by listener.
    pub listeners: Vec<(&'static str, Watch)>,
    /// What was asked.
    pub requests: Arc<Requests>,
    /// Why the audit could not be written, if so.
    pub failures: watch::Receiver<Option<String>>,
    /// Changes of leader so far.
    pub changes: AtomicU64,
    /// What makes this controller ready.
    pub readiness: Readiness,
}

impl Site for Telemetry {
    fn answer<'a>(&'a self, asked: &'a Asked) -> Option<Reply<'a>> {
        Some(match asked.path.as_str() {
            "/livez" => Box::pin(async { live() }),
            "/readyz" => Box::pin(async { ready(&self.readiness.checks().await, asked.verbose) }),
            "/metrics" => Box::pin(async { Answer::metrics(self.page(), asked.format) }),
            _ => return None,
        })
    }
}

/// Begins to show it where the options say; people and controllers of this fleet may look where that
/// is not the loopback.
///
/// Whoever looks is answered as long as the returned value lives, to the very end of a controller;
/// so nobody waits for these tasks.
pub async fn show(
    options: &Options,
    telemetry: Telemetry,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<JoinSet<()>, DoorError> {
    let credentials = telemetry.authority.credentials().clone();
    let guard = Some((&credentials, admission(&telemetry)));
    let door = Door::open(options, USUAL, guard).await?;
    let telemetry = Arc::new(telemetry);
    let (counting, stop) = (Arc::clone(&telemetry), stop.clone());
    tasks.spawn(async move { counting.count_changes(stop).await });
    let mut shown = JoinSet::new();
    if let Some(door) = door {
        shown.spawn(door.serve(telemetry, CancellationToken::new()));
    }
    Ok(shown)
}

fn admission(telemetry: &Telemetry) -> Admit {
    let credentials = telemetry.authority.credentials();
    let roots: Vec<_> =
        credentials.roots().iter().filter_map(|root| subject_of(root).ok()).collect();
    let fleet = telemetry.authority.issuer().fleet().clone();
    let brain = Arc::clone(&telemetry.brain);
    Arc::new(move |caller: Verified, from| {
        let peer = Peer::new(caller, from, &roots);
        let kind = !matches!(peer.identity, Identity::Agent { .. });
        let ours = *peer.identity.fleet() == fleet && peer.not_after > crate::clock::wall();
        kind && ours && brain.read(|fleet| is_denied(fleet, &peer)).is_none()
    })
}
