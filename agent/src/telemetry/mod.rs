//! What an agent shows of itself, to who asks on this host: metrics and health.
//!
//! The agent's loop is asked when somebody asks here, and answers from what it has: nothing is
//! kept up to date in between. That the process lives does not depend on that loop, for it waits
//! for the journal, and a slow disk is no reason to be started again.

pub mod names;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use trireme_proto::action::Observed;
use trireme_proto::id::ServiceId;
use trireme_proto::identity::Identity;
use trireme_proto::pki::not_after;
use trireme_proto::time::WallTime;
use trireme_proto::tls::Credentials;
use trireme_telemetry::{Answer, Asked, Check, Page, Reply, Site, common, disk, live, ready};

use crate::check::{Health, Status};
use crate::clock::wall;

/// Where an agent listens for probes and scrapers unless it is told otherwise.
pub const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7405);

/// Questions to the loop that wait; each has a connection of its own, which are few.
pub(crate) const ASKED_MAX: usize = 32;

/// Longest wait for the loop: it answers between two things that it does.
const LOOP_TIME: Duration = Duration::from_secs(2);

/// How things are in the loop.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Shown {
    /// Controller that holds the stream.
    pub(crate) controller: Option<String>,
    /// Generation of the newest accepted action.
    pub(crate) generation: u64,
    /// Reports that were not acknowledged.
    pub(crate) unacked: usize,
    /// Whether an action is under way.
    pub(crate) acting: bool,
    /// Checks.
    pub(crate) checks: Vec<CheckShown>,
    /// Services: whether each runs, and whether it serves.
    pub(crate) services: Vec<(ServiceId, bool, bool)>,
    /// What is said of each to the fleet.
    pub(crate) observed: BTreeMap<ServiceId, Observed>,
}

/// How a check stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CheckShown {
    pub(crate) service: ServiceId,
    pub(crate) check: String,
    pub(crate) status: Status,
    pub(crate) health: Health,
    /// What its newest run said.
    pub(crate) message: String,
    /// Since when the health is what it is.
    pub(crate) since: WallTime,
    pub(crate) took: Duration,
}

/// A question to the loop.
pub(crate) type Question = oneshot::Sender<Shown>;

/// What is shown of an agent.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) credentials: Credentials,
    pub(crate) data: PathBuf,
    pub(crate) ask: mpsc::Sender<Question>,
}

impl Site for Telemetry {
    fn answer<'a>(&'a self, asked: &'a Asked) -> Option<Reply<'a>> {
        Some(match asked.path.as_str() {
            "/livez" => Box::pin(async { live() }),
            "/readyz" => Box::pin(async { ready(&self.checks().await, asked.verbose) }),
            "/metrics" => Box::pin(async {
                let shown = self.shown().await;
                Answer::metrics(self.page(shown.as_ref()), asked.format)
            }),
            _ => return None,
        })
    }
}

/// Asks the loop how things are; `None` if it does not answer in time.
pub(crate) async fn ask(ask: &mpsc::Sender<Question>) -> Option<Shown> {
    let (tell, told) = oneshot::channel();
    let asked = async {
        ask.send(tell).await.ok()?;
        told.await.ok()
    };
    timeout(LOOP_TIME, asked).await.ok().flatten()
}

impl Telemetry {
    async fn shown(&self) -> Option<Shown> {
        ask(&self.ask).await
    }

    async fn checks(&self) -> Vec<Check> {
        let shown = self.shown().await;
        let answers = shown.is_some();
        let found = if answers { "it answers" } else { "it does not answer in time" };
        let controller = shown.and_then(|shown| shown.controller);
        let connected = match &controller {
            Some(controller) => Check::new("connected", true, format!("to {controller}")),
            None => Check::new("connected", false, "to no controller; services keep running"),
        };
        let end = self.credentials.verified().not_after;
        let certificate = Check::new("certificate", wall() < end, format!("it ends at {end}"));
        let disk = disk(self.data.clone()).await;
        vec![Check::new("loop", answers, found), connected, disk, certificate]
    }

    fn page(&self, shown: Option<&Shown>) -> Page {
        let mut page = Page::default();
        if let Identity::Agent { node, region, .. } = self.credentials.identity() {
            page.gauge(&names::NODE, &[node.as_str(), region.as_str()], 1.0);
        }
        page.flag(&names::TURNS, &[], shown.is_some());
        if let Some(shown) = shown {
            show(shown, &mut page);
        }
        let root = self.credentials.roots().first().and_then(|root| not_after(root));
        let ends = [("own", Some(self.credentials.verified().not_after)), ("root", root)];
        common(&mut page, env!("CARGO_PKG_VERSION"), ends, &self.data);
        page
    }
}

fn show(shown: &Shown, page: &mut Page) {
    page.flag(&names::CONNECTED, &[], shown.controller.is_some());
    page.number(&names::GENERATION, &[], shown.generation);
    page.number(&names::UNACKED, &[], shown.unacked);
    page.flag(&names::ACTING, &[], shown.acting);
    for check in &shown.checks {
        let labels = [check.service.as_str(), check.check.as_str()];
        page.number(&names::CHECK, &labels, check.status.number());
        page.flag(&names::PASSING, &labels, check.health == Health::Passing);
        page.gauge(&names::TOOK, &labels, check.took.as_secs_f64());
    }
    for (service, runs, serves) in &shown.services {
        page.flag(&names::RUNS, &[service.as_str()], *runs);
        page.flag(&names::SERVES, &[service.as_str()], *serves);
    }
}
