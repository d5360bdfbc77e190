//! The HTTP listener for metrics and health: small, bounded, and deaf to other people's pages.
//!
//! On the loopback it speaks plain text, so that probes on the host need nothing. Anywhere else it
//! speaks TLS and asks for a certificate of the fleet. A browser can be made to ask it by a name
//! that somebody else chose (DNS rebinding); so only requests to its own address or a configured
//! name are answered. One request for each connection; every step has a limit.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use trireme_proto::identity::{Identity, Verified};
use trireme_proto::tls::{Credentials, TlsError};

use crate::metric::Format;
use crate::options::{Listen, Options};

/// Connections at a time: a few scrapers and probes; more wait in the backlog.
const CONNECTIONS_MAX: usize = 32;
/// Longest time for TLS and for the head of a request, each.
const HEAD_TIME: Duration = Duration::from_secs(3);
/// Longest life of a connection, the answer included.
const CONNECTION_TIME: Duration = Duration::from_secs(15);
/// Largest head of a request, in bytes; less than this the library does not take.
const HEAD_LEN_MAX: usize = 8192;
/// Pause after an error of accept that the next one would meet again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Tells why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// There is no certificate to listen with.
    #[error("telemetry.listen: no TLS for {address}")]
    Tls {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: TlsError,
    },
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Path of the request.
    pub path: String,
    /// Whether every detail is wanted.
    pub verbose: bool,
    /// Text format in which metrics are wanted.
    pub format: Format,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    media_type: &'static str,
    body: String,
}

impl Answer {
    /// Answers with text for people.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, media_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// Answers with metrics.
    pub fn metrics(page: crate::Page, format: Format) -> Self {
        Self { status: 200, media_type: format.media_type(), body: page.text(format) }
    }
}

/// An answer in the making.
pub type Reply<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// What a daemon shows.
pub trait Site: Send + Sync + 'static {
    /// Answers a request for a path; `None` where there is nothing.
    fn answer<'a>(&'a self, asked: &'a Asked) -> Option<Reply<'a>>;
}

/// Decides who may ask, of those with a certificate that the fleet's root has signed for.
pub type Admit = Arc<dyn Fn(Verified, SocketAddr) -> bool + Send + Sync>;

/// A listener.
pub struct Door {
    listener: TcpListener,
    tls: Option<(TlsAcceptor, Admit)>,
    hosts: Arc<[String]>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { listener, tls, hosts } = self;
        let tls = tls.is_some();
        f.debug_struct("Door")
            .field("listener", listener)
            .field("tls", &tls)
            .field("hosts", hosts)
            .finish()
    }
}

impl Door {
    /// Listens as the options say, or at `usual` if they say nothing; `None` if it is not wanted,
    /// or the address cannot be had.
    ///
    /// Options must have been checked. With `guard`, what is not on the loopback speaks TLS.
    pub async fn open(
        options: &Options,
        usual: SocketAddr,
        guard: Option<(&Credentials, Admit)>,
    ) -> Result<Option<Self>, DoorError> {
        let address = match options.listen {
            Some(Listen::At(address)) => address,
            Some(Listen::Off) => return Ok(None),
            None => usual,
        };
        let tls = match guard {
            Some((credentials, admit)) if !address.ip().is_loopback() => {
                let config = credentials
                    .server_config()
                    .map_err(|source| DoorError::Tls { address, source })?;
                Some((TlsAcceptor::from(config), admit))
            }
            _ => None,
        };
        let listener = match TcpListener::bind(address).await {
            Ok(listener) => listener,
            // That somebody else has the address is no reason not to look after a fleet, and who
            // watches sees that there is nothing.
            Err(error) => {
                warn!(%address, %error, "no metrics: say where with telemetry.listen");
                return Ok(None);
            }
        };
        Ok(Some(Self { listener, tls, hosts: options.hosts.clone().into() }))
    }

