//! One fleet for one test: made in a directory of its own, reached as an operator reaches it.
//!
//! ```text
//!  test ── trictl ──▶ exit code, stdout, stderr          what people see
//!       ── client ──▶ views                              what is waited for
//!       ── fleet  ──▶ kill, freeze, start, by process
//! ```
//!
//! Nothing here sleeps to let something happen: it looks until what it waits for is there.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use trireme_ctl::client::Client;
use trireme_ctl::context::Context;
use trireme_ctl::error::Failure;
use trireme_ctl::local::{Agent, Fleet, Programs, Shape};
use trireme_proto::id::{ControllerId, NodeId, RegionId};
use trireme_proto::time::Span;
use trireme_proto::view::{ControllersView, GrantView, List, NodeView, ServiceView, UpgradeView};
use trireme_proto::wire::{Consistency, ControllersRequest, GetRequest};

/// Longest a test may take, its fleet's start and end included.
const TEST_MAX: Duration = Duration::from_mins(1);
/// Longest wait for one condition.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Time between looks.
const LOOK_EVERY: Duration = Duration::from_millis(40);
/// Longest a run of a program may take.
pub(crate) const RUN_MAX: Duration = Duration::from_secs(45);
/// Lines of each log that a failing test prints.
const TAIL_LINES: usize = 25;

/// Fleets of one process run one after the other: two cores carry one of them.
static TURN: Mutex<()> = Mutex::const_new(());

/// Runs a test within its time; what it holds is dropped while it fails, so that logs are told.
pub(crate) fn bounded<T: Future<Output = ()>>(test: T) -> impl Future<Output = ()> {
    bounded_by(TEST_MAX, test)
}

/// As [`bounded`], for tests in which others than our programs take their time.
pub(crate) fn bounded_by<T: Future<Output = ()>>(
    limit: Duration,
    test: T,
) -> impl Future<Output = ()> {
    // A test is large: it lies in the heap from the beginning.
    let mut test = Box::pin(test);
    async move {
        let _turn = TURN.lock().await;
        assert!(timeout(limit, &mut test).await.is_ok(), "the test took more than {limit:?}");
    }
}

/// Returns the directory that this build's programs are in.
pub(crate) fn programs_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let own = std::env::current_exe().unwrap();
        // Tests are built into `deps`, beside which the programs lie.
        let dir = own.parent().and_then(Path::parent).unwrap().to_owned();
        for name in ["trireme-controller", "trireme-agent", "trictl"] {
            let built = dir.join(name).is_file();
            assert!(built, "{name} is not in {}: cargo build --workspace", dir.display());
        }
        dir
    })
}

/// Returns one of this build's programs.
pub(crate) fn program(name: &str) -> PathBuf {
    programs_dir().join(name)
}

/// A program that has run to its end.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Returns the document it printed.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns the problem or ending it told on stderr, as its last line.
    pub(crate) fn problem(&self) -> Value {
        let line = self.stderr.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns it if it ended with `code`.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Returns it if stdout or stderr has `text`.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(said, "`{text}` was not said: {self:#?}");
        self
    }
}

