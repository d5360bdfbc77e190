//! Where an answer goes: as much of it as the reader has room for, and no more.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use trireme_proto::query::{CHUNK_BYTES_GOOD, CHUNK_BYTES_MAX, Ended};
use trireme_proto::wire::agent_message::Is as Said;
use trireme_proto::wire::{AgentMessage, QueryChunk, QueryEnd};

/// Credit that one message may add, and that may be there at all: what a reader could ever use.
const CREDIT_MAX: u32 = 64;

/// The stream to the controller has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream to the controller has ended")]
pub struct Closed;

/// Where one answer goes.
#[derive(Debug, Clone)]
pub struct Outlet {
    number: u64,
    credit: Arc<Semaphore>,
    answers: mpsc::Sender<AgentMessage>,
}

impl Outlet {
    /// Makes the outlet of question `number`, which may send `credit` parts at first.
    pub(crate) fn new(number: u64, credit: u32, answers: mpsc::Sender<AgentMessage>) -> Self {
        let credit = Arc::new(Semaphore::new(credit.min(CREDIT_MAX) as usize));
        Self { number, credit, answers }
    }

    /// Lets it send more.
    pub(super) fn credit(&self, chunks: u32) {
        let room = (CREDIT_MAX as usize).saturating_sub(self.credit.available_permits());
        self.credit.add_permits((chunks as usize).min(room));
    }

    /// Sends a value as JSON, once the reader has room for it.
    pub async fn send<T: Serialize>(&self, part: &T) -> Result<(), Closed> {
        let json = serde_json::to_vec(part).expect("parts of answers are plain values");
        self.send_bytes(0, json.into()).await
    }

    /// Sends a value that may be too large for one part; the reader puts the parts together.
    pub async fn send_whole<T: Serialize>(&self, value: &T) -> Result<(), Closed> {
        let json = serde_json::to_vec(value).expect("answers are plain values");
        let mut json = Bytes::from(json);
        while !json.is_empty() {
            let part = json.split_to(json.len().min(CHUNK_BYTES_GOOD));
            self.send_bytes(0, part).await?;
        }
        Ok(())
    }

    /// Sends bytes, once the reader has room for them.
    pub async fn send_bytes(&self, stream: u32, data: Bytes) -> Result<(), Closed> {
        debug_assert!(data.len() <= CHUNK_BYTES_MAX, "{} bytes are too many", data.len());
        self.credit.acquire().await.map_err(|_| Closed)?.forget();
        self.say(Said::QueryChunk(QueryChunk { number: self.number, data, stream })).await
    }

    /// Says that the answer has ended; for that there is always room.
    pub(super) async fn end(&self, ended: &Ended) -> Result<(), Closed> {
        let end = serde_json::to_vec(ended).expect("an end is plain values").into();
        self.say(Said::QueryEnd(QueryEnd { number: self.number, end })).await
    }

    async fn say(&self, said: Said) -> Result<(), Closed> {
        self.answers.send(AgentMessage { is: Some(said) }).await.map_err(|_| Closed)
    }
}
