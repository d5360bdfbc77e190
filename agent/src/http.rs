//! A small HTTP client for checks and artifacts: GET, one connection for each request.
//!
//! It follows no redirect, asks no link-local address, keeps no connection and starts no task: dropping a [`Response`] closes
//! its connection. The machinery and the root certificates of HTTPS are loaded when the first
//! `https` URL is used, for most agents never.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, LOCATION, USER_AGENT};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Request, Uri};
use hyper_rustls::ConfigBuilderExt as _;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use trireme_proto::destination::{Destination, destination};

const AGENT: &str = concat!("trireme-agent/", env!("CARGO_PKG_VERSION"));

/// Tells why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL cannot be asked.
    #[error("URL {url} {why}")]
    Url {
        /// As written.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// This host cannot speak TLS: there are no root certificates.
    #[error("no root certificates on this host")]
    Roots(#[source] io::Error),
    /// The address is one that nothing may be asked of from here.
    #[error("{to} is link-local or no host's, and is not asked")]
    Forbidden {
        /// Host and port.
        to: String,
    },
    /// No connection.
    #[error("cannot connect to {to}: {source}")]
    Connect {
        /// Host and port.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// The server's certificate or its TLS is not good.
    #[error("no TLS with {to}: {source}")]
    Tls {
        /// Host and port.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// The connection ended early, or what came is not HTTP.
    #[error("no whole answer: {0}")]
    Protocol(hyper::Error),
}

/// An `http` or `https` URL with a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    scheme: Scheme,
    authority: Authority,
    path: PathAndQuery,
}

impl Url {
    /// Reads a URL; a fragment is dropped.
    pub fn parse(text: &str) -> Result<Self, HttpError> {
        let refused = |why| HttpError::Url { url: text.to_owned(), why };
        let parts = text.parse::<Uri>().map_err(|_| refused("is not a URL"))?.into_parts();
        let scheme = parts.scheme.ok_or_else(|| refused("has no scheme"))?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(refused("is neither http nor https"));
        }
        let authority = parts.authority.ok_or_else(|| refused("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused("carries a password: leave that to the environment"));
        }
        let path = parts.path_and_query.unwrap_or(PathAndQuery::from_static("/"));
        Ok(Self { scheme, authority, path })
    }

    /// Returns where a redirect from here to `location` leads.
    pub fn join(&self, location: &str) -> Result<Self, HttpError> {
        if location.starts_with('/') && !location.starts_with("//") {
            let path = location
                .parse()
                .map_err(|_| HttpError::Url { url: location.to_owned(), why: "is not a path" })?;
            return Ok(Self { path, ..self.clone() });
        }
        Self::parse(location)
    }

    /// Returns whether it is encrypted.
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

/// Asks servers; cheap until the first `https` URL.
#[derive(Debug, Default)]
pub struct Client {
    tls: OnceLock<Arc<ClientConfig>>,
    link_local: bool,
}

impl Client {
    /// Returns a client that trusts the root certificates of the host.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a client that trusts what `config` does.
    pub fn with_tls(config: Arc<ClientConfig>) -> Self {
        Self { tls: OnceLock::from(config), link_local: false }
    }

    /// Returns it asking link-local addresses too, where clouds answer with the host's credentials;
    /// for hosts whose owner wants that.
    #[must_use]
    pub fn asking_link_local(self, link_local: bool) -> Self {
        Self { link_local, ..self }
    }

    /// Connects to a host, at an address that was judged: no second answer of its DNS counts.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, HttpError> {
        let to = format!("{host}:{port}");
        let failed = |source| HttpError::Connect { to: to.clone(), source };
        let found: Vec<_> = lookup_host((host, port)).await.map_err(failed)?.collect();
        let mut last = None;
        for address in found {
            if destination(address.ip()) == Destination::Forbidden && !self.link_local {
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(|| HttpError::Forbidden { to: to.clone() }, failed))
    }

    /// Sends a GET and waits for the head of the answer; the caller limits the time.
    pub async fn get(&self, url: &str) -> Result<Response, HttpError> {
        self.get_url(&Url::parse(url)?).await
    }

    /// As [`Client::get`].
    pub async fn get_url(&self, url: &Url) -> Result<Response, HttpError> {
        let to = format!("{}:{}", url.host(), url.port());
        let stream = self.connect(url.host(), url.port()).await?;
        if !url.is_https() {
            return exchange(stream, url).await;
        }
        let name = ServerName::try_from(url.host().to_owned())
            .map_err(|_| HttpError::Url { url: url.to_string(), why: "has no name for TLS" })?;
        let stream = TlsConnector::from(self.tls()?)
            .connect(name, stream)
            .await
            .map_err(|source| HttpError::Tls { to, source })?;
        // Boxed: the state of a TLS connection is large, and few callers come here.
        Box::pin(exchange(stream, url)).await
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, HttpError> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| HttpError::Roots(io::Error::other(error)))?
            .with_native_roots()
            .map_err(HttpError::Roots)?
            .with_no_client_auth();
        Ok(Arc::clone(self.tls.get_or_init(|| Arc::new(config))))
    }
}

type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// The head of an answer, and the way to its body.
pub struct Response {
    head: hyper::http::response::Parts,
    body: Incoming,
    connection: Option<Connection>,
    _sender: http1::SendRequest<Empty<Bytes>>,
}

async fn exchange<S>(stream: S, url: &Url) -> Result<Response, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::get(url.path.as_str())
        .header(HOST, url.authority.as_str())
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|_| HttpError::Url { url: url.to_string(), why: "cannot be asked" })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(HttpError::Protocol)?;
    let mut connection: Option<Connection> = Some(Box::pin(connection));
    let response = {
        let mut sending = pin!(sender.send_request(request));
        poll_fn(|cx| {
            // Its outcome reaches us through the request it was for.
            let _ = drive(&mut connection, cx);
            sending.as_mut().poll(cx)
        })
        .await
        .map_err(HttpError::Protocol)?
    };
    let (head, body) = response.into_parts();
    Ok(Response { head, body, connection, _sender: sender })
}

