//! Upgrades that run throughout: good releases and bad ones, and some that are told to stop.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use trireme_ctl::client::{Client, Reply};
use trireme_ctl::error::Failure;
use trireme_proto::digest::Digest;
use trireme_proto::manifest;
use trireme_proto::view::{List, ServiceView, UpgradePhase, UpgradeView};
use trireme_proto::wire::{
    ApplyRequest, Consistency, GetRequest, PlanUpgradeRequest, StartUpgradeRequest, UpgradeRequest,
};

use super::clients::told;
use super::report::REFUSED;
use super::timeline::Timeline;
use crate::sim::rng::Rng;

/// Name of the service that is upgraded.
pub const SERVICE: &str = "web";
/// Port of the service on every node.
pub const PORT: u16 = 8080;
/// Good releases that are declared: more than a run of many minutes can use.
const GOOD: u64 = 60;
/// Bad ones.
const BAD: u64 = 30;
/// What is done in turn: whether to a release that becomes healthy, and whether it is told to stop.
const TURNS: [(bool, bool); 4] = [(true, false), (false, false), (true, false), (true, true)];
/// When an upgrade is told to stop, in milliseconds after its start.
const ABORT_AFTER_MS: std::ops::RangeInclusive<u64> = 1000..=15_000;
/// Time between two looks at an upgrade.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// Pause after a request about upgrades that was refused or not answered.
const PAUSE: Duration = Duration::from_millis(700);
/// Longest an upgrade may take to come to some end, in a fleet that is whole again.
const END_WAIT: Duration = Duration::from_mins(4);
/// Longest the first deployment may take to begin: nodes have to speak of the service first.
const BEGIN_WAIT: Duration = Duration::from_secs(30);

