//! One stream to one controller, from hello to its end.
//!
//! Every wait has a limit. A connection that has gone silent is noticed by the pings of HTTP/2
//! (`proto/src/channel.rs`): a hung controller answers none.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::OptionFuture;
use futures_util::stream::{PollNext, select_with_strategy};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use tracing::{debug, info, warn};
use trireme_proto::action::Samples;
use trireme_proto::channel::{ChannelOptions, channel};
use trireme_proto::key::SecretKey;
use trireme_proto::wire::agent_client::AgentClient;
use trireme_proto::wire::agent_message::Is as Said;
use trireme_proto::wire::controller_message::Is as Told;
use trireme_proto::wire::{AgentMessage, ControllerMessage, RenewRequest, Welcome};
use trireme_proto::wire::{Heartbeat, Hello, Reports};

use super::join::certificates;
use super::nonce::{NONCE_LEN, Nonces};
use super::store::Told as Controllers;
use super::{AGENT_VERSION, Heard, Link, MESSAGE_LEN_MAX};
use crate::clock;
use crate::query::Queries;

/// Longest wait for the stream to open and for the welcome, each. All of the first may go into
/// connecting: where thousands come at once, it is waiting for its turn that takes the time.
pub const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for room in a stream that the controller does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages waiting for the network; more means that the controller does not read.
const OUTBOX: usize = 8;
/// Parts of answers waiting for the network; the rest waits where it is read.
const ANSWERS: usize = 2;
/// Shortest time between two heartbeats: a service that flaps must not flood the controllers.
const BEAT_GAP_MIN: Duration = Duration::from_millis(50);
/// What a controller may ask for as the time between heartbeats.
const BEAT_MS: std::ops::RangeInclusive<u32> = 50..=30_000;
/// Reports that are not acknowledged for so long are said again.
const RESEND_AFTER: Duration = Duration::from_secs(5);
/// Most reports in one message.
const REPORTS_PER_MESSAGE: usize = 64;
/// Longest wait for a renewed certificate.
const RENEW_TIMEOUT: Duration = Duration::from_secs(10);
/// Time to the next try when a renewal has failed; a third of a certificate's life is left then.
const RENEW_RETRY: Duration = Duration::from_mins(1);
/// Longest sleep until the wall clock is looked at again: it may be set.
const WALL_LOOK: Duration = Duration::from_mins(10);

/// Why a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Nobody listens to the link any more.
    Unheard,
    /// The controller asked to go elsewhere.
    Left(String),
    /// The connection is gone, or never was.
    Lost(String),
    /// A new certificate is to be used from now on.
    Renewed,
}

/// Opens a session and holds it; tells also whether the controller had said welcome.
pub(super) async fn run(link: &mut Link, address: &str) -> (Ended, bool) {
    match open(link, address).await {
        Ok(mut session) => (session.hold(link).await, true),
        Err(ended) => (ended, false),
    }
}

struct Session {
    client: AgentClient<Channel>,
    outbox: mpsc::Sender<AgentMessage>,
    queries: Queries,
    inbox: Streaming<ControllerMessage>,
    nonces: Nonces,
    beat_every: Duration,
    beat_due: Instant,
    beat_last: Instant,
    /// Newest report said in this session.
    said: u64,
    again: u64,
    resend_due: Instant,
    renew_due: Instant,
}

async fn open(link: &mut Link, address: &str) -> Result<Session, Ended> {
    let lost = |what: &str| Ended::Lost(what.to_owned());
    let options = ChannelOptions { connect_timeout: WELCOME_TIMEOUT, ..ChannelOptions::default() };
    let channel = channel(address, &link.store.accepted(), &link.credentials, &options)
        .map_err(|error| Ended::Lost(error.to_string()))?;
    let mut client = AgentClient::new(channel)
        .max_decoding_message_size(MESSAGE_LEN_MAX)
        .max_encoding_message_size(MESSAGE_LEN_MAX);
    let mut nonces = Nonces::default();
    let first = beat(&mut nonces, link)?;
    let hello = Hello {
        agent_version: AGENT_VERSION.to_owned(),
        incarnation: link.hello.incarnation.clone(),
        boot_id: link.hello.boot_id.clone(),
        first: Some(first),
    };
    let (outbox, outgoing) = mpsc::channel(OUTBOX);
    let (answers, answered) = mpsc::channel(ANSWERS);
    // Heartbeats and reports go first, whatever waits of answers.
    let outgoing = select_with_strategy(
        ReceiverStream::new(outgoing),
        ReceiverStream::new(answered),
        |(): &mut ()| PollNext::Left,
    );
    let hello = AgentMessage { is: Some(Said::Hello(hello)) };
    outbox.try_send(hello).map_err(|_| lost("the stream is full before it began"))?;
    let opening = timeout(WELCOME_TIMEOUT, client.session(outgoing)).await;
    let mut inbox = opening
        .map_err(|_| lost("no stream within 5 s"))?
        .map_err(|status| Ended::Lost(super::reason(&status)))?
        .into_inner();
    let first = timeout(WELCOME_TIMEOUT, inbox.message())
        .await
        .map_err(|_| lost("no welcome within 5 s"))?
        .map_err(|status| Ended::Lost(super::reason(&status)))?;
    let welcome = match first.and_then(|message| message.is) {
        Some(Told::Welcome(welcome)) => welcome,
        Some(Told::Leave(leave)) => return Err(Ended::Left(leave.reason)),
        Some(_) | None => {
            return Err(lost("the controller did not say welcome"));
        }
    };
    let beat_ms = welcome.heartbeat_ms.clamp(*BEAT_MS.start(), *BEAT_MS.end());
    let beat_every = Duration::from_millis(u64::from(beat_ms));
    let now = Instant::now();
    welcomed(link, address, welcome).await?;
    Ok(Session {
        client,
        outbox,
        queries: Queries::new(Arc::clone(&link.respond), answers),
        inbox,
        nonces,
        beat_every,
        beat_due: now + beat_every,
        beat_last: now,
        said: 0,
        again: link.unacked.borrow().again,
        resend_due: now + RESEND_AFTER,
        renew_due: now + until_renewal(link),
    })
}

