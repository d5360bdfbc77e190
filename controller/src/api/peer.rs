//! What other controllers ask: forwarding, read indexes, digests, and what this one is.

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::FleetTime;
use trireme_proto::wire::peer_server::Peer;
use trireme_proto::wire::{
    DescribeReply, DescribeRequest, DigestReply, DigestRequest, ForwardRequests, ReadIndexReply,
    ReadIndexRequest,
};

use super::authorize::caller;
use super::status::{status, usage};
use crate::brain::{Brain, Contact, no_leader};
use crate::clock::{Instant, wall};
use crate::forward::{Answers, decide};
use crate::plan::deliver;
use crate::sessions::Point;

/// Serves the other controllers.
#[derive(Debug, Clone)]
pub struct PeerApi {
    brain: Arc<Brain>,
}

impl PeerApi {
    /// Makes the service.
    pub fn new(brain: Arc<Brain>) -> Self {
        Self { brain }
    }

    /// Only a controller of this fleet may ask, and not one that was removed.
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        caller(&self.brain, request.extensions())?.controller().map(|_| ())
    }
}

#[tonic::async_trait]
impl Peer for PeerApi {
    type ForwardAllStream = Answers;

    async fn forward_all(
        &self,
        request: Request<Streaming<ForwardRequests>>,
    ) -> Result<Response<Answers>, Status> {
        self.admit(&request)?;
        Ok(Response::new(decide(Arc::clone(&self.brain), request.into_inner())))
    }

    async fn read_index(
        &self,
        request: Request<ReadIndexRequest>,
    ) -> Result<Response<ReadIndexReply>, Status> {
        self.admit(&request)?;
        if self.brain.leads().is_none() {
            return Err(status(&no_leader(&"this controller does not lead")));
        }
        let index = self.brain.leading.ask().await.map_err(|problem| status(&problem))?;
        Ok(Response::new(ReadIndexReply { index }))
    }

    async fn describe(
        &self,
        request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeReply>, Status> {
        self.admit(&request)?;
        let own = self.brain.describe().await.map_err(|problem| status(&problem))?;
        let described = serde_json::to_vec(&own).map_err(|error| usage("description", &error))?;
        Ok(Response::new(DescribeReply { described: described.into() }))
    }

    async fn digest(
        &self,
        request: Request<DigestRequest>,
    ) -> Result<Response<DigestReply>, Status> {
        self.admit(&request)?;
        let asked = request.into_inner();
        if !asked.leader.is_empty() {
            self.follow(&asked)?;
        }
        let digest = self.brain.sessions.digest(Point { run: asked.run, count: asked.since });
        let agents = u32::try_from(self.brain.sessions.len()).unwrap_or(u32::MAX);
        let nodes = serde_json::to_vec(&digest.nodes).map_err(|error| usage("digest", &error))?;
        Ok(Response::new(DigestReply {
            nonce: asked.nonce,
            controller: self.brain.name.to_string(),
            applied: self.brain.routed_to(),
            wall_ms: wall().0,
            nodes: nodes.into(),
            agents,
            until: digest.until.count,
            run: digest.until.run,
        }))
    }
}

impl PeerApi {
    /// Takes over what the leader told, unless it leads no more.
    fn follow(&self, asked: &DigestRequest) -> Result<(), Status> {
        let known = self.brain.raft.watch_leadership().borrow().term;
        if asked.term < known {
            let message = format!("term {} has ended; this is {known}", asked.term);
            return Err(status(&Problem::new(Code::Conflict, message)));
        }
        let leader = asked.leader.parse().map_err(|error| usage("leader", &error))?;
        self.brain.clock.set(FleetTime(asked.fleet_time));
        // Streams look for something to offer by themselves; after a silence or a change of
        // leader what they may offer is another.
        let offers_change = self
            .brain
            .contact()
            .is_none_or(|(term, age)| term != asked.term || age > deliver::CONTACT_AGE_MAX);
        self.brain.heard_from(Contact { term: asked.term, leader, at: Instant::now() });
        if let Ok(waiting) = serde_json::from_slice(&asked.waiting) {
            self.brain.waiting.send_if_modified(|told| {
                let changed = *told != waiting;
                *told = waiting;
                changed
            });
        }
        if offers_change {
            self.brain.sessions.wake_all();
        }
        Ok(())
    }
}
