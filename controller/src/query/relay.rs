//! The way to nodes that are connected to other controllers.
//!
//! Over connections of its own to the listener of agents and operators: a reader that does not
//! read fills at most these, and nothing that Raft waits for.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::timeout;
use tonic::Streaming;
use tonic::transport::Channel;
use trireme_proto::channel::{ChannelOptions, channel};
use trireme_proto::id::{ControllerId, NodeId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::time::Span;
use trireme_proto::tls::{Credentials, Server};
use trireme_proto::wire::relay_client::RelayClient;
use trireme_proto::wire::{AskPart, AskRequest, LocateRequest};

use crate::brain::Brain;
use crate::peers::{problem_of, silent};

/// A controller that does not answer within this is passed over: it may have the node, but then
/// the node will go elsewhere soon.
const LOCATE_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for a question to be taken.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// Channels to the other controllers, each made when it is first needed.
#[derive(Debug)]
pub(super) struct Relay {
    credentials: Credentials,
    channels: Mutex<BTreeMap<ControllerId, (String, Channel)>>,
}

impl Relay {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, channels: Mutex::default() }
    }

    /// Asks all others which of these nodes they have, and when they were last heard from.
    pub(super) async fn locate(
        &self,
        brain: &Brain,
        nodes: &[NodeId],
    ) -> Vec<(ControllerId, Vec<(NodeId, Span)>)> {
        let others: Vec<ControllerId> = brain.read(|fleet| {
            fleet.controllers.keys().filter(|name| **name != brain.name).cloned().collect()
        });
        let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        let each = others.into_iter().map(|name| {
            let request = LocateRequest { nodes: names.clone() };
            async move {
                let mut client = self.client(brain, &name).ok()?;
                let asked = timeout(LOCATE_TIMEOUT, client.locate(request)).await;
                let reply = asked.ok()?.ok()?.into_inner();
                let located = reply
                    .nodes
                    .into_iter()
                    .filter_map(|one| Some((one.node.parse().ok()?, Span(one.age_ms))));
                let located: Vec<(NodeId, Span)> = located.collect();
                Some((name, located))
            }
        });
        join_all(each).await.into_iter().flatten().collect()
    }

    /// Has another controller ask a node that is connected to it.
    pub(super) async fn ask(
        &self,
        brain: &Brain,
        controller: &ControllerId,
        node: &NodeId,
        question: Bytes,
        limit: Span,
    ) -> Result<Streaming<AskPart>, Problem> {
        let mut client = self.client(brain, controller)?;
        let request = AskRequest { node: node.to_string(), question, limit_ms: limit.0 };
        match timeout(ASK_TIMEOUT, client.ask(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(problem_of(&status, controller)),
            Err(_) => Err(silent(controller, &format!("did not answer within {ASK_TIMEOUT:?}"))),
        }
    }

    fn client(&self, brain: &Brain, name: &ControllerId) -> Result<RelayClient<Channel>, Problem> {
        let address = brain.read(|fleet| Some(fleet.controllers.get(name)?.address.clone()));
        let address = address.ok_or_else(|| {
            Problem::new(Code::NotFound, format!("there is no controller {name}"))
        })?;
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, channel)) = channels.get(name)
            && *known == address
        {
            return Ok(RelayClient::new(channel.clone()));
        }
        let server = Server::Controller(name.clone());
        let made = channel(&address, &server, &self.credentials, &ChannelOptions::default());
        let made = made.map_err(|error| {
            Problem::new(Code::Failed, format!("controller {name} cannot be asked: {error}"))
        })?;
        channels.insert(name.clone(), (address, made.clone()));
        Ok(RelayClient::new(made))
    }
}