/// Takes in what a controller says first.
async fn welcomed(link: &mut Link, address: &str, welcome: Welcome) -> Result<(), Ended> {
    info!(%address, controller = %welcome.controller, "connected");
    remember(link, &Controllers::of(welcome.list, welcome.controllers));
    let heard = Heard::Welcome { controller: welcome.controller, address: welcome.address };
    link.heard.send(heard).await.map_err(|_| Ended::Unheard)
}

/// Remembers where the controllers are, for the next time that one is looked for.
fn remember(link: &Link, controllers: &Controllers) {
    if let Err(error) = link.store.save_controllers(controllers) {
        warn!(error = &error as &dyn std::error::Error, "controllers are not remembered");
    }
}

impl Session {
    /// Speaks and listens until the session ends.
    async fn hold(&mut self, link: &mut Link) -> Ended {
        link.outlook.mark_unchanged();
        link.unacked.mark_changed();
        let mut renewal = OptionFuture::from(None);
        loop {
            let step = tokio::select! {
                message = self.inbox.message() => match message {
                    Ok(Some(message)) => self.hear(link, message).await,
                    Ok(None) => Err(Ended::Lost("closed by the controller".to_owned())),
                    Err(status) => Err(Ended::Lost(super::reason(&status))),
                },
                changed = link.outlook.changed() => match changed {
                    Ok(()) => {
                        self.beat_due = self.beat_due.min(self.beat_last + BEAT_GAP_MIN);
                        Ok(())
                    }
                    Err(_) => Err(Ended::Unheard),
                },
                () = sleep_until(self.beat_due) => self.beat(link).await,
                changed = link.unacked.changed() => match changed {
                    Ok(()) => self.report(link, false).await,
                    Err(_) => Err(Ended::Unheard),
                },
                () = sleep_until(self.resend_due) => self.report(link, true).await,
                () = sleep_until(self.renew_due) => {
                    let left = until_renewal(link);
                    if left.is_zero() {
                        renewal = Some(Box::pin(ask(self.client.clone()))).into();
                    }
                    // Not before this try has ended.
                    self.renew_due = Instant::now() + left.max(RENEW_RETRY);
                    Ok(())
                }
                () = self.queries.ended() => Ok(()),
                Some(renewed) = &mut renewal => {
                    renewal = None.into();
                    self.renewed(link, renewed)
                }
                () = link.heard.closed() => Err(Ended::Unheard),
            };
            if let Err(ended) = step {
                return ended;
            }
        }
    }

    async fn hear(&mut self, link: &mut Link, message: ControllerMessage) -> Result<(), Ended> {
        let unreadable = |what, error| Ended::Lost(format!("the controller sent {what}: {error}"));
        let heard = match message.is {
            Some(Told::Offer(offer)) => {
                let action = serde_json::from_slice(&offer.action)
                    .map_err(|error| unreadable("an action that cannot be read", error))?;
                let nonce_age = self.nonces.age(clock::boottime(), &offer.nonce);
                Heard::Offer { action, nonce_age }
            }
            Some(Told::Ack(ack)) => {
                debug!(seq = ack.seq, index = ack.index, "reports are committed");
                self.resend_due = Instant::now() + RESEND_AFTER;
                Heard::Acked(ack.seq)
            }
            Some(Told::Assignments(list)) => Heard::Assigned(
                serde_json::from_slice(&list.assignments)
                    .map_err(|error| unreadable("assignments that cannot be read", error))?,
            ),
            Some(Told::Leave(leave)) => return Err(Ended::Left(leave.reason)),
            Some(Told::Controllers(list)) => {
                remember(link, &Controllers::of(Some(list), Vec::new()));
                return Ok(());
            }
            Some(Told::Query(query)) => {
                self.queries.begin(&query);
                return Ok(());
            }
            Some(Told::QueryCredit(credit)) => {
                self.queries.credit(&credit);
                return Ok(());
            }
            Some(Told::QueryCancel(cancel)) => {
                self.queries.cancel(cancel);
                return Ok(());
            }
            // What a later version says besides is for later agents.
            Some(Told::Welcome(_)) | None => return Ok(()),
        };
        link.heard.send(heard).await.map_err(|_| Ended::Unheard)
    }

