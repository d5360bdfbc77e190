//! Requests that find a service through the fleet's DNS, and regions as they look from outside.
//!
//! Both run from [`Traffic::start`] to [`Traffic::end`]; what became of every request is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trireme_ctl::load::{Load, Numbers, Options, Probe, Resolver, Targets};

use super::rig::{Rig, until};
use super::web::PORT;

/// Requests a second.
const RATE: u32 = 100;
/// Requests that are sent before anything happens.
const BEFORE: u64 = 30;

/// Live traffic.
#[derive(Debug)]
pub(crate) struct Traffic {
    load: Arc<Load>,
    probe: Arc<Probe>,
    begun: Instant,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// What was seen of the traffic.
#[derive(Debug)]
pub(crate) struct Seen {
    /// What became of the requests.
    pub(crate) numbers: Numbers,
    /// Fewest regions that served at any moment.
    pub(crate) fewest_regions: usize,
}

impl Traffic {
    /// Begins to send requests to `service` and to probe `path` on every node.
    pub(crate) async fn start(rig: &Rig, service: &str, path: &str) -> Self {
        let servers = rig.fleet.controllers().iter().map(|controller| controller.dns).collect();
        let name = format!("{service}.{}.", rig.fleet.shape().domain);
        let resolver = Arc::new(Resolver::new(servers, &name).unwrap());
        let options = Options {
            rate: RATE,
            port: PORT,
            path: "/".to_owned(),
            timeout: Duration::from_secs(5),
        };
        let load = Arc::new(Load::new(Arc::clone(&resolver), options));
        let probe = Arc::new(Probe::new(targets(rig), path));
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let begun = Instant::now();
        let told = stop.clone();
        tasks.spawn(async move { resolver.run(told).await });
        let (sending, told) = (Arc::clone(&load), stop.clone());
        tasks.spawn(async move { sending.run(told).await });
        let (probing, told) = (Arc::clone(&probe), stop.clone());
        tasks.spawn(async move { probing.run(told).await });
        until("the first requests", async || {
            let (sent, _) = load.so_far(begun);
            (sent >= BEFORE && probe.fewest_since(begun).is_some()).then_some(())
        })
        .await;
        Self { load, probe, begun, stop, tasks }
    }

    /// Stops it and tells what was seen.
    pub(crate) async fn end(mut self) -> Seen {
        let numbers = self.load.since(self.begun).await;
        let fewest_regions = self.probe.fewest_since(self.begun).unwrap();
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        Seen { numbers, fewest_regions }
    }
}

impl Seen {
    /// Fails unless every request was answered and at least two regions served all the time.
    #[track_caller]
    pub(crate) fn assert_unharmed(&self) {
        let Numbers { sent, failed, failures, .. } = &self.numbers;
        assert_eq!(*failed, 0, "of {sent} requests: {failures:?}");
        assert!(self.fewest_regions >= 2, "{} regions served", self.fewest_regions);
    }
}

fn targets(rig: &Rig) -> Targets {
    let mut targets: Targets = BTreeMap::new();
    for agent in rig.fleet.agents() {
        let address = SocketAddr::new(agent.address.into(), PORT);
        targets.entry(agent.region.clone()).or_default().push(address);
    }
    targets
}