/// Lets the connection do its work; drops it when it has ended.
fn drive(connection: &mut Option<Connection>, cx: &mut Context<'_>) -> Poll<()> {
    let Some(running) = connection else { return Poll::Ready(()) };
    if running.as_mut().poll(cx).is_pending() {
        return Poll::Pending;
    }
    *connection = None;
    Poll::Ready(())
}

impl Response {
    /// Returns the status.
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// Returns whether the status is one of 2xx.
    pub fn is_success(&self) -> bool {
        self.head.status.is_success()
    }

    /// Returns the status with its name, for people.
    pub fn status_line(&self) -> String {
        self.head.status.to_string()
    }

    /// Returns where the server sends us instead, if the status says so.
    pub fn redirect(&self) -> Option<&str> {
        let header = self.head.headers.get(LOCATION)?;
        matches!(self.status(), 301 | 302 | 303 | 307 | 308).then(|| header.to_str().ok())?
    }

    /// Returns the length of the body, if the server has told.
    pub fn length(&self) -> Option<u64> {
        self.head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// Returns the next piece of the body; `None` at its end. A body cut short is an error.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        let Self { body, connection, .. } = self;
        loop {
            let frame = poll_fn(|cx| {
                let _ = drive(connection, cx);
                Pin::new(&mut *body).poll_frame(cx)
            })
            .await;
            match frame {
                Some(Ok(frame)) => {
                    // Trailers are of no interest here.
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(HttpError::Protocol(error)),
                None => return Ok(None),
            }
        }
    }

    /// Returns the first bytes of the body, at most `limit`.
    pub async fn read_up_to(&mut self, limit: usize) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        while bytes.len() < limit {
            let Some(chunk) = self.chunk().await? else { break };
            bytes.extend_from_slice(&chunk[..chunk.len().min(limit - bytes.len())]);
        }
        Ok(bytes)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.head.status).finish_non_exhaustive()
    }
}
