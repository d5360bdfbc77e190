//! What goes before every service: each request gets an id, is counted, and has a line in the log.
//!
//! The id is the caller's own, or one made here: of a change that of its origin, which stays the same
//! when it is asked for again, else that of the header. The audit carries the same
//! ([`effective_id`]), so that a line of the log leads to what was changed and back, and the answer
//! tells it. Streams without end (an agent's, Raft's) are counted when they begin.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use http_body_util::BodyExt as _;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tower::{Layer, Service};
use tracing::info;
use trireme_proto::request::{REQUEST_ID, clean_id};

use super::requests::Requests;
use crate::accept::Caller;
use crate::api::{role_of, subject};

tokio::task_local! {
    /// The request that is being answered.
    static CURRENT: Id;
}

/// Id of a request, as far as it is known.
#[derive(Debug, Clone, Default)]
struct Id(Arc<Mutex<String>>);

impl Id {
    fn lock(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the id that counts from now on, if `given` is the caller's last word on it.
    fn settle(&self, given: &str) -> String {
        let mut id = self.lock();
        let given = clean_id(given);
        if !given.is_empty() {
            *id = given;
        } else if id.is_empty() {
            *id = fresh_id();
        }
        id.clone()
    }
}

/// Returns the id of the request that is being answered, which is that of its origin if it has one.
pub fn effective_id(origin: &str) -> String {
    CURRENT.try_with(|id| id.settle(origin)).unwrap_or_else(|_| clean_id(origin))
}

fn fresh_id() -> String {
    format!("{:016x}", getrandom::u64().unwrap_or_default())
}

/// Which requests have a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logged {
    /// All of them.
    Yes,
    /// None: they are many, and between controllers.
    No,
}

/// Puts [`Access`] before a service.
#[derive(Debug, Clone)]
pub struct AccessLayer {
    requests: Arc<Requests>,
    logged: Logged,
}

impl AccessLayer {
    /// Makes the layer.
    pub const fn new(requests: Arc<Requests>, logged: Logged) -> Self {
        Self { requests, logged }
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { inner, layer: self.clone() }
    }
}

/// A service whose requests are counted and logged.
#[derive(Debug, Clone)]
pub struct Access<S> {
    inner: S,
    layer: AccessLayer,
}

impl<S> Service<Request<Body>> for Access<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Send,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let id = Id::default();
        if let Some(Ok(given)) = request.headers().get(REQUEST_ID).map(HeaderValue::to_str) {
            *id.lock() = clean_id(given);
        }
        let entry = Entry {
            layer: self.layer.clone(),
            path: request.uri().path().into(),
            caller: request.extensions().get::<Caller>().cloned(),
            id: id.clone(),
            began: Instant::now(),
            code: None,
        };
        let answered = CURRENT.scope(id, self.inner.call(request));
        Box::pin(async move { Ok(entry.follow(answered.await?)) })
    }
}

/// A request that is being answered; it is told of when this is dropped.
struct Entry {
    layer: AccessLayer,
    path: Box<str>,
    caller: Option<Caller>,
    id: Id,
    began: Instant,
    /// What it was answered with, once that is known.
    code: Option<Code>,
}

impl Entry {
    /// Follows an answer to its end, which is where gRPC tells the code.
    fn follow(mut self, mut response: Response<Body>) -> Response<Body> {
        if let Ok(id) = HeaderValue::from_str(&self.id.settle("")) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        self.code = code_in(response.headers());
        if self.code.is_none() && is_endless(&self.path) {
            self.code = Some(Code::Ok);
        }
        if self.code.is_some() {
            return response;
        }
        let (head, body) = response.into_parts();
        let body = body.map_frame(move |frame| {
            self.code = frame.trailers_ref().and_then(code_in).or(self.code);
            frame
        });
        Response::from_parts(head, Body::new(body))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Whoever goes before the end of an answer has cancelled the request.
        let code = self.code.unwrap_or(Code::Cancelled);
        let took = self.began.elapsed();
        let peer = self.caller.as_ref().and_then(|caller| caller.peer.as_deref());
        let role = peer.map_or("none", role_of);
        self.layer.requests.count(&self.path, code, took, role);
        if self.layer.logged == Logged::No || self.path.starts_with("/grpc.health.") {
            return;
        }
        let subject = peer.map_or_else(|| "nobody".to_owned(), |peer| subject(&peer.identity));
        let source = self.caller.as_ref().map(|caller| caller.addr.to_string());
        let request_id = self.id.settle("");
        // The path is the caller's word: what is not one of ours is cut and escaped.
        let method: String = self.path.chars().take(METHOD_MAX).collect();
        info!(
            target: "access",
            method = %method.escape_debug(),
            code = ?code,
            millis = took.as_secs_f64() * 1e3,
            subject,
            role,
            source,
            request_id,
            "request"
        );
    }
}

/// Longest method that is logged, in characters; ours are shorter.
const METHOD_MAX: usize = 100;

/// Returns whether a method's answer has no end of its own.
fn is_endless(path: &str) -> bool {
    matches!(path, "/fleet.v1.Agent/Session" | "/fleet.v1.Peer/ForwardAll")
        || path.starts_with("/fleet.v1.Raft/")
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    let text = headers.get("grpc-status")?.to_str().ok()?;
    Some(Code::from_i32(text.parse().ok()?))
}
