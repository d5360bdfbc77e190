//! The stage of the demo: a fleet with the service on it, clients in front of it, instruments.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use trireme_proto::id::{RegionId, ServiceId};
use trireme_proto::model::{Check, Service};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;
use trireme_proto::view::{List, PlanView, ServiceView, UpgradeView};
use trireme_proto::wire::{
    ApplyRequest, Consistency, GetRequest, PlanUpgradeRequest, StartUpgradeRequest,
};

use super::effects::Effects;
use super::follow::{Demands, Traffic};
use super::report::{FleetSize, Phase, Report};
use super::{Options, manifest, say};
use crate::client::{Client, Reply};
use crate::error::{Failure, failed};
use crate::load::{self, Load, Probe, Resolver, Targets, get};
use crate::local::Fleet;
use crate::output::Out;

/// Port of the service.
pub(super) const PORT: u16 = 8080;
/// Longest time one request of a client may take.
const REQUEST_WAIT: Duration = Duration::from_secs(5);
/// Time of measuring before each phase.
pub(super) const REST: Duration = Duration::from_secs(5);
/// Time from the first request to the first that is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// Time for every node to answer with the version it should.
const VERSION_WAIT: Duration = Duration::from_secs(10);
/// Time for a region to be back.
const HEAL_WAIT: Duration = Duration::from_secs(30);
/// Time for what is measured to be over when the demo ends.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// Everything the phases work with.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) out: &'a Out,
    pub(super) fleet: Fleet,
    pub(super) client: Client,
    pub(super) service: ServiceId,
    pub(super) demands: Demands,
    pub(super) load: Arc<Load>,
    pub(super) probe: Arc<Probe>,
    pub(super) effects: Effects,
    /// Promises broken beyond what the numbers tell.
    pub(super) broken: Vec<String>,
    dns: Arc<Resolver>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl<'a> Stage<'a> {
    /// Declares the service and lets clients find it; it runs nowhere yet.
    pub(super) async fn set(
        out: &'a Out,
        fleet: Fleet,
        options: &Options,
    ) -> Result<Self, Failure> {
        let artifacts = fleet.dir().join("artifacts");
        let objects = manifest::objects(&artifacts, &options.trictl)?;
        let declared = manifest::service(&objects)
            .ok_or_else(|| Problem::new(Code::Failed, "the demo's manifest declares no service"))?;
        let (service, demands) = (declared.name.clone(), demands(declared));
        let client = fleet.client()?;
        let objects = serde_json::to_vec(&objects)
            .map_err(|error| failed("cannot encode the manifests", &error))?;
        let origin = Some(client.origin());
        let request = ApplyRequest { origin, objects: objects.into(), ..ApplyRequest::default() };
        client.apply(request).await?;
        say(out, &format!("service {service} and its releases are declared: deploy/demo.yaml"))?;

        let servers = fleet.controllers().iter().map(|one| one.dns).collect();
        let name = format!("{service}.{}.", fleet.shape().domain);
        let resolver = Resolver::new(servers, &name)
            .map_err(|error| failed("the service cannot be found by name", &error))?;
        let dns = Arc::new(resolver);
        let traffic = load::Options {
            rate: options.rate,
            port: PORT,
            path: "/".to_owned(),
            timeout: REQUEST_WAIT,
        };
        let data = |agent: &crate::local::Agent| -> PathBuf {
            agent.data.join("services").join(service.as_str()).join("data")
        };
        Ok(Self {
            out,
            load: Arc::new(Load::new(Arc::clone(&dns), traffic)),
            probe: Arc::new(Probe::new(targets(&fleet), "/health")),
            effects: Effects::new(fleet.agents().iter().map(data)),
            client,
            service,
            demands,
            fleet,
            broken: Vec::new(),
            dns,
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Lets clients in: from now on requests are sent until the demo ends.
    pub(super) async fn open(&mut self) -> Result<(), Failure> {
        let (dns, stop) = (Arc::clone(&self.dns), self.stop.clone());
        self.tasks.spawn(async move { dns.run(stop).await });
        let found = self.dns.pick().await;
        found.map_err(|error| failed("clients do not find the service", &error))?;
        let (load, stop) = (Arc::clone(&self.load), self.stop.clone());
        self.tasks.spawn(async move { load.run(stop).await });
        let (probe, stop) = (Arc::clone(&self.probe), self.stop.clone());
        self.tasks.spawn(async move { probe.run(stop).await });
        // The very first requests are slower, and nobody's measure of rest.
        sleep(WARM_UP).await;
        Ok(())
    }

    /// Ends the clients and, unless it is kept, the fleet; judges what was shown.
    pub(super) async fn close(
        mut self,
        keep: bool,
        shown: Result<Vec<Phase>, Failure>,
    ) -> Result<(Report, Vec<String>), Failure> {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // Whatever does not end by then ends with the set.
        let _ = tokio::time::timeout(CLOSE_WAIT, ended).await;
        let size = FleetSize {
            controllers: self.fleet.controllers().len(),
            regions: self.probe.regions(),
            agents: self.fleet.agents().len(),
        };
        if keep {
            self.heal().await?;
            self.fleet.detach();
        } else {
            let _files = self.fleet.down().await?;
        }
        let report = Report::new(size, shown?, &self.broken);
        let broken = report.broken().into_iter().chain(self.broken).collect();
        Ok((report, broken))
    }

    /// Brings back what the demo has taken down: agents start what should run on their nodes.
    async fn heal(&mut self) -> Result<(), Failure> {
        self.fleet.start_all()?;
        self.fleet.wait_for_agents(&self.client, HEAL_WAIT).await?;
        let end = Instant::now() + HEAL_WAIT;
        while self.probe.serving(0).await < self.probe.regions() {
            if Instant::now() >= end {
                let message = format!("not every region serves {} again", self.service);
                return Err(Problem::new(Code::Failed, message).into());
            }
            sleep(Duration::from_millis(50)).await;
        }
        say(self.out, "every region serves again")
    }

    /// Returns what is to be watched beside an upgrade that began at `from`.
    pub(super) fn traffic(&self, from: Instant) -> Traffic<'_> {
        Traffic { load: &self.load, probe: &self.probe, from }
    }

    /// Plans an upgrade, as `trictl upgrade plan` does.
    pub(super) async fn plan(&self, version: &str) -> Result<PlanView, Failure> {
        let request =
            PlanUpgradeRequest { service: self.service.to_string(), version: version.to_owned() };
        Ok(self.client.plan_upgrade(request).await?.value)
    }

    /// Starts a plan, as `trictl upgrade start` does.
    pub(super) async fn start(&self, plan: &PlanView) -> Result<Reply<UpgradeView>, Failure> {
        let request = StartUpgradeRequest {
            origin: Some(self.client.origin()),
            plan: plan.id.to_string(),
            ..StartUpgradeRequest::default()
        };
        self.client.start_upgrade(request).await
    }

    /// Returns the service as the fleet sees it.
    pub(super) async fn view(&self) -> Result<ServiceView, Failure> {
        let request = GetRequest {
            kind: "service".to_owned(),
            name: self.service.to_string(),
            consistency: Consistency::Linearizable.into(),
        };
        let reply = self.client.get::<List<ServiceView>>(request).await?;
        reply.value.items.into_iter().next().ok_or_else(|| {
            Problem::new(Code::NotFound, format!("there is no service {}", self.service)).into()
        })
    }

    /// Asks every node itself what it runs; each must answer with `version`.
    pub(super) async fn expect_version(&mut self, phase: &str, version: &str) {
        let end = Instant::now() + VERSION_WAIT;
        for (node, address) in self.nodes() {
            let said = loop {
                let said = match get(address, "/").await {
                    Ok(answer) => String::from_utf8_lossy(&answer.body).trim().to_owned(),
                    Err(error) => error.to_string(),
                };
                if said == version || Instant::now() >= end {
                    break said;
                }
                sleep(Duration::from_millis(50)).await;
            };
            if said != version {
                self.broken.push(format!("{phase}: {node} runs `{said}`, not {version}"));
            }
        }
    }

    fn nodes(&self) -> Vec<(String, SocketAddr)> {
        let agents = self.fleet.agents().iter();
        agents.map(|one| (one.node.to_string(), (one.address, PORT).into())).collect()
    }
}

fn targets(fleet: &Fleet) -> Targets {
    let mut targets = Targets::new();
    for agent in fleet.agents() {
        let nodes: &mut Vec<SocketAddr> = targets.entry(agent.region.clone()).or_default();
        nodes.push((agent.address, PORT).into());
    }
    targets
}

/// Returns what the service's manifest demands of each wave.
fn demands(service: &Service) -> Demands {
    let traffic = service.traffic.as_ref();
    let signalled = traffic.is_some_and(|traffic| traffic.in_flight.is_some());
    // The first run comes with the start, each further one after an interval.
    let risen = |check: &Check| check.every.0 * u64::from(check.rise.saturating_sub(1));
    Demands {
        ttl: traffic.map_or(Span(0), |traffic| traffic.dns.ttl),
        // A signal ends the drain when nothing is in flight: the rest of it is not demanded.
        drain: traffic.filter(|_| !signalled).map_or(Span(0), |traffic| traffic.drain),
        rise: Span(service.checks.iter().map(risen).max().unwrap_or(0)),
        step: service.upgrade.deadline.step,
        bake: service.upgrade.bake.region,
    }
}

/// Returns the region that the last phase takes down: the last one that is upgraded.
pub(super) fn last_region(fleet: &Fleet) -> Option<RegionId> {
    fleet.agents().last().map(|agent| agent.region.clone())
}
