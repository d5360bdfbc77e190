//! Bounded waits: for controllers that agree on a leader, for agents that are connected.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use trireme_proto::view::{ControllersView, List, NodeView};
use trireme_proto::wire::{Consistency, ControllersRequest, GetRequest};

use super::error::LocalError;
use crate::client::Client;

/// Time between looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks until `look` finds what is waited for; `Err` of it is what was seen instead.
pub(super) async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<Result<T, String>, LocalError>,
) -> Result<T, LocalError> {
    let end = Instant::now() + limit;
    loop {
        let seen = match look().await? {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        if Instant::now() >= end {
            return Err(LocalError::TooLong {
                what: what.to_owned(),
                seconds: limit.as_secs(),
                seen,
            });
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Returns the controllers if one leads and `wanted` of them answer.
pub(super) async fn controllers(client: &Client, wanted: usize) -> Result<ControllersView, String> {
    let consistency = Consistency::Stale.into();
    let reply = client.controllers(ControllersRequest { consistency }).await;
    let view = reply.map_err(|failure| failure.to_string())?.value;
    let answering = view.items.iter().filter(|one| one.role != "unreachable").count();
    if view.leader.is_some() && answering >= wanted && !view.fleet.is_empty() {
        Ok(view)
    } else {
        let leader = view.leader.map_or("nobody".to_owned(), |leader| leader.to_string());
        Err(format!("{answering} of {wanted} controllers answer, {leader} leads"))
    }
}

/// Finds out whether `wanted` nodes are ready and in sight of the leader, whom `client` asks.
pub(super) async fn nodes(client: &Client, wanted: usize) -> Result<(), String> {
    let request = GetRequest {
        kind: "node".to_owned(),
        name: String::new(),
        consistency: Consistency::Lease.into(),
    };
    let reply = client.get::<List<NodeView>>(request).await;
    let nodes = reply.map_err(|failure| failure.to_string())?.value.items;
    let is_there = |node: &&NodeView| node.state == "ready" && node.connected_to.is_some();
    let (there, out): (Vec<_>, Vec<_>) = nodes.iter().partition(is_there);
    if there.len() >= wanted {
        return Ok(());
    }
    let out = out.iter().map(|node| match &node.connected_to {
        Some(_) => format!("{} is {}", node.name, node.state),
        None => format!("{} is not connected", node.name),
    });
    let out: Vec<_> = out.collect();
    Err(format!("{} of {wanted} nodes are ready; {}", there.len(), out.join(", ")))
}
