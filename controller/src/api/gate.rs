//! What stands before every service: a request that is turned away without having been judged is
//! recorded all the same.
//!
//! Handlers judge requests and record what they refuse ([`super::authorize`]). What never reaches
//! one, because it cannot be read, is for nobody, is at a door for others or breaks off, would
//! leave no trace: one could try without being seen.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::{Code, Extensions};
use tower::{Layer, Service};
use trireme_proto::identity::Identity;

use super::authorize::actor;
use super::door::{Door, door};
use crate::accept::Caller;
use crate::refusals::{Refusal, Refusals};
use crate::state::Actor;

/// Longest path that is recorded, in characters; ours are shorter.
const PATH_MAX: usize = 100;

/// Whether somebody has decided on a request, and recorded it if it was refused.
#[derive(Debug, Clone, Default)]
struct Judged(Arc<AtomicBool>);

/// Notes that a request is judged: what comes of it is recorded by whoever judges.
pub(super) fn judged(extensions: &Extensions) {
    if let Some(judged) = extensions.get::<Judged>() {
        judged.0.store(true, Ordering::Relaxed);
    }
}

/// Puts a [`Gate`] before a service.
#[derive(Debug, Clone)]
pub struct GateLayer(Refusals);

impl GateLayer {
    /// Makes the layer.
    pub const fn new(refusals: Refusals) -> Self {
        Self(refusals)
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner, refusals: self.0.clone() }
    }
}

/// A service whose unjudged refusals are recorded.
#[derive(Debug, Clone)]
pub struct Gate<S> {
    inner: S,
    refusals: Refusals,
}

impl<S> Service<Request<Body>> for Gate<S>
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let judged = Judged::default();
        request.extensions_mut().insert(judged.clone());
        let mut visit = Visit {
            refusals: self.refusals.clone(),
            path: request.uri().path().into(),
            caller: request.extensions().get::<Caller>().cloned(),
            judged,
            answer: None,
        };
        let answered = self.inner.call(request);
        Box::pin(async move {
            let answer = answered.await;
            let code = answer.as_ref().ok().and_then(|answer| code_in(answer.headers()));
            visit.answered(code.unwrap_or(Code::Ok));
            answer
        })
    }
}

/// One request on its way; recorded, if it must be, when this is dropped.
struct Visit {
    refusals: Refusals,
    path: Box<str>,
    caller: Option<Caller>,
    judged: Judged,
    /// What it was answered with, unless it broke off.
    answer: Option<Code>,
}

impl Visit {
    /// Notes the answer; through a method, so that the visit lasts until then.
    fn answered(&mut self, code: Code) {
        self.answer = Some(code);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.judged.0.load(Ordering::Relaxed) || self.path.starts_with("/grpc.health.") {
            return;
        }
        let peer = self.caller.as_ref().and_then(|caller| caller.peer.as_deref());
        let is_person = peer.is_some_and(|peer| matches!(peer.identity, Identity::User { .. }));
        let why = match self.answer {
            None if is_person => "broke off before it could be read".to_owned(),
            Some(code) if code != Code::Ok && (is_person || is_refusal(code)) => {
                format!("turned away: {}", code.description())
            }
            // What machines get wrong otherwise is theirs to mend, and no attempt at anything.
            None | Some(_) => return,
        };
        let path: String = self.path.chars().take(PATH_MAX).collect();
        let action = match path.strip_prefix("/fleet.v1.").and_then(|rest| rest.split_once('/')) {
            Some((service, method)) => match door(service, method) {
                Some(Door::Person(verb)) => verb.as_str().to_owned(),
                _ => "request".to_owned(),
            },
            None => "request".to_owned(),
        };
        let actor = peer.map_or_else(|| nobody(self.caller.as_ref()), |peer| actor(peer, ""));
        self.refusals.tell(Refusal { actor, action, target: path, why, repeats: !is_person });
    }
}

/// Returns whether an answer turns somebody away.
fn is_refusal(code: Code) -> bool {
    matches!(code, Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented)
}

fn nobody(caller: Option<&Caller>) -> Actor {
    Actor {
        subject: "nobody".to_owned(),
        role: "none".to_owned(),
        source: caller.map_or_else(String::new, |caller| caller.addr.ip().to_string()),
        request_id: String::new(),
    }
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    let text = headers.get("grpc-status")?.to_str().ok()?;
    Some(Code::from_i32(text.parse().ok()?))
}
