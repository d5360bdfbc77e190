//! One question to each of many nodes, answered by one document each, within one time for all.
//!
//! A node that does not answer costs the others nothing: what there is when the time is up is what
//! an operator gets, with the reason for each node that is missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};
use trireme_proto::id::NodeId;
use trireme_proto::query::{DOCUMENT_BYTES_MAX, Ended, Question};
use trireme_proto::time::Span;

use super::{Part, Place, Queries, Reply};

/// Nodes that are asked at the same time: what their answers may take of memory, and half of what
/// one controller may have under way.
const AT_ONCE: usize = 256;

/// Longest that all of it may take: shorter than an operator waits for one controller.
const POLL_MAX: Duration = Duration::from_secs(4);

/// What each node answered, or why it did not.
pub type Answers<T> = BTreeMap<NodeId, Result<T, String>>;

/// Asks nodes, each its own question.
pub async fn poll<T: DeserializeOwned>(
    queries: &Arc<Queries>,
    questions: Vec<(NodeId, Question)>,
) -> Answers<T> {
    let until = Instant::now() + POLL_MAX;
    let nodes: Vec<NodeId> = questions.iter().map(|(node, _)| node.clone()).collect();
    let places = queries.locate(&nodes).await;
    let asked = questions.into_iter().map(|(node, question)| {
        let place = places.get(&node).cloned();
        async move {
            let answer = match place {
                None => Err("it is not connected to any controller".to_owned()),
                Some(place) => timeout_at(until, one(queries, &node, &place, &question))
                    .await
                    .unwrap_or_else(|_| Err(format!("it did not answer within {POLL_MAX:?}"))),
            };
            (node, answer)
        }
    });
    stream::iter(asked).buffer_unordered(AT_ONCE).collect().await
}

/// Asks one node and puts its answer together.
async fn one<T: DeserializeOwned>(
    queries: &Queries,
    node: &NodeId,
    place: &Place,
    question: &Question,
) -> Result<T, String> {
    let limit = Span(u64::try_from(POLL_MAX.as_millis()).unwrap_or(u64::MAX));
    let reply = queries.ask(node, place, question, limit).await;
    let json = whole(&mut reply.map_err(|problem| problem.message)?).await?;
    serde_json::from_slice(&json).map_err(|error| format!("its answer cannot be read: {error}"))
}

async fn whole(reply: &mut Reply) -> Result<Vec<u8>, String> {
    let mut json = Vec::new();
    loop {
        match reply.next().await {
            Some(Part::Chunk { data, .. }) if json.len() + data.len() <= DOCUMENT_BYTES_MAX => {
                json.extend_from_slice(&data);
            }
            Some(Part::Chunk { .. }) => return Err("its answer is too long".to_owned()),
            Some(Part::End(Ended { problem: None })) => return Ok(json),
            Some(Part::End(Ended { problem: Some(problem) })) => return Err(problem.message),
            None => return Err("the way to it broke".to_owned()),
        }
    }
}
