//! The two long calls between controllers: the stream of appends, and the sending of a snapshot.
//!
//! Both may last as long as they move: an append that is due, or the next piece of a snapshot, has
//! its own limit, and silence while nothing is due is no error.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    NetSnapshot, NetStreamAppend, RPCOption, RPCTypes, stream_append_sequential,
};
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::SnapshotOf;
use openraft::{OptionalSend, Snapshot};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};
use tonic::Streaming;
use trireme_proto::wire;
use trireme_proto::wire::raft_snapshot_part::Part;

use super::network::{Client, Link, Purpose, malformed};
use super::place::blocking;
use super::snapshot::SnapshotFile;
use super::types::{
    AppendRequest, AppendResult, Types, Vote, append_to_wire, appended_from_wire, meta_to_wire,
    vote_from_wire, vote_to_wire,
};

/// How long the news that entries are committed waits for entries to go with: long enough for a
/// client's next command, and far below a heartbeat.
const COMMIT_DELAY: Duration = Duration::from_millis(1);

type Appended<'s> = BoxStream<'s, Result<AppendResult, RPCError<Types>>>;

impl NetStreamAppend<Types> for Client {
    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<Appended<'s>, RPCError<Types>>>
    where
        S: Stream<Item = AppendRequest> + OptionalSend + Unpin + 'static,
    {
        if self.purpose == Purpose::Heartbeat {
            // One question, one answer: a stream for it would only cost.
            return stream_append_sequential(self, input, option);
        }
        let (link, limit) = (Arc::clone(&self.link), option.soft_ttl());
        let patience = self.patience.max(limit);
        Box::pin(async move {
            // The library's pause after an error is a request that is not there yet. Who dialled
            // before it came would dial a member that is gone again and again, without a pause.
            let Some(first) = input.next().await else {
                // A source that ends is not asked again, and nobody has anything to say.
                return Ok(Box::pin(stream::empty()) as Appended<'s>);
            };
            let input = stream::iter([first]).chain(input);
            let mut client = link.client()?;
            let flow = Arc::new(Flow::default());
            let source = Arc::new(Mutex::new(Some(input)));
            let guard = Guard(Arc::clone(&source));
            let call = client.stream_append(link.request(requests(source, Arc::clone(&flow))));
            let replies = link.call(RPCTypes::AppendEntries, limit, call).await?;
            let session = Session { link, flow, received: 0, replies, patience, _guard: guard };
            Ok(Box::pin(stream::unfold(Some(session), Session::next)) as Appended<'s>)
        })
    }
}

/// How much went out, so that replies are waited for only when due.
#[derive(Debug, Default)]
struct Flow {
    sent: AtomicU64,
    more: Notify,
}

impl Flow {
    fn count(&self) {
        self.sent.fetch_add(1, Ordering::AcqRel);
        self.more.notify_one();
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }
}

/// Takes the requests away from the transport when the session ends.
///
/// The transport may go on polling them for a while; a request taken then would be lost, because
/// the library hands the same source to the next session.
struct Guard<S>(Arc<Mutex<Option<S>>>);

impl<S> Drop for Guard<S> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Passes on what the library wants to say.
///
/// That entries are committed is all that a request without entries says, and the next one with
/// entries says it as well: such a request waits a moment, and often need not be sent. Replies name
/// how far the logs match, so the library misses none for it.
fn requests<S>(
    source: Arc<Mutex<Option<S>>>,
    flow: Arc<Flow>,
) -> impl Stream<Item = wire::RaftAppendRequest> + Send + 'static
where
    S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
{
    let mut held: Option<(AppendRequest, Pin<Box<Sleep>>)> = None;
    stream::poll_fn(move |context| {
        let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(input) = source.as_mut() else { return Poll::Ready(None) };
        let next = loop {
            match input.poll_next_unpin(context) {
                Poll::Ready(Some(request)) if request.entries.is_empty() => {
                    let timer = held.take().map(|(_, timer)| timer);
                    held = Some((request, timer.unwrap_or_else(|| Box::pin(sleep(COMMIT_DELAY)))));
                }
                Poll::Ready(Some(request)) => {
                    held = None;
                    break Some(request);
                }
                // A source that ends is not asked again.
                Poll::Ready(None) => {
                    *source = None;
                    break held.take().map(|(request, _)| request);
                }
                Poll::Pending => {
                    let Some((_, timer)) = held.as_mut() else { return Poll::Pending };
                    ready!(timer.as_mut().poll(context));
                    break held.take().map(|(request, _)| request);
                }
            }
        };
        Poll::Ready(next.map(|request| {
            flow.count();
            append_to_wire(&request)
        }))
    })
}

/// One stream of appends with its replies.
struct Session<S> {
    link: Arc<Link>,
    flow: Arc<Flow>,
    received: u64,
    replies: Streaming<wire::RaftAppendReply>,
    patience: Duration,
    _guard: Guard<S>,
}

impl<S> Session<S> {
    /// Yields the next reply; a refusal or an error is the last.
    async fn next(
        session: Option<Self>,
    ) -> Option<(Result<AppendResult, RPCError<Types>>, Option<Self>)> {
        let mut this = session?;
        match this.reply().await {
            Ok(None) => None,
            Ok(Some(Ok(matched))) => Some((Ok(Ok(matched)), Some(this))),
            Ok(Some(refusal)) => Some((Ok(refusal), None)),
            Err(error) => Some((Err(error), None)),
        }
    }

    async fn reply(&mut self) -> Result<Option<AppendResult>, RPCError<Types>> {
        let reply = loop {
            if self.flow.sent() > self.received {
                let wait = tokio::time::timeout(self.patience, self.replies.message());
                match wait.await {
                    Ok(reply) => break reply,
                    Err(_) => return Err(self.link.late(RPCTypes::AppendEntries, self.patience)),
                }
            }
            tokio::select! {
                biased;
                reply = self.replies.message() => break reply,
                () = self.flow.more.notified() => {}
            }
        };
        match reply {
            Ok(None) => Ok(None),
            Ok(Some(reply)) => {
                self.received += 1;
                appended_from_wire(reply).map(Some).map_err(|e| malformed(&e))
            }
            Err(status) => Err(self.link.refused(RPCTypes::AppendEntries, self.patience, &status)),
        }
    }
}

impl NetSnapshot<Types> for Client {
    type SnapshotData = SnapshotFile;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Types, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let mut client = self.link.client()?;
        let mut cancel = std::pin::pin!(cancel);
        let (action, limit) = (RPCTypes::InstallSnapshot, option.soft_ttl());
        let Snapshot { meta, snapshot } = snapshot;
        // Nothing is prepared for somebody who is not there.
        let there = self.link.request(wire::IdentifyRequest {});
        self.link.call(action, limit, client.identify(there)).await?;
        let file = tokio::select! {
            biased;
            closed = &mut cancel => return Err(closed.into()),
            file = blocking(move || snapshot.whole()) => file.map_err(|error| {
                tracing::error!(%error, "a snapshot cannot be made whole for another controller");
                RPCError::Unreachable(Unreachable::new(&error))
            })?,
        };
        let flow = Arc::new(Flow::default());
        let head = wire::RaftSnapshotHead {
            vote: Some(vote_to_wire(&vote)),
            meta: Some(meta_to_wire(&meta)),
            size: file.size(),
        };
        let parts = parts(head, file, Arc::clone(&flow));
        let mut call = std::pin::pin!(client.snapshot(self.link.request(parts)));
        loop {
            let sent = flow.sent();
            let answer = tokio::select! {
                biased;
                closed = &mut cancel => return Err(closed.into()),
                answer = tokio::time::timeout(limit, &mut call) => answer,
            };
            match answer {
                Ok(Ok(reply)) => {
                    let vote = vote_from_wire(reply.into_inner().vote);
                    return Ok(SnapshotResponse::new(vote.map_err(|e| malformed(&e))?));
                }
                Ok(Err(status)) => return Err(self.link.refused(action, limit, &status).into()),
                Err(_) if flow.sent() == sent => return Err(self.link.late(action, limit).into()),
                Err(_) => {}
            }
        }
    }
}

/// The head, then the file chunk by chunk. A file that cannot be read ends the stream early, which
/// the receiver notices by its size.
fn parts(
    head: wire::RaftSnapshotHead,
    file: SnapshotFile,
    flow: Arc<Flow>,
) -> impl Stream<Item = wire::RaftSnapshotPart> + Send + 'static {
    let rest = stream::unfold((file, 0), move |(file, offset)| {
        let flow = Arc::clone(&flow);
        async move {
            let source = file.clone();
            let chunk = match blocking(move || source.chunk(offset)).await {
                Ok(chunk) if !chunk.is_empty() => chunk,
                Ok(_) => return None,
                Err(error) => {
                    tracing::error!(%error, "a snapshot cannot be read");
                    return None;
                }
            };
            flow.count();
            let next = offset + chunk.len() as u64;
            let part = Part::Data(chunk.into());
            Some((wire::RaftSnapshotPart { part: Some(part) }, (file, next)))
        }
    });
    let head = wire::RaftSnapshotPart { part: Some(Part::Head(head)) };
    stream::once(std::future::ready(head)).chain(rest)
}
