//! How many agents one controller holds, what each costs, and how soon all are told or come back.
//!
//! ```text
//!  tokens, joins ▶ (memory) ▶ all connect to the leader ▶ (memory) ▶ (CPU) ▶ a change of desired
//!  state reaches all (fan-out) ▶ the leader is killed ▶ all are back at the two others
//! ```
//!
//! One fleet of three controllers for each number of agents. The agents live in another process
//! (`agents.rs`), and both share the machine's cores: times include what the agents themselves
//! spend on handshakes. The controller that holds them is the leader, which has the most to do.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};
use trireme_ctl::client::Client;
use trireme_ctl::local::{Fleet, Programs, Shape};
use trireme_proto::manifest;
use trireme_proto::wire::{ApplyRequest, Consistency, ControllersRequest, CreateTokenRequest};

use super::agents::{Ask, Told, now_us};
use super::idle::{cpu_seconds, resident_bytes};

/// Service that is placed on every simulated node.
pub const SERVICE: &str = "web";

/// Argument that makes the bench's own program the agents' process.
pub const AGENTS: &str = "simulated-agents";

/// Tokens asked for at once.
const TOKENS_AT_ONCE: usize = 64;

/// Life of a token: all of them are used within a minute.
const TOKEN_LIFE_MS: u64 = 600_000;

/// Time for what follows a storm (observations, timers) to be over before something is measured.
const SETTLE: Duration = Duration::from_secs(8);

/// Longest wait for any one answer of the agents.
const ANSWER_MAX: Duration = Duration::from_mins(3);

/// What was measured with one number of agents.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Agents on one controller.
    pub agents: usize,
    /// Growth of the controller's resident memory for each.
    pub bytes_each: u64,
    /// Processor that the controller takes with all of them connected and nothing to do.
    pub cpu_cores: f64,
    /// Heartbeats each second during that.
    pub heartbeats_per_s: f64,
    /// Nodes that joined in a second, a token each.
    pub joins_per_s: f64,
    /// From the first dial to the last welcome.
    pub connect_s: f64,
    /// From the request to the last agent that was told of changed checks.
    pub fanout_s: f64,
    /// From the controller's death to the last welcome at another.
    pub reconnect_s: f64,
}

impl Row {
    /// Returns the line that people read.
    pub fn text(&self) -> String {
        format!(
            "  {:>6} agents  {:5.1} KB each  {:.2} cores at {:.0} heartbeats/s  told of a change \
             in {:.2} s  back after a controller's death in {:.1} s  (joined {:.0}/s, connected \
             in {:.1} s)",
            self.agents,
            float(usize::try_from(self.bytes_each).unwrap_or(usize::MAX)) / 1e3,
            self.cpu_cores,
            self.heartbeats_per_s,
            self.fanout_s,
            self.reconnect_s,
            self.joins_per_s,
            self.connect_s
        )
    }
}

/// The agents' process.
struct Agents {
    _child: Child,
    ask: ChildStdin,
    told: Lines<BufReader<ChildStdout>>,
}

impl Agents {
    fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(AGENTS)
            // Of thousands of tries that fail, none has to tell where in the program it did.
            .env("RUST_LIB_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let ask = child.stdin.take().context("no standard input")?;
        let told = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        Ok(Self { _child: child, ask, told })
    }

    async fn ask(&mut self, ask: &Ask) -> Result<Told> {
        self.send(ask).await?;
        self.answer().await
    }

    /// Asks for something that has to become true of `count` nodes.
    async fn all(&mut self, ask: &Ask, count: usize, what: &str) -> Result<Told> {
        let told = self.ask(ask).await.with_context(|| what.to_owned())?;
        if told.nodes < count {
            let Told { nodes, tries, lost, trouble, .. } = told;
            bail!("{what}: {nodes} of {count} nodes, {tries} tries, {lost} lost; {trouble:?}");
        }
        Ok(told)
    }

    async fn send(&mut self, ask: &Ask) -> Result<()> {
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        self.ask.write_all(&line).await?;
        Ok(self.ask.flush().await?)
    }

    async fn answer(&mut self) -> Result<Told> {
        let line = timeout(ANSWER_MAX, self.told.next_line()).await;
        let line = line.context("the simulated agents do not get there")??;
        Ok(serde_json::from_str(&line.context("the simulated agents have ended")?)?)
    }
}

/// Measures with `count` agents; `seconds` of idleness.
pub async fn measure(programs: &Path, count: usize, seconds: u64) -> Result<Row> {
    let scratch = tempfile::tempdir()?;
    let shape = Shape { agents: 0, ..Shape::new("sessions".parse()?) };
    let programs = Programs::within(programs)?;
    let mut fleet = Fleet::create(&scratch.path().join("fleet"), shape, programs)?.own();
    fleet.start(|_| {}).await?;
    let row = within(&mut fleet, count, seconds).await;
    fleet.down().await?;
    row
}

