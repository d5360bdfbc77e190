//! One local fleet: made, started, reached, and taken down without leaving anything behind.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use trireme_proto::id::{ControllerId, NodeId, RegionId};
use trireme_proto::keyfile::{create_private_dir, write_private};
use trireme_proto::model::{Object, Region};
use trireme_proto::time::Span;
use trireme_proto::view::ControllersView;
use trireme_proto::wire::{ApplyRequest, CreateTokenRequest};

use super::error::LocalError;
use super::layout::{AGENTS_MAX, CONTROLLERS_MAX, Doors, Files, REGIONS, Shape};
use super::process::Process;
use super::programs::{Programs, run};
use super::slot::{self, Slot};
use super::{identity, layout, ready, sweep};
use crate::client::Client;
use crate::context::Context;

mod grow;

/// Time for the controllers to agree on a leader, and for the agents to be connected: seconds on
/// a quiet machine.
const READY_WAIT: Duration = Duration::from_mins(1);
/// Time for daemons to end when asked.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// Time for what was killed to vanish.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// Time for one request of ours.
const REQUEST_WAIT: Span = Span::secs(15);
/// Life of a join token: it is used at once.
const TOKEN_LIFE: Span = Span::secs(600);

/// One controller of a local fleet.
#[derive(Debug)]
pub struct Controller {
    /// Its name.
    pub name: ControllerId,
    /// Region it stands for.
    pub region: RegionId,
    /// Where agents and operators reach it.
    pub api: SocketAddr,
    /// Where it lets nodes in.
    pub enrol: SocketAddr,
    /// Where its DNS answers.
    pub dns: SocketAddr,
    /// Where it shows metrics and health.
    pub telemetry: SocketAddr,
    /// Where somebody in between listens for it, in a fleet that is told so.
    pub doors: Doors,
    /// Its data directory.
    pub data: PathBuf,
    /// Its process.
    pub process: Process,
}

/// One agent of a local fleet.
#[derive(Debug)]
pub struct Agent {
    /// Its node.
    pub node: NodeId,
    /// Region of the node.
    pub region: RegionId,
    /// Address of the node.
    pub address: Ipv4Addr,
    /// Where it shows metrics and health.
    pub telemetry: SocketAddr,
    /// Its data directory.
    pub data: PathBuf,
    /// Its process.
    pub process: Process,
}

/// What is kept of a fleet beside its daemons' own data.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    shape: Shape,
    slot: u8,
    /// Whether every node has joined.
    complete: bool,
}

/// How many daemons of a fleet run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// None.
    Down,
    /// Some.
    Partly,
    /// All.
    Up,
}

/// A fleet on this machine.
#[derive(Debug)]
pub struct Fleet {
    record: Record,
    files: Files,
    programs: Programs,
    controllers: Vec<Controller>,
    agents: Vec<Agent>,
    slot: Option<Slot>,
    /// Whether everything ends with this value.
    owned: bool,
}

impl Fleet {
    /// Makes the files of a new fleet in an empty directory; starts nothing.
    pub fn create(dir: &Path, shape: Shape, programs: Programs) -> Result<Self, LocalError> {
        for (what, given, max) in [
            ("agents per region", shape.agents, AGENTS_MAX),
            ("controllers", shape.controllers, CONTROLLERS_MAX),
        ] {
            if given > max {
                return Err(LocalError::TooMany { what, given, max });
            }
        }
        create_private_dir(dir)?;
        let files = Files { root: dir.canonicalize().map_err(LocalError::io("find", dir))? };
        if files.record().exists() {
            return Err(LocalError::Unfinished(files.root));
        }
        let mut entries = fs::read_dir(&files.root).map_err(LocalError::io("list", dir))?;
        if entries.next().is_some() {
            return Err(LocalError::Foreign(files.root));
        }
        let slot = Slot::claim(&shape)?;
        let record = Record { shape, slot: slot.number, complete: false };
        create_private_dir(&files.run())?;
        let fleet = Self::assemble(files, record, programs, Some(slot), true);
        fleet.save()?;
        fleet.configure()?;
        Ok(fleet)
    }

    /// Takes up a fleet made before, whether it runs or not; it goes on when this value is gone.
    pub fn open(dir: &Path, programs: Programs) -> Result<Self, LocalError> {
        let none = || LocalError::NoFleet(dir.to_owned());
        let files = Files { root: dir.canonicalize().map_err(|_| none())? };
        let path = files.record();
        let text = fs::read(&path).map_err(|_| none())?;
        let record: Record =
            serde_json::from_slice(&text).map_err(|source| LocalError::Damaged { path, source })?;
        let slot = Slot::reclaim(record.slot)?;
        Ok(Self::assemble(files, record, programs, slot, false))
    }

