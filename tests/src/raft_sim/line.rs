//! A line from one member to another: what stands for HTTP/2 over TCP in a simulation.
//!
//! Calls of one message can be lost, doubled and overtake each other, on the way and back. Streams
//! keep their order, as they do over TCP: what is lost there comes later, and a way that is cut for
//! long ends them. Who calls may give up; whether the other side then stops too is chance.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service as _, http};
use trireme_controller::raft::{Dial, DialError, Line, Member, PeerIdentity, Position};
use trireme_proto::wire;
use trireme_proto::wire::raft_append_reply::Result as Appended;

use super::net::{End, Net, Promise, Way};
use super::world::spawn;

/// When HTTP/2's pings, sent as often as controllers send them, have noticed that nothing comes
/// back: two seconds until one is sent, and two more.
const KEEPALIVE: Duration = Duration::from_secs(4);

/// When TCP sends again what was lost.
const RETRANSMIT: Duration = Duration::from_millis(200);

/// Frames on the way in one direction of a stream.
const FRAMES: usize = 32;

type Piece = Result<Frame<Bytes>, Status>;

/// Makes the lines of one incarnation of a member.
#[derive(Debug)]
pub struct Lines {
    /// The network.
    pub net: Arc<Net>,
    /// Who calls.
    pub from: u64,
    /// Goes with the caller's power.
    pub power: CancellationToken,
}

impl Dial for Lines {
    fn line(&self, member: &Member) -> Result<Line, DialError> {
        let wire = Wire {
            net: Arc::clone(&self.net),
            from: self.from,
            to: member.id,
            power: self.power.clone(),
        };
        Ok(Line::new(tower::service_fn(move |request| {
            let wire = wire.clone();
            let call: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(wire.call(request));
            call
        })))
    }
}

#[derive(Clone)]
struct Wire {
    net: Arc<Net>,
    from: u64,
    to: u64,
    power: CancellationToken,
}

impl Wire {
    async fn call(self, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        match method.as_str() {
            "StreamAppend" | "Snapshot" | "Confirm" => self.stream(request).await,
            _ => self.ask(&method, request).await,
        }
    }

    fn there(&self) -> Way {
        (self.from, self.to)
    }

    fn back(&self) -> Way {
        (self.to, self.from)
    }

    /// Returns whether a message arrives, when it does.
    async fn travels(&self, way: Way) -> bool {
        let fate = self.net.fate(way);
        tokio::time::sleep(fate.delay).await;
        !fate.lost && !self.net.is_cut(way) && !self.power.is_cancelled()
    }

    /// Returns who answers at the other end. Where nobody is, somebody may say so.
    async fn reach(&self) -> Result<End, Status> {
        if !self.travels(self.there()).await {
            return Err(silence().await);
        }
        if let Some(end) = self.net.end(self.to) {
            return Ok(end);
        }
        if self.net.chance(500) && self.travels(self.back()).await {
            return Err(Status::unavailable("connection refused"));
        }
        Err(silence().await)
    }

    async fn ask(
        &self,
        method: &str,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let message = body.collect().await?.to_bytes();
        let again = self.net.fate(self.there()).again;
        let end = self.reach().await?;
        let asked = |end: &End| {
            let mut request = http::Request::builder()
                .method(parts.method.clone())
                .uri(parts.uri.clone())
                .body(Body::new(Full::new(message.clone())))
                .expect("it was one before");
            *request.headers_mut() = parts.headers.clone();
            request.extensions_mut().insert(self.identity());
            answer(end.clone(), request)
        };
        if let Some(later) = again {
            let (repeated, way, net) = (asked(&end), self.there(), Arc::clone(&self.net));
            spawn(async move {
                tokio::time::sleep(later).await;
                if !net.is_cut(way) {
                    // Nobody waits for what is answered the second time.
                    drop(repeated.await);
                }
            });
        }
        let mut serving = AbortOnDropHandle::new(spawn(asked(&end)));
        let answered =
            if self.net.chance(500) { (&mut serving).await } else { serving.detach().await };
        let (head, reply, trailers) = answered.map_err(|e| Status::internal(e.to_string()))??;
        if end.power.is_cancelled() {
            return Err(silence().await);
        }
        self.hear(method, &message, &reply);
        if !self.travels(self.back()).await {
            return Err(silence().await);
        }
        let frames = [Some(Frame::data(reply)), trailers.map(Frame::trailers)];
        let frames = frames.into_iter().flatten().map(Piece::Ok);
        let body = StreamBody::new(tokio_stream::iter(frames));
        Ok(http::Response::from_parts(head, Body::new(body)))
    }