async fn within(fleet: &mut Fleet, count: usize, seconds: u64) -> Result<Row> {
    let client = fleet.client()?;
    apply(&client, "first").await?;
    let mut agents = Agents::start()?;
    let began = Instant::now();
    let tokens = tokens(fleet, &client, count).await?;
    let enrol = fleet.controllers().iter().map(|one| one.enrol).collect();
    agents.all(&Ask::Join { tokens, enrol }, count, "joining").await?;
    let joins_per_s = float(count) / began.elapsed().as_secs_f64();
    sleep(SETTLE).await;

    let leader = leader(fleet, &client).await?;
    let mut controllers: Vec<_> = fleet.controllers().iter().map(|one| one.api).collect();
    controllers.rotate_left(leader);
    let controller = controllers[0];
    let pid = fleet.controllers_mut()[leader].process.pid().context("the leader has ended")?;
    let before = resident_bytes(pid)?;
    let began = now_us();
    let connected = agents.all(&Ask::Connect { controller }, count, "connecting").await?;
    agents.ask(&Ask::Know { controllers }).await?;
    let connect_s = seconds_between(began, connected.at_us);
    sleep(SETTLE).await;
    let bytes_each = resident_bytes(pid)?.saturating_sub(before) / count as u64;

    let text = format!("mark-{count}");
    agents.ask(&Ask::Count { text: String::new() }).await?;
    let (cpu, began) = (cpu_seconds(pid)?, Instant::now());
    sleep(Duration::from_secs(seconds)).await;
    let (cpu, took) = (cpu_seconds(pid)? - cpu, began.elapsed().as_secs_f64());
    let beats = agents.ask(&Ask::Count { text: text.clone() }).await?.beats;

    let began = now_us();
    apply(&client, &text).await?;
    let fanout_s =
        seconds_between(began, agents.all(&Ask::Assigned, count, "fan-out").await?.at_us);

    agents.ask(&Ask::Count { text: String::new() }).await?;
    let began = now_us();
    fleet.controllers_mut()[leader].process.kill().await?;
    let back = agents.all(&Ask::Welcomed, count, "coming back").await?;
    let reconnect_s = seconds_between(began, back.at_us);
    Ok(Row {
        agents: count,
        bytes_each,
        cpu_cores: cpu / took,
        heartbeats_per_s: float(beats) / took,
        joins_per_s,
        connect_s,
        fanout_s,
        reconnect_s,
    })
}

fn seconds_between(from_us: u64, to_us: u64) -> f64 {
    Duration::from_micros(to_us.saturating_sub(from_us)).as_secs_f64()
}

fn float(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Returns the position in the fleet of the controller that leads.
async fn leader(fleet: &Fleet, client: &Client) -> Result<usize> {
    let consistency = Consistency::Stale.into();
    let view = client.controllers(ControllersRequest { consistency }).await;
    let view = view.map_err(|failure| anyhow!("{failure:?}"))?.value;
    let leader = view.leader.context("nobody leads")?;
    let found = fleet.controllers().iter().position(|one| one.name == leader);
    found.context("an unknown controller leads")
}

/// Asks for a token for each node.
async fn tokens(fleet: &Fleet, client: &Client, count: usize) -> Result<Vec<String>> {
    let regions: Vec<_> = fleet.controllers().iter().map(|one| one.region.clone()).collect();
    let request = |position: usize| {
        let region = &regions[position % regions.len()];
        CreateTokenRequest {
            // No origin: what one client asks is applied in its order, and these have none.
            origin: None,
            node: format!("{region}-{position}"),
            region: region.to_string(),
            address: super::agents::source(position).to_string(),
            labels: HashMap::from([("role".to_owned(), "web".to_owned())]),
            ttl_ms: TOKEN_LIFE_MS,
            dry_run: false,
        }
    };
    let asking = (0..count).map(|position| client.create_token(request(position)));
    let asking = futures_util::stream::iter(asking).buffer_unordered(TOKENS_AT_ONCE);
    asking
        .map(|reply| Ok(reply.map_err(|failure| anyhow!("{failure:?}"))?.value.token))
        .try_collect()
        .await
}

/// Declares the service, with a check named `mark`.
async fn apply(client: &Client, mark: &str) -> Result<()> {
    let text = format!(
        "kind: Service\nname: {SERVICE}\nnodes: {{labels: {{role: web}}}}\ndriver: {{process: {{}}}}\n\
         traffic: {{dns: {{port: 8080, ttl: 1s}}, drain: 1s}}\nchecks:\n  \
         - {{name: health, http: {{url: \"http://{{address}}:8080/health\"}}, every: 2s, timeout: 1s}}\n  \
         - {{name: {mark}, tcp: {{address: \"{{address}}:8080\"}}, every: 2s, timeout: 1s}}\n"
    );
    let objects =
        manifest::parse("bench.yaml", &text).map_err(|error| anyhow!("{}", error.render(false)))?;
    let objects: Vec<_> = objects.into_iter().map(|located| located.value).collect();
    let request = ApplyRequest {
        origin: Some(client.origin()),
        objects: serde_json::to_vec(&objects)?.into(),
        ..ApplyRequest::default()
    };
    client.apply(request).await.map(drop).map_err(|failure| anyhow!("{failure:?}"))
}