    fn assemble(
        files: Files,
        record: Record,
        programs: Programs,
        slot: Option<Slot>,
        owned: bool,
    ) -> Self {
        let agent = |place: layout::NodePlace| {
            let dir = files.agent(&place.node);
            let config = dir.join("agent.yaml");
            Agent {
                process: process(&files, place.node.as_str(), &programs.agent, config),
                address: place.ip,
                telemetry: place.telemetry(),
                data: dir.join("data"),
                node: place.node,
                region: place.region,
            }
        };
        let controllers = record.shape.controllers(record.slot).into_iter();
        let controllers = controllers.map(|place| controller(&files, &programs, place));
        let agents = record.shape.nodes(record.slot).into_iter().map(agent);
        Self {
            controllers: controllers.collect(),
            agents: agents.collect(),
            record,
            files,
            programs,
            slot,
            owned,
        }
    }

    fn save(&self) -> Result<(), LocalError> {
        let path = self.files.record();
        let text = serde_json::to_vec_pretty(&self.record).unwrap_or_default();
        Ok(write_private(&path, &text)?)
    }

    /// Writes the configuration of every daemon.
    fn configure(&self) -> Result<(), LocalError> {
        let Record { shape, slot, .. } = &self.record;
        for place in shape.controllers(*slot) {
            self.write_controller(&place)?;
        }
        for place in shape.nodes(*slot) {
            let dir = self.files.agent(&place.node);
            create_private_dir(&dir)?;
            let config = shape.agent_config(*slot, &place, &dir);
            write_private(&dir.join("agent.yaml"), config.as_bytes())?;
        }
        Ok(())
    }
}

/// Returns a controller as it will run.
fn controller(files: &Files, programs: &Programs, place: layout::ControllerPlace) -> Controller {
    let dir = files.controller(&place.name);
    let config = dir.join("controller.yaml");
    Controller {
        process: process(files, place.name.as_str(), &programs.controller, config),
        api: place.api(),
        enrol: place.enrol(),
        dns: place.dns(),
        telemetry: place.telemetry(),
        doors: place.doors(),
        data: dir.join("data"),
        name: place.name,
        region: place.region,
    }
}

fn process(files: &Files, name: &str, program: &Path, config: PathBuf) -> Process {
    let args = vec!["run".into(), "--config".into(), config.into()];
    Process::new(name, &files.run(), program.to_owned(), args)
}

/// What it is and how to reach it.
impl Fleet {
    /// Returns its directory.
    pub fn dir(&self) -> &Path {
        &self.files.root
    }

    /// Returns what kind of fleet it is.
    pub fn shape(&self) -> &Shape {
        &self.record.shape
    }

    /// Returns the context file for `trictl`.
    pub fn context_file(&self) -> PathBuf {
        self.files.context()
    }

    /// Returns the controllers, one in each region and then over again.
    pub fn controllers(&self) -> &[Controller] {
        &self.controllers
    }

    /// Returns the controllers, to do something to their processes.
    pub fn controllers_mut(&mut self) -> &mut [Controller] {
        &mut self.controllers
    }

    /// Returns the agents, region by region.
    pub fn agents(&self) -> &[Agent] {
        &self.agents
    }

    /// Returns the agents, to do something to their processes.
    pub fn agents_mut(&mut self) -> &mut [Agent] {
        &mut self.agents
    }

    /// Returns one controller by name.
    pub fn controller_mut(&mut self, name: &ControllerId) -> Option<&mut Controller> {
        self.controllers.iter_mut().find(|controller| controller.name == *name)
    }

    /// Returns one agent by its node.
    pub fn agent_mut(&mut self, node: &NodeId) -> Option<&mut Agent> {
        self.agents.iter_mut().find(|agent| agent.node == *node)
    }

    /// Returns whether every node has joined once.
    pub fn is_complete(&self) -> bool {
        self.record.complete
    }

    /// Returns how many daemons run.
    pub fn standing(&mut self) -> Standing {
        let running = self.processes().map(Process::is_running).filter(|runs| *runs).count();
        match running {
            0 => Standing::Down,
            n if n == self.controllers.len() + self.agents.len() => Standing::Up,
            _ => Standing::Partly,
        }
    }