    async fn beat(&mut self, link: &mut Link) -> Result<(), Ended> {
        let heartbeat = beat(&mut self.nonces, link)?;
        self.beat_last = Instant::now();
        self.beat_due = self.beat_last + self.beat_every;
        self.say(Said::Heartbeat(heartbeat)).await
    }

    /// Says the reports that were not said in this session, or all of them.
    async fn report(&mut self, link: &mut Link, all: bool) -> Result<(), Ended> {
        let unacked = link.unacked.borrow_and_update().clone();
        if all || unacked.again != self.again {
            self.said = 0;
        }
        self.again = unacked.again;
        let fresh = unacked.reports.partition_point(|report| report.seq <= self.said);
        if self.said == 0 || fresh < unacked.reports.len() {
            self.resend_due = Instant::now() + RESEND_AFTER;
        }
        for reports in unacked.reports[fresh..].chunks(REPORTS_PER_MESSAGE) {
            self.said = reports.last().map_or(self.said, |report| report.seq);
            self.say(Said::Reports(Reports { reports: json(&reports) })).await?;
        }
        Ok(())
    }

    async fn say(&self, said: Said) -> Result<(), Ended> {
        let message = AgentMessage { is: Some(said) };
        match timeout(SEND_TIMEOUT, self.outbox.send(message)).await {
            // If it failed, the reason follows from the other half of the stream.
            Ok(_) => Ok(()),
            Err(_) => Err(Ended::Lost("the controller does not read".to_owned())),
        }
    }

    fn renewed(
        &mut self,
        link: &mut Link,
        renewed: Result<(Vec<Bytes>, SecretKey), String>,
    ) -> Result<(), Ended> {
        let taken = renewed.and_then(|(chain, key)| {
            let chain = certificates(&chain);
            link.credentials.replace(chain.clone(), &key).map_err(|error| error.to_string())?;
            if let Err(error) = link.store.save(&chain, &key) {
                warn!(error = &error as &dyn std::error::Error, "renewed identity is not stored");
            }
            Ok(())
        });
        match taken {
            Ok(()) => {
                info!(until = %link.credentials.verified().not_after, "certificate renewed");
                Err(Ended::Renewed)
            }
            Err(reason) => {
                warn!(reason, "certificate was not renewed");
                self.renew_due = Instant::now() + RENEW_RETRY;
                Ok(())
            }
        }
    }
}

/// Makes a heartbeat with a fresh nonce.
fn beat(nonces: &mut Nonces, link: &mut Link) -> Result<Heartbeat, Ended> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce)
        .map_err(|error| Ended::Lost(format!("no random bytes: {error}")))?;
    nonces.sent(clock::boottime(), nonce);
    let outlook = link.outlook.borrow_and_update();
    Ok(Heartbeat {
        nonce: Bytes::copy_from_slice(&nonce),
        epoch: outlook.epoch,
        generation: outlook.generation,
        observed: json(&outlook.observed),
        samples: some_json(&link.samples.borrow()),
    })
}

/// Returns the JSON of what is there; nothing at all if there is nothing.
fn some_json(samples: &Samples) -> Bytes {
    if samples.is_empty() { Bytes::new() } else { json(samples) }
}

async fn ask(mut client: AgentClient<Channel>) -> Result<(Vec<Bytes>, SecretKey), String> {
    let key = SecretKey::generate().map_err(|error| error.to_string())?;
    let csr = key.request().map_err(|error| error.to_string())?.into();
    match timeout(RENEW_TIMEOUT, client.renew(RenewRequest { csr })).await {
        Ok(Ok(reply)) => Ok((reply.into_inner().chain, key)),
        Ok(Err(status)) => Err(super::reason(&status)),
        Err(_) => Err(format!("no answer within {RENEW_TIMEOUT:?}")),
    }
}

/// Returns how long to wait until the certificate is to be renewed, or looked at again.
fn until_renewal(link: &Link) -> Duration {
    let due = link.credentials.verified().renew_at(link.draw);
    Duration::from_millis(due.0.saturating_sub(clock::wall().0)).min(WALL_LOOK)
}

fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).expect("our values have string keys and no failing parts").into()
}
