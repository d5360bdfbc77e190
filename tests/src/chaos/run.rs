//! One run: a fleet comes up, is set on fire, is left alone, and has to be whole again.
//!
//! ```text
//!  start ─▶ first deployment ─▶ clients, traffic, upgrades, faults ─▶ heal ─▶ progress ─▶ verdict
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use trireme_ctl::client::Client;
use trireme_ctl::context::Context;
use trireme_ctl::load::{Load, Options as LoadOptions, Probe, Resolver, Targets};
use trireme_ctl::local::{Fleet, Programs, Shape};
use trireme_proto::time::Span;
use trireme_proto::view::GrantView;
use trireme_proto::wire::{Consistency, ControllersRequest};

use super::clients::{self, Shared, told};
use super::disk::Disk;
use super::effects::Effects;
use super::faults::Schedule;
use super::field::{Field, lock, process, sites};
use super::history::History;
use super::network::{Network, Site};
use super::origin::Origins;
use super::proxy::{Door, Guests};
use super::report::{Outcome, SERVING_MIN};
use super::timeline::Timeline;
use super::upgrades::{self, Driver, PORT, SERVICE, look};
use super::verdict;

/// Where the daemons' logs are (ctl/src/local/layout.rs).
const LOGS: &str = "fleet/run";
/// Registers that clients write and read.
const KEYS: usize = 4;
/// Clients at any moment.
const CLIENTS: usize = 6;
/// Requests of live traffic in a second.
const RATE: u32 = 20;
/// Longest an answer of the service may take.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Size of a controller's disk: many times what a run writes.
const CONTROLLER_DISK: usize = 128 << 20;
/// Size of an agent's.
const AGENT_DISK: usize = 16 << 20;
/// Entries between snapshots, so that a run takes and installs some.
const SNAPSHOT_EVERY: u64 = 400;
/// Time one request of ours has that is not in the history.
const REQUEST_WAIT: Span = Span::secs(15);
/// Time for a healed fleet to agree on a leader, and for its agents to come back.
const HEAL_WAIT: Duration = Duration::from_mins(2);
/// Time between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Traffic before the first fault: first requests are slower.
const WARM_UP: Duration = Duration::from_secs(2);

/// What is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Gives the faults, the delays and what clients ask.
    pub seed: u64,
    /// How long faults are inflicted.
    pub time: Duration,
    /// Controllers.
    pub controllers: usize,
    /// Agents in each of three regions.
    pub agents: usize,
    /// Directory of the programs.
    pub programs: PathBuf,
    /// Where the logs and the history of a run that is not good are kept.
    pub keep: Option<PathBuf>,
}

/// Runs once. What it finds is in the outcome; an error is a run that came to no end.
pub async fn run(options: &Options) -> Result<Outcome> {
    let timeline = Arc::new(Timeline::default());
    timeline.say(format!(
        "seed {}: {} controllers, {} agents, {:?} of faults",
        options.seed,
        options.controllers,
        3 * options.agents,
        options.time
    ));
    let files = tempfile::tempdir()?;
    let history = Arc::new(History::default());
    let played = async {
        let set = Stage::set(options, Arc::clone(&timeline), files.path(), Arc::clone(&history));
        let stage = Box::pin(set).await?;
        Box::pin(stage.play(options)).await
    };
    let played = Box::pin(played).await;
    let is_good = played.as_ref().is_ok_and(Outcome::is_good);
    if let (false, Some(keep)) = (is_good, &options.keep) {
        let keep = keep.join(format!("chaos-{}", options.seed));
        verdict::keep(&keep, &files.path().join(LOGS), &history)?;
        timeline.say(format!("logs and history are kept in {}", keep.display()));
    }
    played
}

/// Everything that a run consists of.
#[derive(Debug)]
struct Stage {
    field: Field,
    driver: Driver,
    shared: Arc<Shared>,
    load: Arc<Load>,
    dns: Arc<Resolver>,
    revision: u64,
    timeline: Arc<Timeline>,
    outcome: Outcome,
    logs: PathBuf,
    doors: JoinSet<()>,
}

