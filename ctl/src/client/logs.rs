//! Lines of services, over whichever controller lives.
//!
//! ```text
//! connect ──▶ events ──▶ End
//!    ▲          │ stream breaks, or its time is up
//!    └── Lost ──┘          (asked again from where each source was left off)
//! ```

use tonic::Streaming;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::query::{LogEvent, LogsRequest};
use trireme_proto::wire::queries_client::QueriesClient;
use trireme_proto::wire::{Event, ServiceLogsRequest};

use super::{Client, PAUSE_FIRST, PAUSE_MAX, Patience};
use crate::error::{Failure, caused};

/// What reading brings.
#[derive(Debug)]
pub enum Heard {
    /// Something that a controller told.
    Event(LogEvent),
    /// The controller that told us is gone for this reason; another one is being asked.
    Lost {
        /// Address of the controller.
        address: String,
        /// Why it is gone.
        why: String,
    },
}

/// Lines that are being read.
#[derive(Debug)]
pub struct Logs<'a> {
    client: &'a Client,
    request: LogsRequest,
    stream: Option<(Streaming<Event>, String)>,
    ended: bool,
    empty: u32,
}

impl Client {
    /// Reads what services wrote.
    pub fn logs(&self, request: LogsRequest) -> Logs<'_> {
        Logs { client: self, request, stream: None, ended: false, empty: 0 }
    }
}

impl Logs<'_> {
    /// Returns what happens next; nothing more after the end.
    pub async fn next(&mut self) -> Result<Option<Heard>, Failure> {
        if self.ended {
            return Ok(None);
        }
        loop {
            let Some((stream, address)) = &mut self.stream else {
                self.connect().await?;
                continue;
            };
            let end = match stream.message().await {
                Ok(Some(event)) => return Ok(Some(Heard::Event(self.take(&event)?))),
                Ok(None) => Ok(()),
                Err(status) => Err(status),
            };
            let address = std::mem::take(address);
            let why = self.client.broke_off(&address, end, &mut self.empty)?;
            self.stream = None;
            return Ok(Some(Heard::Lost { address, why }));
        }
    }

    async fn connect(&mut self) -> Result<(), Problem> {
        let began = self.empty > 0 || !self.request.from.is_empty();
        let patience = if began { Patience::Deadline } else { Patience::Rounds };
        tokio::time::sleep((PAUSE_FIRST * self.empty).min(PAUSE_MAX)).await;
        let request = serde_json::to_vec(&self.request).expect("a request is plain values");
        let request = ServiceLogsRequest { request: request.into() };
        let call = async |door| QueriesClient::new(door).service_logs(request.clone()).await;
        self.stream = Some(self.client.ask(patience, call).await?);
        Ok(())
    }

    /// Reads an event, and remembers how far each source was read.
    fn take(&mut self, event: &Event) -> Result<LogEvent, Problem> {
        let event: LogEvent = serde_json::from_slice(&event.json).map_err(|error| {
            let message = "a controller answered in another form";
            caused(Problem::new(Code::Failed, message), &error)
                .hint("it may be of another version: compare `trictl version` with its own")
        })?;
        self.empty = 0;
        match &event {
            LogEvent::Lines { lines } => {
                for line in lines {
                    self.request.from.insert(line.source(), line.line.cursor.clone());
                }
            }
            LogEvent::Notice { .. } => {}
            LogEvent::End { .. } => self.ended = true,
        }
        Ok(event)
    }
}