/// Returns the manifests of the service and its releases; writes their artifacts to `dir`.
fn manifests(dir: &Path, trictl: &Path) -> Result<String> {
    let mut text = format!(
        "\
kind: Service
name: {SERVICE}
nodes: {{labels: {{role: web}}}}
driver:
  process: {{stop_signal: TERM, stop_timeout: 2s, restart: always}}
serving: {{at_least: 2, nodes: 1}}
checks:
  - name: health
    http: {{url: \"http://{{address}}:{PORT}/health\"}}
    every: 1s
    timeout: 1s
    rise: 2
    fall: 4
traffic:
  dns: {{port: {PORT}, ttl: 1s}}
  drain: 1s
  in_flight: \"http://{{address}}:{PORT}/in-flight\"
upgrade:
  order: [aws, aliyun, gcp]
  bake: {{region: 1s}}
  deadline: {{step: 20s, fleet: 2m}}
"
    );
    let trictl = trictl.display();
    let good = (0..GOOD).map(|number| (good(number), 200));
    for (version, health) in good.chain((0..BAD).map(|number| (bad(number), 500))) {
        let content = json!({ "version": version, "health": health, "work_ms": 5 }).to_string();
        let artifact = dir.join(format!("{SERVICE}-{version}.json"));
        std::fs::write(&artifact, &content)?;
        let (sha256, artifact) = (Digest::of(content.as_bytes()), artifact.display());
        let _ = write!(
            text,
            "---\n\
kind: Release
service: {SERVICE}
version: {version}
artifact: {{url: \"file://{artifact}\", sha256: \"{sha256}\"}}
argv: [\"{trictl}\", demo-service, --release, \"{{artifact}}\", --listen, \"{{address}}:{PORT}\"]
"
        );
    }
    Ok(text)
}

fn good(number: u64) -> String {
    format!("1.{number}.0")
}

fn bad(number: u64) -> String {
    format!("6.{number}.6")
}

/// Declares the service and everything it will be upgraded to; returns the revision of it.
pub async fn declare(client: &Client, dir: &Path, trictl: &Path) -> Result<u64> {
    let text = manifests(dir, trictl)?;
    let objects = manifest::parse("chaos.yaml", &text);
    let objects = objects.map_err(|error| anyhow!("{}", error.render(false)))?;
    let objects: Vec<_> = objects.into_iter().map(|located| located.value).collect();
    let request = ApplyRequest {
        origin: Some(client.origin()),
        objects: serde_json::to_vec(&objects)?.into(),
        ..ApplyRequest::default()
    };
    let reply = client.apply(request).await.map_err(|failure| told(&failure))?;
    Ok(reply.value.revision)
}

/// Who upgrades the service.
#[derive(Debug)]
pub struct Driver {
    client: Client,
    rng: Rng,
    turn: usize,
    next_good: u64,
    next_bad: u64,
    /// An upgrade that could not go back by itself.
    broken: Option<String>,
    /// How the upgrades ended.
    pub ended: BTreeMap<String, u64>,
    timeline: Arc<Timeline>,
}

impl Driver {
    /// Makes a driver that has upgraded nothing.
    pub fn new(client: Client, seed: u64, timeline: Arc<Timeline>) -> Self {
        let mut rng = Rng::new(seed ^ 0x5510);
        let turn = rng.below(TURNS.len());
        let (next_good, next_bad, broken, ended) = (0, 0, None, BTreeMap::new());
        Self { client, rng, turn, next_good, next_bad, broken, ended, timeline }
    }

    /// Upgrades again and again until told to stop. While an upgrade is under way, from before
    /// its start until its end, it holds `turn`.
    pub async fn run(mut self, turn: Arc<Mutex<()>>, stop: CancellationToken) -> Self {
        while !stop.is_cancelled() {
            let held = turn.lock().await;
            if let Err(error) = self.next(&stop).await {
                self.timeline.say(format!("no upgrade: {error:#}"));
                *self.ended.entry(REFUSED.to_owned()).or_default() += 1;
            }
            drop(held);
            // Fairly: whoever waits for its turn gets it.
            stop.run_until_cancelled(sleep(PAUSE)).await;
        }
        self
    }

    /// Does what comes next; what is refused comes again.
    async fn next(&mut self, stop: &CancellationToken) -> Result<()> {
        self.mend().await?;
        let (is_good, aborts) = TURNS[self.turn % TURNS.len()];
        let after = self.rng.between(*ABORT_AFTER_MS.start(), *ABORT_AFTER_MS.end());
        let abort = aborts.then(|| Duration::from_millis(after));
        let version = if is_good { good(self.next_good % GOOD) } else { bad(self.next_bad % BAD) };
        self.upgrade(&version, abort, stop).await.with_context(|| format!("to {version}"))?;
        self.turn += 1;
        *(if is_good { &mut self.next_good } else { &mut self.next_bad }) += 1;
        Ok(())
    }

    /// Does what is a person's to do after an upgrade that could not go back by itself: has it
    /// go back now that its nodes may have been repaired.
    async fn mend(&mut self) -> Result<()> {
        let Some(id) = self.broken.clone() else { return Ok(()) };
        let asked = self.client.rollback_upgrade(self.request(&id)).await;
        asked.map_err(|failure| told(&failure)).with_context(|| format!("{id} going back"))?;
        let view = self.follow(&id, None).await?;
        let why = view.reason.unwrap_or_default();
        self.timeline.say(format!("{id} asked to go back: {:?} {why}", view.phase));
        ensure!(view.phase != UpgradePhase::RollbackFailed, "{id} cannot go back: {why}");
        self.broken = None;
        Ok(())
    }

    fn request(&self, id: &str) -> UpgradeRequest {
        UpgradeRequest {
            origin: Some(self.client.origin()),
            upgrade: id.to_owned(),
            reason: "told so by the test".to_owned(),
            dry_run: false,
        }
    }

    /// Upgrades to a good release, which must succeed.
    pub async fn must_succeed(&mut self) -> Result<()> {
        self.finish_other().await?;
        self.mend().await?;
        let version = good(self.next_good % GOOD);
        self.next_good += 1;
        let begun = Instant::now();
        let id = loop {
            match self.start(&version).await {
                Ok(id) => break id,
                Err(error) if begun.elapsed() > BEGIN_WAIT => {
                    return Err(error.context(format!("{version} cannot be started")));
                }
                Err(_) => sleep(PAUSE).await,
            }
        };
        let view = self.follow(&id, None).await?;
        let why = view.reason.clone().unwrap_or_default();
        ensure!(
            view.phase == UpgradePhase::Succeeded,
            "{id} to {version}: {:?}, {why}",
            view.phase
        );
        self.timeline.say(format!("{id} to {version}: succeeded in {:?}", begun.elapsed()));
        Ok(())
    }

    /// Waits for the end of an upgrade that is under way.
    pub async fn finish_other(&mut self) -> Result<()> {
        if let Some(id) = self.under_way().await? {
            self.follow(&id, None).await?;
        }
        Ok(())
    }

    async fn upgrade(
        &mut self,
        version: &str,
        abort: Option<Duration>,
        stop: &CancellationToken,
    ) -> Result<()> {
        let id = match self.start(version).await {
            Ok(id) => id,
            Err(error) => {
                // It may have begun without our being told.
                let other = loop {
                    match self.under_way().await {
                        Ok(other) => break other,
                        Err(_) if stop.is_cancelled() => break None,
                        Err(_) => sleep(PAUSE).await,
                    }
                };
                other.ok_or(error)?
            }
        };
        let how = abort.map_or(String::new(), |after| format!(", to be stopped after {after:?}"));
        self.timeline.say(format!("{id} to {version} begins{how}"));
        let view = self.follow(&id, abort).await?;
        if view.phase == UpgradePhase::RollbackFailed {
            self.broken = Some(id.clone());
        }
        let phase = format!("{:?}", view.phase);
        let why = view.reason.unwrap_or_default();
        self.timeline.say(format!("{id} to {version}: {phase} {why}"));
        *self.ended.entry(phase).or_default() += 1;
        Ok(())
    }

    async fn start(&self, version: &str) -> Result<String> {
        let (service, version) = (SERVICE.to_owned(), version.to_owned());
        let plan = self.client.plan_upgrade(PlanUpgradeRequest { service, version }).await;
        let plan = plan.map_err(|failure| told(&failure))?.value;
        let origin = Some(self.client.origin());
        let plan = plan.id.to_string();
        let request = StartUpgradeRequest { origin, plan, ..StartUpgradeRequest::default() };
        let started: Reply<UpgradeView> =
            self.client.start_upgrade(request).await.map_err(|failure| told(&failure))?;
        Ok(started.value.id.to_string())
    }

    async fn under_way(&self) -> Result<Option<String>> {
        let view = service(&self.client).await?;
        Ok(view.upgrade.map(|id| id.to_string()))
    }

    /// Follows an upgrade to its end; tells it to stop after a while.
    async fn follow(&self, id: &str, abort: Option<Duration>) -> Result<UpgradeView> {
        let begun = Instant::now();
        let mut abort = abort;
        let mut seen = String::new();
        loop {
            if abort.is_some_and(|after| begun.elapsed() >= after) {
                abort = None;
                if let Err(failure) = self.client.abort_upgrade(self.request(id)).await {
                    self.timeline.say(format!("{id} is not stopped: {:#}", told(&failure)));
                }
            }
            match view(&self.client, id).await {
                Ok(view) if view.phase.is_final() => return Ok(view),
                Ok(view) => seen = format!("{:?}, {:?}", view.phase, view.waiting),
                Err(_) => {}
            }
            if begun.elapsed() > END_WAIT {
                bail!("{id} has not ended within {END_WAIT:?}: {seen}");
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

async fn view(client: &Client, id: &str) -> Result<UpgradeView> {
    let views = look::<UpgradeView>(client, "upgrade", id).await?;
    views.into_iter().next().with_context(|| format!("there is no {id}"))
}

/// Returns the service as the fleet sees it.
pub async fn service(client: &Client) -> Result<ServiceView> {
    let views = look::<ServiceView>(client, "service", SERVICE).await?;
    views.into_iter().next().context("the service is not declared")
}

/// Returns objects of a kind, confirmed with a quorum.
pub async fn look<T: serde::de::DeserializeOwned>(
    client: &Client,
    kind: &str,
    name: &str,
) -> Result<Vec<T>> {
    let consistency = Consistency::Linearizable.into();
    let request = GetRequest { kind: kind.to_owned(), name: name.to_owned(), consistency };
    let reply: Result<_, Failure> = client.get::<List<T>>(request).await;
    Ok(reply.map_err(|failure| told(&failure))?.value.items)
}