impl Stage {
    /// Brings the fleet up, with its first release everywhere.
    async fn set(
        options: &Options,
        timeline: Arc<Timeline>,
        files: &Path,
        history: Arc<History>,
    ) -> Result<Self> {
        let mut shape = Shape::new("chaos".parse()?);
        shape.agents = options.agents;
        shape.controllers = options.controllers;
        shape.through_doors = true;
        "wan".clone_into(&mut shape.profile);
        shape.snapshot_every = Some(SNAPSHOT_EVERY);
        shape.service_ports = vec![PORT];
        let programs = Programs::within(&options.programs)?;
        let mut fleet = Fleet::create(&files.join("fleet"), shape, programs)?;
        let disks = mount(&fleet, &timeline);
        let network = Arc::new(Network::new(options.seed));
        let doors = open_doors(&mut fleet, &network).await?;
        Box::pin(fleet.start(|step| timeline.say(step))).await.map_err(|e| explain(&e))?;

        let context = fleet.context()?;
        let client = client(&context)?;
        let operators = fleet.controllers().iter();
        let operators: Vec<_> =
            operators.map(|one| (one.name.to_string(), one.doors.operator.to_string())).collect();
        let through = operators.iter().map(|(_, address)| address.clone()).collect();
        let context = Context { controllers: through, ..context };
        let artifacts = files.join("artifacts");
        std::fs::create_dir(&artifacts)?;
        let trictl = options.programs.canonicalize()?.join("trictl");
        let revision = upgrades::declare(&client, &artifacts, &trictl).await?;
        let driver = Driver::new(self::client(&context)?, options.seed, Arc::clone(&timeline));
        let (load, dns) = load(&fleet)?;
        let outcome = Outcome {
            seed: options.seed,
            seconds: options.time.as_secs(),
            controllers: fleet.controllers().len(),
            agents: fleet.agents().len(),
            disks: !disks.is_empty(),
            ..Outcome::default()
        };
        let field = Field {
            probe: Arc::new(Probe::new(targets(&fleet), "/health")),
            effects: StdMutex::new(effects(&fleet)),
            fleet: Mutex::new(fleet),
            network,
            disks,
            client,
            turn: Arc::default(),
            timeline: Arc::clone(&timeline),
            inflicted: StdMutex::default(),
        };
        let shared = Arc::new(Shared::new(context, operators, KEYS, history));
        let mut stage = Self {
            field,
            driver,
            shared,
            load,
            dns,
            revision,
            timeline,
            outcome,
            logs: files.join(LOGS),
            doors,
        };
        stage.driver.must_succeed().await.context("the first deployment")?;
        Ok(stage)
    }

    /// Sets it on fire and judges what is left.
    async fn play(self, options: &Options) -> Result<Outcome> {
        let Self { field, driver, shared, load, dns, revision, timeline, mut outcome, .. } = self;
        let (stop, stop_traffic) = (CancellationToken::new(), CancellationToken::new());
        let mut traffic = JoinSet::new();
        let (task, end) = (Arc::clone(&dns), stop_traffic.clone());
        traffic.spawn(async move { task.run(end).await });
        dns.pick().await.context("clients find the service")?;
        let (task, end) = (Arc::clone(&load), stop_traffic.clone());
        traffic.spawn(async move { task.run(end).await });
        let (task, end) = (Arc::clone(&field.probe), stop_traffic.clone());
        traffic.spawn(async move { task.run(end).await });
        let mut asking = JoinSet::new();
        for number in 0..CLIENTS {
            let (shared, stop, seed) = (Arc::clone(&shared), stop.clone(), options.seed);
            asking.spawn_blocking(threaded(move || clients::run(shared, number, seed, stop)));
        }
        let mut upgrading = JoinSet::new();
        let (turn, end) = (Arc::clone(&field.turn), stop.clone());
        upgrading.spawn_blocking(threaded(move || driver.run(turn, end)));
        let begun = Instant::now();
        sleep(WARM_UP).await;
        let first_term = term(&field.client).await;

        Box::pin(burn(&field, options, &mut outcome)).await?;
        stop.cancel();
        while let Some(ended) = asking.join_next().await {
            outcome.unknown.extend(ended.err().map(|error| format!("a client: {error}")));
        }
        let ended = upgrading.join_next().await.context("the driver is one task")?;
        let mut driver = ended.context("the driver's task")?;
        outcome.upgrades.clone_from(&driver.ended);

        timeline.say("left alone: progress is demanded");
        let progress = Box::pin(demand_progress(&field, &mut driver, &shared)).await;
        outcome.violations.extend(progress.err().map(|error| format!("progress: {error:#}")));
        outcome.terms = term(&field.client).await.saturating_sub(first_term);

        let numbers = load.since(begun).await;
        (outcome.requests, outcome.failed_requests) = (numbers.sent, numbers.failed);
        for (failure, count) in &numbers.failures {
            timeline.say(format!("failed requests: {count} {failure}"));
        }
        outcome.min_regions_serving = field.probe.fewest_since(begun).unwrap_or(0);
        stop_traffic.cancel();
        while traffic.join_next().await.is_some() {}
        if outcome.min_regions_serving < SERVING_MIN {
            let fewest = outcome.min_regions_serving;
            outcome.violations.push(format!("only {fewest} regions served at some moment"));
        }
        judge_effects(&field, &mut outcome);
        outcome.violations.extend(verdict::panics(&self.logs));
        Box::pin(down(field)).await?;
        Box::pin(verdict::judge(&shared.history, KEYS, revision, &mut outcome)).await;
        outcome.weigh();
        drop(self.doors);
        Ok(outcome)
    }
}