    /// Returns where and as whom to talk to it; the certificate is made anew and lasts 8 hours.
    pub fn context(&self) -> Result<Context, LocalError> {
        let root = identity::load_root(&self.files, &self.record.shape.fleet)?;
        let controllers = self.controllers.iter().map(|one| one.api.to_string()).collect();
        identity::admit(&self.files, &root, controllers)
    }

    /// Returns a client of its controllers, as admin.
    pub fn client(&self) -> Result<Client, LocalError> {
        Client::new(&self.context()?, REQUEST_WAIT).map_err(LocalError::refused("making a client"))
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        let controllers = self.controllers.iter_mut().map(|one| &mut one.process);
        let agents = self.agents.iter_mut().map(|one| &mut one.process);
        agents.chain(controllers)
    }
}

/// Coming up.
impl Fleet {
    /// Starts everything and waits until every node is ready; `say` is told of each step.
    ///
    /// A fleet that was complete before goes on from its disks.
    pub async fn start(&mut self, say: impl Fn(&str)) -> Result<(), LocalError> {
        if self.standing() == Standing::Down {
            // Services may have outlived their agents, and are found again.
            slot::free(self.record.shape.listeners(self.record.slot))?;
        }
        if self.record.complete {
            self.start_all()?;
            say("processes started");
        } else {
            self.identify_all().await?;
            say("identities made: a root, an issuing certificate for each controller");
            self.start_controllers()?;
        }
        let client = self.client()?;
        let view = self.wait_for_controllers(&client, READY_WAIT).await?;
        let leader = view.leader.map(|leader| leader.to_string()).unwrap_or_default();
        say(&format!("{} controllers serve, {leader} leads", self.controllers.len()));
        if !self.record.complete {
            self.declare_regions(&client).await?;
            for position in 0..self.agents.len() {
                self.join(&client, position).await?;
                self.agents[position].process.start()?;
            }
        }
        self.wait_for_agents(&client, READY_WAIT).await?;
        say(&format!("{} nodes have joined and are ready", self.agents.len()));
        self.record.complete = true;
        self.save()
    }

    /// Starts every daemon that does not run; waits for nothing.
    pub fn start_all(&mut self) -> Result<(), LocalError> {
        self.processes().try_for_each(Process::start)
    }

    /// Waits until one controller leads and all that run answer.
    pub async fn wait_for_controllers(
        &mut self,
        client: &Client,
        limit: Duration,
    ) -> Result<ControllersView, LocalError> {
        let wanted = self.controllers.len();
        ready::until("the controllers' agreement on a leader", limit, async || {
            for controller in &mut self.controllers {
                controller.process.check()?;
            }
            Ok(ready::controllers(client, wanted).await)
        })
        .await
    }

    /// Waits until every node is ready and every agent is connected.
    pub async fn wait_for_agents(
        &mut self,
        client: &Client,
        limit: Duration,
    ) -> Result<(), LocalError> {
        let (controllers, wanted) = (self.controllers.len(), self.agents.len());
        ready::until("the connection of every agent", limit, async || {
            for agent in &mut self.agents {
                agent.process.check()?;
            }
            let leader = match ready::controllers(client, controllers).await {
                Ok(view) => view.leader,
                Err(seen) => return Ok(Err(seen)),
            };
            // Only the leader hears of every node, wherever that is connected.
            let leader = self.controllers.iter().find(|one| Some(&one.name) == leader.as_ref());
            let Some(leader) = leader else { return Ok(Err("nobody leads".to_owned())) };
            let address = vec![leader.api.to_string()];
            let context = identity::context(&self.files, &self.record.shape.fleet, address);
            let leader = Client::new(&context, REQUEST_WAIT);
            let leader = leader.map_err(LocalError::refused("making a client"))?;
            Ok(ready::nodes(&leader, wanted).await)
        })
        .await
    }

    /// Makes the fleet's root and every controller's right to issue.
    async fn identify_all(&self) -> Result<(), LocalError> {
        let root = identity::make_root(&self.files, &self.record.shape.fleet)?;
        for controller in &self.controllers {
            self.identify(&root, &controller.name).await?;
        }
        Ok(())
    }

    fn start_controllers(&mut self) -> Result<(), LocalError> {
        for (number, controller) in self.controllers.iter_mut().enumerate() {
            let more: &[&str] = if number == 0 { &["--bootstrap"] } else { &[] };
            controller.process.start_with(more)?;
        }
        Ok(())
    }

