//! Watching an upgrade to its end, over whichever controller lives.
//!
//! ```text
//! connect ──▶ views ──▶ final phase: end
//!    ▲          │ stream breaks, or a controller leaves
//!    └── Lost ──┘          (views that repeat the last one are left out)
//! ```

use tonic::Streaming;
use trireme_proto::problem::Problem;
use trireme_proto::view::UpgradeView;
use trireme_proto::wire::operator_client::OperatorClient;
use trireme_proto::wire::{Document, WatchUpgradeRequest};

use super::{Client, DOCUMENT_LEN_MAX, PAUSE_FIRST, PAUSE_MAX, Patience, Reply};
use crate::error::Failure;

/// What watching brings.
#[derive(Debug)]
pub enum Event {
    /// The upgrade, at first and after each change.
    View(Box<Reply<UpgradeView>>),
    /// The controller that told us is gone for this reason; another one is being asked.
    Lost {
        /// Address of the controller.
        address: String,
        /// Why it is gone.
        why: String,
    },
}

/// An upgrade under watch.
#[derive(Debug)]
pub struct Watch<'a> {
    client: &'a Client,
    upgrade: String,
    stream: Option<(Streaming<Document>, String)>,
    last: Option<UpgradeView>,
    empty: u32,
}

impl Client {
    /// Watches an upgrade, or the newest one of a service.
    pub fn watch_upgrade(&self, upgrade: &str) -> Watch<'_> {
        Watch { client: self, upgrade: upgrade.to_owned(), stream: None, last: None, empty: 0 }
    }
}

impl Watch<'_> {
    /// Returns what happens next; nothing more once the upgrade has ended.
    pub async fn next(&mut self) -> Result<Option<Event>, Failure> {
        if self.last.as_ref().is_some_and(|view| view.phase.is_final()) {
            return Ok(None);
        }
        loop {
            let Some((stream, address)) = &mut self.stream else {
                self.connect().await?;
                continue;
            };
            let end = match stream.message().await {
                Ok(Some(document)) => {
                    self.client.learn(&document);
                    let reply: Reply<UpgradeView> = Reply::read(&document)?;
                    if self.last.as_ref() == Some(&reply.value) {
                        continue;
                    }
                    self.empty = 0;
                    // A service's name means its newest upgrade; a reconnect must not jump to one
                    // that was started since.
                    self.upgrade = reply.value.id.to_string();
                    self.last = Some(reply.value.clone());
                    return Ok(Some(Event::View(Box::new(reply))));
                }
                Ok(None) => Ok(()),
                Err(status) => Err(status),
            };
            let address = std::mem::take(address);
            let why = self.client.broke_off(&address, end, &mut self.empty)?;
            self.stream = None;
            return Ok(Some(Event::Lost { address, why }));
        }
    }

    async fn connect(&mut self) -> Result<(), Problem> {
        // Nothing was seen yet: the operator waits for a first answer, as with any request.
        let patience = if self.last.is_some() { Patience::Deadline } else { Patience::Rounds };
        // Several that end at once must not make a busy loop.
        tokio::time::sleep((PAUSE_FIRST * self.empty).min(PAUSE_MAX)).await;
        let request = WatchUpgradeRequest { upgrade: self.upgrade.clone() };
        let call = async |door| {
            OperatorClient::new(door)
                .max_decoding_message_size(DOCUMENT_LEN_MAX)
                .watch_upgrade(request.clone())
                .await
        };
        self.stream = Some(self.client.ask(patience, call).await?);
        Ok(())
    }
}