/// Inflicts the faults, then heals.
async fn burn(field: &Field, options: &Options, outcome: &mut Outcome) -> Result<()> {
    let schedule = Schedule::draw(options.seed, options.time, outcome.disks);
    let stop = CancellationToken::new();
    let timer = async {
        sleep(options.time).await;
        stop.cancel();
        Ok(())
    };
    tokio::try_join!(
        timer,
        field.lane(&schedule.controllers, &stop),
        field.lane(&schedule.hosts, &stop)
    )?;
    outcome.faults =
        lock(&field.inflicted).iter().map(|(f, n)| (f.name().to_owned(), *n)).collect();
    outcome.violations.extend(deaths(field).await);
    field.heal().await
}

/// Makes a future that only one thread can have into the work of a thread of its own.
fn threaded<F: Future>(future: impl FnOnce() -> F + Send) -> impl FnOnce() -> F::Output + Send {
    let runtime = tokio::runtime::Handle::current();
    move || runtime.block_on(future())
}

/// Names every daemon that has ended by itself, though nothing of ours made it.
async fn deaths(field: &Field) -> Vec<String> {
    let mut fleet = field.fleet.lock().await;
    let mut dead = Vec::new();
    for site in sites(&fleet) {
        let process = process(&mut fleet, site);
        if !process.is_running() {
            dead.push(format!("{} has ended by itself: {}", process.name(), process.tail()));
        }
    }
    dead
}

/// Demands of a healed fleet that everything works again.
async fn demand_progress(field: &Field, driver: &mut Driver, shared: &Arc<Shared>) -> Result<()> {
    {
        let mut fleet = field.fleet.lock().await;
        let up = fleet.wait_for_controllers(&field.client, HEAL_WAIT).await;
        up.map_err(|error| explain(&error))?;
        let connected = Box::pin(fleet.wait_for_agents(&field.client, HEAL_WAIT)).await;
        connected.map_err(|error| explain(&error))?;
    }
    for position in 0..shared.controllers.len() {
        let asker = shared.client(position)?;
        let through = &shared.controllers[position].0;
        let written = asker.write(position % KEYS, None).await;
        ensure!(written.is_some(), "a write through {through} is not answered");
        asker.read(position % KEYS).await.with_context(|| format!("a read through {through}"))?;
        asker.read_all().await.with_context(|| format!("a read of all through {through}"))?;
    }
    driver.finish_other().await?;
    let end = Instant::now() + HEAL_WAIT;
    while field.probe.newest() < field.probe.regions() {
        ensure!(Instant::now() < end, "only {} regions serve again", field.probe.newest());
        sleep(LOOK_EVERY).await;
    }
    driver.must_succeed().await.context("an upgrade of the healed fleet")?;
    let grants = look::<GrantView>(&field.client, "grant", "").await?;
    let held = grants.iter().filter(|grant| grant.state == "held" || grant.state == "overdue");
    let held: Vec<_> = held.map(|grant| format!("{} of {}", grant.id, grant.holder)).collect();
    ensure!(held.is_empty(), "grants are held and nothing is under way: {}", held.join(", "));
    Ok(())
}

