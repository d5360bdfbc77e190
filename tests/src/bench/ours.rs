//! Three controllers of ours under load: operators' commands and reads through the public API.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tonic::transport::Channel;
use trireme_ctl::local::{Fleet, Programs, Shape};
use trireme_proto::channel::{ChannelOptions, channel};
use trireme_proto::id::ControllerId;
use trireme_proto::tls::{Credentials, Server};
use trireme_proto::wire::operator_client::OperatorClient;
use trireme_proto::wire::{
    Consistency, ControllersRequest, GetRequest, NoteRequest, Origin, TransferLeaderRequest,
};

use super::load::{Client, Group, System, VALUE_LEN};

/// Time for a controller that comes back to follow the others again.
const READY_MAX: Duration = Duration::from_secs(20);
/// Time between two looks for a leader.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running fleet of three controllers and no agent.
#[derive(Debug)]
pub struct Ours {
    fleet: Fleet,
    credentials: Credentials,
    leader: usize,
    _scratch: tempfile::TempDir,
}

impl Ours {
    /// Starts it with the programs of a directory.
    pub async fn start(programs: &Path) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let mut shape = Shape::new("bench".parse()?);
        shape.agents = 0;
        let programs = Programs::within(programs)?;
        let mut fleet = Fleet::create(&scratch.path().join("fleet"), shape, programs)?.own();
        fleet.start(|_| {}).await?;
        let credentials = fleet.context()?.credentials()?;
        let mut ours = Self { fleet, credentials, leader: 0, _scratch: scratch };
        ours.find_leader().await?;
        Ok(ours)
    }

    /// Ends it.
    pub async fn down(self) -> Result<()> {
        self.fleet.down().await?;
        Ok(())
    }

    fn client(&self, place: usize, number: usize) -> Result<Operator> {
        let address = self.fleet.controllers()[place].api.to_string();
        let options = ChannelOptions::default();
        let channel = channel(&address, &Server::AnyController, &self.credentials, &options)?;
        let mut id = [0; 8];
        getrandom::fill(&mut id)?;
        let id = format!("{:016x}", u64::from_be_bytes(id));
        let regions = self.fleet.controllers();
        let object = format!("region/{}", regions[number % regions.len()].region);
        Ok(Operator { stub: OperatorClient::new(channel), id, object })
    }
}

impl System for Ours {
    type Client = Operator;

    async fn connect(&self, number: usize) -> Result<Operator> {
        let mut client = self.client((self.leader + number) % 3, number)?;
        client.write(0).await?;
        Ok(client)
    }

    fn pids(&mut self) -> Result<Vec<u32>> {
        let controllers = self.fleet.controllers_mut().iter_mut();
        controllers.map(|one| one.process.pid().context("a controller has ended")).collect()
    }
}

impl Group for Ours {
    type Member = ControllerId;

    async fn find_leader(&mut self) -> Result<()> {
        let client = self.fleet.client()?;
        let end = Instant::now() + READY_MAX;
        // Who has just come back does not know yet.
        let leader = loop {
            let known = client.controllers(ControllersRequest::default()).await;
            let known = known.map_err(|failure| anyhow::anyhow!("{failure:?}"))?.value;
            if let Some(leader) = known.leader {
                break leader;
            }
            ensure!(Instant::now() < end, "nobody leads");
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let place = self.fleet.controllers().iter().position(|one| one.name == leader);
        self.leader = place.context("an unknown controller leads")?;
        Ok(())
    }

    async fn transfer(&mut self) -> Result<()> {
        self.find_leader().await?;
        let next = (self.leader + 1) % self.fleet.controllers().len();
        let to = self.fleet.controllers()[next].name.to_string();
        let client = self.fleet.client()?;
        let origin = Some(client.origin());
        let request = TransferLeaderRequest { origin, to, dry_run: false };
        client.transfer_leader(request).await.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        Ok(())
    }

    async fn kill_leader(&mut self) -> Result<ControllerId> {
        let leader = self.leader;
        let controller = &mut self.fleet.controllers_mut()[leader];
        controller.process.kill().await?;
        Ok(controller.name.clone())
    }

    async fn bring_back(&mut self, name: ControllerId) -> Result<()> {
        self.fleet.controller_mut(&name).context("no such controller")?.process.start()?;
        self.fleet.wait_for_controllers(&self.fleet.client()?, READY_MAX).await?;
        self.find_leader().await.map(drop)
    }
}

/// An operator who leaves one note after another on one object.
#[derive(Debug)]
pub struct Operator {
    stub: OperatorClient<Channel>,
    id: String,
    object: String,
}

impl Operator {
    async fn get(&mut self, consistency: Consistency) -> Result<()> {
        let mut request = GetRequest {
            kind: "note".to_owned(),
            name: self.object.clone(),
            ..GetRequest::default()
        };
        request.set_consistency(consistency);
        let document = self.stub.get(request).await?.into_inner();
        ensure!(!document.json.is_empty(), "an empty answer");
        Ok(())
    }
}

impl Client for Operator {
    async fn write(&mut self, number: u64) -> Result<()> {
        let mut text = format!("{number:020}");
        text.extend(std::iter::repeat_n('x', VALUE_LEN - text.len()));
        let sequence = number + 1;
        let request_id = format!("{}-{sequence}", self.id);
        let origin = Some(Origin { request_id, client: self.id.clone(), sequence });
        let request = NoteRequest { origin, object: self.object.clone(), text, dry_run: false };
        self.stub.note(request).await?;
        Ok(())
    }

    async fn read(&mut self) -> Result<()> {
        self.get(Consistency::Linearizable).await
    }

    async fn lease_read(&mut self) -> Result<()> {
        self.get(Consistency::Lease).await
    }
}
