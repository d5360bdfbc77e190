//! Questions to nodes: finding the controller that a node is connected to, asking, and bringing
//! the answers together.
//!
//! ```text
//!  api/queries.rs ─▶ logs ─▶ Queries::ask ─┬─▶ desk of the node's stream here
//!               │     ▲            ▲       └─▶ relay: another controller, and the desk there
//!               │   merge          │
//!               └────▶ poll, exec ─┘
//! ```
//!
//! Every hop passes on only what the next one has room for, so a slow reader slows the agent's
//! reading and nothing else; a reader that leaves ends the answer at every hop.

mod desk;
mod exec;
mod logs;
mod merge;
mod poll;
mod relay;
mod targets;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Streaming;
use trireme_proto::id::{ControllerId, NodeId};
use trireme_proto::problem::{Code, Problem};
use trireme_proto::query::{Ended, Question};
use trireme_proto::time::Span;
use trireme_proto::tls::Credentials;
use trireme_proto::wire::AskPart;

pub use desk::{Answer, Asked, Desk, Part};
pub use exec::{Order, run as run_program};
pub use logs::{Sources, read as read_logs};
pub use poll::{Answers, poll};
pub use targets::Targets;

use crate::brain::Brain;
use relay::Relay;

/// Questions that one controller has under way for operators: with what each may hold of its
/// answer, some hundred megabytes at the very worst.
const QUESTIONS_MAX: usize = 512;

/// Asks nodes.
#[derive(Debug)]
pub struct Queries {
    brain: Arc<Brain>,
    relay: Relay,
    places: Arc<Semaphore>,
}

/// Where a node is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// To this controller.
    Here,
    /// To another one.
    There(ControllerId),
}

impl Queries {
    /// Asks the nodes of `brain`'s fleet.
    pub fn new(brain: Arc<Brain>, credentials: Credentials) -> Arc<Self> {
        let relay = Relay::new(credentials);
        Arc::new(Self { brain, relay, places: Arc::new(Semaphore::new(QUESTIONS_MAX)) })
    }

    /// Returns what the parts of the controller share.
    pub fn brain(&self) -> &Arc<Brain> {
        &self.brain
    }

    /// Finds out where nodes are connected; those that no controller has are left out.
    ///
    /// A node that two claim is where it was heard from last: the other has not noticed yet.
    pub async fn locate(&self, nodes: &[NodeId]) -> BTreeMap<NodeId, Place> {
        let mut found: BTreeMap<NodeId, (Span, Place)> = BTreeMap::new();
        for node in nodes {
            if let Some((_, age)) = self.brain.sessions.desk(node) {
                found.insert(node.clone(), (age, Place::Here));
            }
        }
        for (controller, located) in self.relay.locate(&self.brain, nodes).await {
            for (node, age) in located {
                if found.get(&node).is_none_or(|(known, _)| age < *known) {
                    found.insert(node, (age, Place::There(controller.clone())));
                }
            }
        }
        found.into_iter().map(|(node, (_, place))| (node, place)).collect()
    }

    /// Asks one node; what it answers comes with [`Reply::next`].
    pub async fn ask(
        &self,
        node: &NodeId,
        place: &Place,
        question: &Question,
        limit: Span,
    ) -> Result<Reply, Problem> {
        let busy = |_| {
            let message = format!("this controller has {QUESTIONS_MAX} questions under way");
            Problem::new(Code::Conflict, message).hint("ask again, or ask of fewer nodes")
        };
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(busy)?;
        let question = serde_json::to_vec(question).expect("a question is plain values").into();
        let from = match place {
            Place::Here => {
                let (desk, _) = self.brain.sessions.desk(node).ok_or_else(|| elsewhere(node))?;
                From::Here(desk.begin(question, limit)?)
            }
            Place::There(controller) => {
                let parts = self.relay.ask(&self.brain, controller, node, question, limit).await?;
                From::There(Box::new(parts))
            }
        };
        Ok(Reply { from, _place: permit })
    }
}

/// Returns the problem of a node that has just left.
pub fn elsewhere(node: &NodeId) -> Problem {
    let message = format!("{node} is not connected here");
    Problem { retryable: true, ..Problem::new(Code::Unreachable, message) }
}

/// What a node answers, as it comes. Dropping it takes the question back.
#[derive(Debug)]
pub struct Reply {
    from: From,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum From {
    Here(Answer),
    There(Box<Streaming<AskPart>>),
}

impl Reply {
    /// Returns what comes next; `None` if the way to the node broke.
    pub async fn next(&mut self) -> Option<Part> {
        match &mut self.from {
            From::Here(answer) => answer.next().await,
            From::There(parts) => {
                let part = parts.message().await.ok().flatten()?;
                if part.end.is_empty() {
                    return Some(Part::Chunk { stream: part.stream, data: part.data });
                }
                let ended: Option<Ended> = serde_json::from_slice(&part.end).ok();
                ended.map(Part::End)
            }
        }
    }
}