    /// Returns where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until told to stop.
    pub async fn serve(self, site: Arc<dyn Site>, stop: CancellationToken) {
        let mut open = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = open.join_next() => continue,
                accepted = self.listener.accept(), if open.len() < CONNECTIONS_MAX => accepted,
            };
            let Ok((tcp, from)) = accepted else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let served = serve_one(tcp, self.tls.clone(), Arc::clone(&self.hosts), site.clone());
            open.spawn(async move {
                let ended = timeout(CONNECTION_TIME, served).await;
                match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(%from, error, "a request for telemetry failed"),
                    Err(_) => debug!(%from, "a request for telemetry took too long"),
                }
            });
        }
        open.shutdown().await;
    }
}

async fn serve_one(
    tcp: TcpStream,
    tls: Option<(TlsAcceptor, Admit)>,
    hosts: Arc<[String]>,
    site: Arc<dyn Site>,
) -> Result<(), String> {
    // Of the connection and not of the listener, which may listen on every address.
    let own = tcp.local_addr().map_err(|error| error.to_string())?;
    let Some((acceptor, admit)) = tls else {
        return speak(tcp, own, hosts, site).await;
    };
    let shaken = timeout(HEAD_TIME, acceptor.accept(tcp)).await;
    let stream = shaken.map_err(|_| "no handshake in time")?.map_err(|error| error.to_string())?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let leaf = leaf.ok_or("no certificate")?;
    let verified = Identity::from_certificate(leaf).map_err(|error| error.to_string())?;
    let from = stream.get_ref().0.peer_addr().map_err(|error| error.to_string())?;
    let who = verified.identity.to_string();
    if !admit(verified, from) {
        return Err(format!("{who} may not look"));
    }
    speak(stream, own, hosts, site).await
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    own: SocketAddr,
    hosts: Arc<[String]>,
    site: Arc<dyn Site>,
) -> Result<(), String> {
    let service = service_fn(move |request: Request<Incoming>| {
        let (hosts, site) = (Arc::clone(&hosts), Arc::clone(&site));
        async move { Ok::<_, Infallible>(response(&request, own, &hosts, &*site).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_LEN_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(|error| error.to_string())
}

async fn response(
    request: &Request<Incoming>,
    own: SocketAddr,
    hosts: &[String],
    site: &dyn Site,
) -> Response<Full<Bytes>> {
    let answer = if !names_us(request, own, hosts) {
        Answer::text(421, "this is not who you asked for\n")
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        Answer::text(405, "only GET\n")
    } else {
        let asked = asked(request);
        match site.answer(&asked) {
            Some(answer) => answer.await,
            None => Answer::text(404, "there is /metrics, /livez and /readyz\n"),
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if answer.status == 405 {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn asked(request: &Request<Incoming>) -> Asked {
    let query = request.uri().query().unwrap_or_default();
    let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let open = accepted.is_some_and(|accepted| accepted.contains("application/openmetrics-text"));
    Asked {
        path: request.uri().path().to_owned(),
        verbose: query.split('&').any(|word| matches!(word, "verbose" | "verbose=1")),
        format: if open { Format::OpenMetrics } else { Format::Classic },
    }
}

/// Returns whether a request is to this listener by a name that is its own.
fn names_us(request: &Request<Incoming>, own: SocketAddr, hosts: &[String]) -> bool {
    let mut named = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else { return false };
    let in_line = request.uri().authority().is_none_or(|line| is_own(line, own, hosts));
    let host = host.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
    in_line && host.is_some_and(|host| is_own(&host, own, hosts))
}

fn is_own(authority: &Authority, own: SocketAddr, hosts: &[String]) -> bool {
    let text = authority.as_str();
    // Without a port it means the usual one, as from behind a forwarded port 80.
    let port = authority.port_u16().is_none_or(|port| port == own.port());
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let known = match host.parse::<IpAddr>() {
        Ok(ip) => ip == own.ip(),
        Err(_) if host.eq_ignore_ascii_case("localhost") => own.ip().is_loopback(),
        Err(_) => hosts.iter().any(|name| name.eq_ignore_ascii_case(host)),
    };
    !text.contains('@') && port && known
}

#[cfg(test)]
mod tests;