    async fn declare_regions(&self, client: &Client) -> Result<(), LocalError> {
        let region = |one: &Controller| {
            Object::Region(Region { name: one.region.clone(), cloud: Some(one.region.to_string()) })
        };
        let mut regions: Vec<_> = self.controllers.iter().map(region).collect();
        regions.truncate(REGIONS.len());
        let objects = regions;
        let objects = serde_json::to_vec(&objects).unwrap_or_default();
        let request = ApplyRequest {
            origin: Some(client.origin()),
            objects: objects.into(),
            base_revision: 0,
            dry_run: false,
        };
        client.apply(request).await.map(drop).map_err(LocalError::refused("declaring the regions"))
    }

    /// Lets one node in: a token from the controllers, the rest is the agent's.
    async fn join(&self, client: &Client, position: usize) -> Result<(), LocalError> {
        let agent = &self.agents[position];
        let labels: HashMap<String, String> =
            self.record.shape.labels.clone().into_iter().collect();
        let request = CreateTokenRequest {
            origin: Some(client.origin()),
            node: agent.node.to_string(),
            region: agent.region.to_string(),
            address: agent.address.to_string(),
            labels,
            ttl_ms: TOKEN_LIFE.0,
            dry_run: false,
        };
        let reply = client.create_token(request).await;
        let what = format!("making a token for {}", agent.node);
        let token = reply.map_err(LocalError::refused(what))?.value.token;
        let dir = self.files.agent(&agent.node);
        // In a file: a command line can be read by everybody on the machine.
        let file = dir.join("token");
        write_private(&file, token.as_bytes())?;
        let config = dir.join("agent.yaml").display().to_string();
        let join = ["join", "--config", &config, "--token-file", &file.display().to_string()];
        run(&self.programs.agent, &join).await.map(drop)
    }
}

/// Going down.
impl Fleet {
    /// Ends everything with this value, also what was taken up running.
    #[must_use]
    pub fn own(mut self) -> Self {
        self.owned = true;
        self
    }

    /// Leaves everything running when this value is gone.
    pub fn detach(mut self) {
        self.owned = false;
    }

    /// Ends every process, the services that agents started included; the files stay.
    ///
    /// May be repeated; takes a bounded time, and says so if something could not be ended.
    pub async fn down(self) -> Result<Self, LocalError> {
        // On a thread of its own: /proc is read and waited for without a runtime.
        match tokio::task::spawn_blocking(move || self.end_gently()).await {
            Ok(result) => result,
            Err(error) => Err(LocalError::io("end", "the fleet")(std::io::Error::other(error))),
        }
    }

    fn end_gently(mut self) -> Result<Self, LocalError> {
        // A second attempt right away would find what the first one found.
        self.owned = false;
        self.end(STOP_WAIT)?;
        Ok(self)
    }

    /// Removes the files of a fleet that is down.
    pub fn remove(mut self) -> Result<(), LocalError> {
        self.owned = false;
        if self.standing() != Standing::Down {
            return Err(LocalError::Running(self.files.root.clone()));
        }
        let root = &self.files.root;
        fs::remove_dir_all(root).map_err(LocalError::io("remove", root))
    }

    /// Ends every service process of one region's nodes or all, as a power cut would.
    pub fn kill_services(&self, region: Option<&RegionId>) -> usize {
        let agents = self.agents.iter().filter(|one| region.is_none_or(|name| one.region == *name));
        let mut left = 0;
        for agent in agents {
            left += sweep::services(&self.files.root, Some(&agent.node), KILL_WAIT);
        }
        left
    }

    /// Ends every service process of one node, as if the machine under it had stopped.
    pub fn kill_services_of(&self, node: &NodeId) -> usize {
        sweep::services(&self.files.root, Some(node), KILL_WAIT)
    }

    /// Asks all daemons to end, then kills what is left, then what agents have started.
    fn end(&mut self, patience: Duration) -> Result<(), LocalError> {
        let signal = if patience.is_zero() { Signal::KILL } else { Signal::TERM };
        for process in self.processes() {
            // A frozen process takes no other signal before it goes on.
            process.thaw();
            process.signal(signal);
        }
        let end = Instant::now() + patience;
        let mut left = 0;
        for process in self.processes() {
            if !process.gone_by(end) {
                process.signal(Signal::KILL);
                left += usize::from(!process.gone_by(end + KILL_WAIT));
            }
        }
        left += sweep::services(&self.files.root, None, KILL_WAIT);
        self.slot = None;
        if left == 0 {
            Ok(())
        } else {
            Err(LocalError::Left { dir: self.files.root.clone(), count: left })
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if self.owned
            && let Err(error) = self.end(Duration::ZERO)
        {
            tracing::warn!(%error, "a local fleet has left something behind");
        }
    }
}