    fn identity(&self) -> PeerIdentity {
        PeerIdentity { name: format!("c{}", self.from) }
    }

    /// Remembers what the other side has bound itself to by its answer.
    fn hear(&self, method: &str, message: &Bytes, reply: &Bytes) {
        match method {
            "Append" => self.hear_appended(reply),
            "Vote" => {
                let asked = messages::<wire::RaftVoteRequest>(message).into_iter().next();
                let granted = messages::<wire::RaftVoteReply>(reply).iter().any(|r| r.granted);
                let asked = asked.filter(|asked| !asked.pre && granted);
                if let Some(vote) = asked.and_then(|asked| asked.vote) {
                    self.net.hear(self.to, Promise::Voted(vote.term, vote.node));
                }
            }
            _ => {}
        }
    }

    fn hear_appended(&self, reply: &Bytes) {
        for reply in messages::<wire::RaftAppendReply>(reply) {
            let Some(Appended::Matched(wire::RaftMatched { id: Some(id) })) = reply.result else {
                continue;
            };
            let at = Position { index: id.index, term: id.term, leader: id.leader };
            self.net.hear(self.to, Promise::Holds(at));
        }
    }

    async fn stream(self, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
        let (mut parts, body) = request.into_parts();
        let end = self.reach().await?;
        let (up, received) = mpsc::channel(FRAMES);
        let upward = self.relay(self.there(), end.power.clone(), body, up);
        let upward = AbortOnDropHandle::new(spawn(upward));
        parts.extensions.insert(self.identity());
        let body = Body::new(StreamBody::new(ReceiverStream::new(received)));
        let mut server = end.server.clone();
        let serving = server.call(http::Request::from_parts(parts, body));
        let serving = AbortOnDropHandle::new(spawn(serving));
        let response = serving.await.map_err(|e| Status::internal(e.to_string()))?;
        let (head, body) = response.unwrap_or_else(|never| match never {}).into_parts();
        if end.power.is_cancelled() || !self.travels(self.back()).await {
            return Err(silence().await);
        }
        let (down, received) = mpsc::channel(FRAMES);
        let downward = self.relay(self.back(), end.power.clone(), body, down);
        let downward = AbortOnDropHandle::new(spawn(downward));
        let relays = (upward, downward);
        // The relays end with what they relay.
        let pieces = ReceiverStream::new(received).map(move |piece| {
            let _: &(AbortOnDropHandle<()>, AbortOnDropHandle<()>) = &relays;
            piece
        });
        Ok(http::Response::from_parts(head, Body::new(StreamBody::new(pieces))))
    }

    /// Carries frames one way, in order, as long as both sides have power.
    fn relay(
        &self,
        way: Way,
        power: CancellationToken,
        mut body: Body,
        out: mpsc::Sender<Piece>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let wire = self.clone();
        async move {
            loop {
                let piece = tokio::select! {
                    biased;
                    () = out.closed() => return,
                    piece = body.frame() => piece,
                };
                let Some(piece) = piece else { return };
                if power.is_cancelled() || wire.power.is_cancelled() {
                    // The power failed; nobody tells the other side.
                    drop(out.send(Err(silence().await)).await);
                    return;
                }
                if way == wire.back()
                    && let Ok(frame) = &piece
                    && let Some(data) = frame.data_ref()
                {
                    wire.hear_appended(data);
                }
                let fate = wire.net.fate(way);
                tokio::time::sleep(fate.delay).await;
                if fate.lost {
                    tokio::time::sleep(RETRANSMIT).await;
                }
                if !wire.net.is_open_within(way, KEEPALIVE).await {
                    drop(out.send(Err(Status::unavailable("connection timed out"))).await);
                    return;
                }
                if out.send(piece).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Waits until a connection that says nothing is given up.
async fn silence() -> Status {
    tokio::time::sleep(KEEPALIVE).await;
    Status::unavailable("the connection is silent")
}

type Answer = (http::response::Parts, Bytes, Option<http::HeaderMap>);

async fn answer(end: End, request: http::Request<Body>) -> Result<Answer, Status> {
    let mut server = end.server;
    let response = server.call(request).await.unwrap_or_else(|never| match never {});
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    Ok((head, body.to_bytes(), trailers))
}

/// Reads the messages in a piece of a gRPC body; a reply is never cut in two.
fn messages<M: Message + Default>(piece: &Bytes) -> Vec<M> {
    let mut piece = piece.clone();
    let mut found = Vec::new();
    while piece.len() >= 5 {
        piece.advance(1);
        let length = usize::try_from(piece.get_u32()).unwrap_or(usize::MAX);
        if length > piece.len() {
            break;
        }
        found.extend(M::decode(piece.split_to(length)));
    }
    found
}