/// Runs a program to its end, killed if it takes too long.
pub(crate) async fn run(mut command: Command) -> Run {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(RUN_MAX, command.output()).await.expect("the program ends").unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Looks until there is what is waited for.
#[track_caller]
pub(crate) fn until<T, F: AsyncFnMut() -> Option<T>>(
    what: &str,
    mut look: F,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let end = Instant::now() + WAIT_MAX;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < end, "{caller}: {what} did not come within {WAIT_MAX:?}");
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Says in an agent's configuration what the fleet may drive there; before it is started.
pub(crate) fn allow(agent: &Agent, drivers: &Value) {
    let path = agent.data.parent().unwrap().join("agent.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["drivers"] = drivers.clone();
    std::fs::write(&path, config.to_string()).unwrap();
}

/// A fleet and everything to look at it with.
#[derive(Debug)]
pub(crate) struct Rig {
    // Ends before its directory goes.
    pub(crate) fleet: Fleet,
    client: Option<Client>,
    context: Option<Context>,
    dir: TempDir,
}

/// Coming up, and what it is made of.
impl Rig {
    /// Starts a fleet of three controllers and `agents` nodes in each region.
    pub(crate) async fn start(agents: usize) -> Self {
        let mut rig = Self::prepare(agents);
        rig.come_up().await;
        rig
    }

    /// Makes the files of a fleet and starts nothing.
    pub(crate) fn prepare(agents: usize) -> Self {
        Self::with_programs(agents, Programs::within(programs_dir()).unwrap())
    }

    /// Makes the files of a fleet of these programs and starts nothing.
    pub(crate) fn with_programs(agents: usize, programs: Programs) -> Self {
        let mut shape = Shape::new("e2e".parse().unwrap());
        shape.agents = agents;
        shape.service_ports = vec![super::web::PORT];
        Self::shaped(shape, programs)
    }

    /// Makes the files of a fleet of this shape and starts nothing.
    pub(crate) fn shaped(shape: Shape, programs: Programs) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fleet = Fleet::create(&dir.path().join("fleet"), shape, programs).unwrap();
        Self { fleet, client: None, context: None, dir }
    }

    /// Starts everything that does not run, and waits until every node is ready.
    pub(crate) async fn come_up(&mut self) {
        let started = Box::pin(self.fleet.start(|_| {})).await;
        if let Err(error) = started {
            panic!("{}", detail(error.into()));
        }
        let context = self.fleet.context().unwrap();
        self.client = Some(Client::new(&context, Span::secs(15)).unwrap());
        self.context = Some(context);
    }

    /// Returns a directory for the test's own files.
    pub(crate) fn files(&self) -> PathBuf {
        let files = self.dir.path().join("files");
        std::fs::create_dir_all(&files).unwrap();
        files
    }

    /// Writes a file of the test's own and returns where it is.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.files().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// Asking it.
impl Rig {
    /// Returns a client of its controllers.
    pub(crate) fn client(&self) -> &Client {
        self.client.as_ref().expect("the fleet was started")
    }

    /// Runs `trictl` with JSON output, as admin.
    pub(crate) async fn trictl(&self, args: &[&str]) -> Run {
        self.trictl_as(&self.fleet.context_file(), args).await
    }

    /// Runs `trictl` with JSON output, as whom a context file says.
    pub(crate) async fn trictl_as(&self, context: &Path, args: &[&str]) -> Run {
        run(trictl(context, args)).await
    }

    /// Returns what controllers answer, or `None` if they do not now.
    pub(crate) async fn look<T: DeserializeOwned>(&self, kind: &str) -> Option<Vec<T>> {
        Some(self.client().get::<List<T>>(get(kind)).await.ok()?.value.items)
    }

    /// Returns one upgrade.
    pub(crate) async fn upgrade(&self, id: &str) -> Option<UpgradeView> {
        let all = self.look::<UpgradeView>("upgrade").await?;
        all.into_iter().find(|view| view.id.to_string() == id)
    }

    /// Returns the nodes as one controller tells of them.
    pub(crate) async fn nodes_told_by(&self, controller: &ControllerId) -> Option<Vec<NodeView>> {
        let asked = self.fleet.controllers().iter().find(|one| one.name == *controller)?;
        let mut context = self.context.clone()?;
        context.controllers = vec![asked.api.to_string()];
        let client = Client::new(&context, Span::secs(5)).unwrap();
        Some(client.get::<List<NodeView>>(get("node")).await.ok()?.value.items)
    }

    /// Returns one node as the leader sees it.
    pub(crate) async fn node(&self, name: &str) -> Option<NodeView> {
        let leader = self.controllers().await?.leader?;
        let nodes = self.nodes_told_by(&leader).await?;
        nodes.into_iter().find(|view| view.name.as_str() == name)
    }

    /// Returns one service.
    pub(crate) async fn service(&self, name: &str) -> Option<ServiceView> {
        let all = self.look::<ServiceView>("service").await?;
        all.into_iter().find(|view| view.service.name.as_str() == name)
    }

    /// Returns the grants that have not ended.
    pub(crate) async fn held_grants(&self) -> Option<Vec<GrantView>> {
        let grants = self.look::<GrantView>("grant").await?;
        let held = |grant: &GrantView| matches!(grant.state.as_str(), "held" | "overdue");
        Some(grants.into_iter().filter(held).collect())
    }

    /// Returns the controllers as any of them sees them.
    pub(crate) async fn controllers(&self) -> Option<ControllersView> {
        let request = ControllersRequest { consistency: Consistency::Stale.into() };
        Some(self.client().controllers(request).await.ok()?.value)
    }

    /// Returns who leads, once somebody does and is not `other_than`.
    pub(crate) async fn leader(&self, other_than: Option<&ControllerId>) -> ControllerId {
        until("a leader", async || {
            let leader = self.controllers().await?.leader?;
            (Some(&leader) != other_than).then_some(leader)
        })
        .await
    }
}

/// Going through upgrades as an operator does.
impl Rig {
    /// Declares what a file says.
    pub(crate) async fn apply(&self, file: &Path) -> Run {
        self.trictl(&["apply", "-f", file.to_str().unwrap()]).await
    }

    /// Plans an upgrade and returns the name of the plan.
    pub(crate) async fn plan(&self, service: &str, version: &str) -> String {
        let run = self.trictl(&["upgrade", "plan", service, "--to", version]).await.exits(0);
        run.json()["id"].as_str().unwrap().to_owned()
    }

    /// Starts a plan and returns the name of the upgrade.
    pub(crate) async fn begin(&self, service: &str, version: &str) -> String {
        let plan = self.plan(service, version).await;
        let run = self.trictl(&["upgrade", "start", &plan, "--yes"]).await.exits(0);
        run.json()["id"].as_str().unwrap().to_owned()
    }

    /// Follows an upgrade to its end.
    pub(crate) async fn watch(&self, upgrade: &str) -> Run {
        let args = ["upgrade", "watch", upgrade];
        let watching = self.trictl(&args);
        if let Ok(run) = timeout(WAIT_MAX, watching).await {
            return run;
        }
        panic!("{upgrade} does not end: {:#?}", self.upgrade(upgrade).await)
    }

    /// Upgrades a service and fails if that does not succeed.
    pub(crate) async fn upgrade_to(&self, service: &str, version: &str) {
        // Of a service that was just declared every node has yet to say that it was never started.
        until("an upgrade that nothing blocks", async || {
            let run = self.trictl(&["upgrade", "plan", service, "--to", version]).await.exits(0);
            (run.json()["blocked"] == serde_json::json!([])).then_some(())
        })
        .await;
        let upgrade = self.begin(service, version).await;
        self.watch(&upgrade).await.exits(0);
    }

    /// Waits until some node of `region` is at `step` of its action in the upgrade.
    pub(crate) async fn at_step(&self, upgrade: &str, region: &str, step: &str) -> NodeId {
        until(&format!("step {step} in {region}"), async || {
            let view = self.upgrade(upgrade).await?;
            assert!(!view.phase.is_final(), "{upgrade} has ended: {view:#?}");
            let wave = view.waves.into_iter().find(|wave| wave.region.as_str() == region)?;
            let at = |node: &trireme_proto::view::WaveNode| node.step.as_deref() == Some(step);
            wave.nodes.into_iter().find(|(_, node)| at(node)).map(|(name, _)| name)
        })
        .await
    }

    /// Waits until the wave of `region` is in `state`.
    pub(crate) async fn at_state(&self, upgrade: &str, region: &str, state: &str) {
        until(&format!("wave {region} {state}"), async || {
            let view = self.upgrade(upgrade).await?;
            let wave = view.waves.iter().find(|wave| wave.region.as_str() == region)?;
            let there = wave.state == state;
            assert!(there || !view.phase.is_final(), "{upgrade} has ended: {view:#?}");
            there.then_some(())
        })
        .await;
    }
}

/// Doing things to its processes.
impl Rig {
    /// Kills one controller with SIGKILL.
    pub(crate) async fn kill_controller(&mut self, name: &ControllerId) {
        self.fleet.controller_mut(name).unwrap().process.kill().await.unwrap();
    }

    /// Kills the agent of one node with SIGKILL; its services go on.
    pub(crate) async fn kill_agent(&mut self, node: &NodeId) {
        self.fleet.agent_mut(node).unwrap().process.kill().await.unwrap();
    }

    /// Kills every agent and service of a region, as a power cut would.
    pub(crate) async fn cut_power(&mut self, region: &RegionId) {
        for agent in self.fleet.agents_mut().iter_mut().filter(|agent| agent.region == *region) {
            agent.process.kill().await.unwrap();
        }
        assert_eq!(self.fleet.kill_services(Some(region)), 0);
    }

    /// Returns the names of the daemons that do not run.
    pub(crate) fn dead(&mut self) -> Vec<String> {
        let mut dead = Vec::new();
        for process in self.fleet.controllers_mut().iter_mut().map(|one| &mut one.process) {
            if !process.is_running() {
                dead.push(process.name().to_owned());
            }
        }
        for process in self.fleet.agents_mut().iter_mut().map(|one| &mut one.process) {
            if !process.is_running() {
                dead.push(process.name().to_owned());
            }
        }
        dead
    }

    #[expect(clippy::print_stderr, reason = "what a failing test leaves is told where it is read")]
    fn print_logs(&self) {
        let controllers = self.fleet.controllers().iter().map(|one| &one.process);
        for process in controllers.chain(self.fleet.agents().iter().map(|one| &one.process)) {
            let text = std::fs::read(process.log()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
            eprintln!("--- {} ---\n{tail}", process.name());
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
    }
}

fn get(kind: &str) -> GetRequest {
    let consistency = Consistency::Lease.into();
    GetRequest { kind: kind.to_owned(), name: String::new(), consistency }
}

/// Returns `trictl` with JSON output, as whom a context file says.
pub(crate) fn trictl(context: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program("trictl"));
    command.env_clear().arg("--json").arg("--config").arg(context).args(args);
    command
}

/// Returns everything that a failure says.
pub(crate) fn detail(failure: Failure) -> String {
    match failure {
        Failure::Problem(problem) => format!("{}\n{}", problem.message, problem.why.join("\n")),
        Failure::Closed => "output was closed".to_owned(),
    }
}