fn judge_effects(field: &Field, outcome: &mut Outcome) {
    let (starts, wrong) = lock(&field.effects).judge();
    outcome.starts = starts;
    outcome.violations.extend(wrong);
}

async fn down(field: Field) -> Result<()> {
    let Field { fleet, disks, .. } = field;
    let fleet = fleet.into_inner().down().await.map_err(|error| explain(&error))?;
    drop((fleet, disks));
    Ok(())
}

async fn term(client: &Client) -> u64 {
    let consistency = Consistency::Stale.into();
    let reply = client.controllers(ControllersRequest { consistency }).await;
    reply.map_or(0, |reply| reply.value.term)
}

fn explain(error: &trireme_ctl::local::LocalError) -> anyhow::Error {
    anyhow!("{error:#?}")
}

fn client(context: &Context) -> Result<Client> {
    Client::new(context, REQUEST_WAIT).map_err(|failure| told(&failure))
}

/// Gives every controller, and the first agent of each region, a disk of their own.
fn mount(fleet: &Fleet, timeline: &Timeline) -> BTreeMap<String, Disk> {
    let mut wanted: Vec<(String, &Path, usize)> = Vec::new();
    for one in fleet.controllers() {
        wanted.push((one.name.to_string(), &one.data, CONTROLLER_DISK));
    }
    let mut regions = std::collections::BTreeSet::new();
    for one in fleet.agents().iter().filter(|one| regions.insert(one.region.clone())) {
        wanted.push((one.node.to_string(), &one.data, AGENT_DISK));
    }
    let mut disks = BTreeMap::new();
    for (name, data, bytes) in wanted {
        match Disk::mount(data, bytes) {
            Ok(disk) => drop(disks.insert(name, disk)),
            Err(error) => {
                timeline.say(format!("NO FAULTS OF DISKS IN THIS RUN: {error:#}"));
                return BTreeMap::new();
            }
        }
    }
    disks
}

/// Opens the doors by which everybody reaches the controllers.
async fn open_doors(fleet: &mut Fleet, network: &Arc<Network>) -> Result<JoinSet<()>> {
    let all = sites(fleet);
    // Beside its log, under the same name (ctl/src/local/process.rs).
    let record = |site| (process(fleet, site).log().with_extension("pid"), site);
    let origins = all.into_iter().map(record).collect();
    let origins = Guests::Processes(Arc::new(Origins::new(origins)));
    let mut tasks = JoinSet::new();
    for (position, controller) in fleet.controllers().iter().enumerate() {
        let (to, doors) = (Site::Controller(position), controller.doors);
        for (at, guests, behind) in [
            (doors.peer, origins.clone(), doors.peer_behind),
            (doors.api, origins.clone(), doors.api_behind),
            (doors.operator, Guests::Only(Site::Operators), doors.api_behind),
        ] {
            let door = Door::open(at, guests, to, behind).await;
            let door = door.with_context(|| format!("{at} cannot be listened on"))?;
            tasks.spawn(door.run(Arc::clone(network)));
        }
    }
    Ok(tasks)
}

fn targets(fleet: &Fleet) -> Targets {
    let mut targets = Targets::new();
    for agent in fleet.agents() {
        let nodes: &mut Vec<std::net::SocketAddr> =
            targets.entry(agent.region.clone()).or_default();
        nodes.push((agent.address, PORT).into());
    }
    targets
}

fn load(fleet: &Fleet) -> Result<(Arc<Load>, Arc<Resolver>)> {
    let servers = fleet.controllers().iter().map(|one| one.dns).collect();
    let name = format!("{SERVICE}.{}.", fleet.shape().domain);
    let dns = Arc::new(Resolver::new(servers, &name)?);
    let options =
        LoadOptions { rate: RATE, port: PORT, path: "/".to_owned(), timeout: ANSWER_WAIT };
    Ok((Arc::new(Load::new(Arc::clone(&dns), options)), dns))
}

fn effects(fleet: &Fleet) -> Effects {
    Effects::new(fleet.agents().iter().map(|agent| {
        let dir = agent.data.join("services").join(SERVICE).join("data");
        (agent.node.to_string(), dir)
    }))
}
