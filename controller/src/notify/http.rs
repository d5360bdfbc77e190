//! One POST to whom a channel names: guarded, bounded, and sure of what it knows.
//!
//! A host is looked up once and connected to at the address that was judged, so that no second
//! answer of its DNS leads elsewhere. No redirect is followed. What went wrong before a byte of the
//! request left is told apart from what came later: only the first may be tried again, because the
//! receiver cannot have it. Errors name host and port, and never what may hold a secret.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_rustls::ConfigBuilderExt as _;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use trireme_proto::destination::{Destination, destination};

/// Longest time to look a host up and to connect, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest time from the request to the end of the answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Addresses of a host that are tried.
const ADDRESSES_MAX: usize = 4;
/// Part of an answer that is read: what chats say is shorter, and a page of errors says no more.
const BODY_MAX: usize = 16 << 10;

const AGENT: &str = concat!("trireme-controller/", env!("CARGO_PKG_VERSION"));

/// What is posted; cannot be written to a log, for its URL may hold a secret.
#[derive(Clone)]
pub(crate) struct Post {
    /// Where to; may hold a secret.
    pub(crate) url: String,
    /// Headers besides those that every request has.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The body, JSON.
    pub(crate) body: Bytes,
    /// Whether it may lead to a private network or to this host.
    pub(crate) private: bool,
}

/// What a receiver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Status of HTTP.
    pub(crate) status: u16,
    /// Beginning of the body.
    pub(crate) body: Vec<u8>,
}

/// Tells why nothing was answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PostError {
    /// It cannot be sent there, and trying again changes nothing.
    #[error("{0}")]
    Never(String),
    /// The receiver does not have it.
    #[error("{0}")]
    NotSent(String),
    /// The receiver may have it.
    #[error("{0}")]
    Unknown(String),
}

/// Posts; loads the roots of the host with the first `https` URL.
#[derive(Debug, Default)]
pub(crate) struct Client {
    tls: OnceLock<Arc<ClientConfig>>,
}

impl Client {
    /// Sends one request and reads the answer.
    pub(crate) async fn post(&self, post: &Post) -> Result<Answer, PostError> {
        let uri: Uri =
            post.url.parse().map_err(|_| PostError::Never("the URL cannot be used".to_owned()))?;
        let https = uri.scheme_str() == Some("https");
        if !https && uri.scheme_str() != Some("http") {
            return Err(PostError::Never("the URL is neither http nor https".to_owned()));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let to = format!("{host}:{port}");
        let late = |_| PostError::NotSent(format!("{to} does not accept within {CONNECT_MAX:?}"));
        if !https {
            let connected = timeout(CONNECT_MAX, connect(&host, port, post.private));
            return exchange(connected.await.map_err(late)??, &uri, &to, post).await;
        }
        let secured = async {
            let stream = connect(&host, port, post.private).await?;
            let name = ServerName::try_from(host.clone())
                .map_err(|_| PostError::Never(format!("{to} has no name for TLS")))?;
            let roots = self.tls().map_err(|error| {
                PostError::Never(format!("this controller cannot speak TLS to others: {error}"))
            })?;
            TlsConnector::from(roots)
                .connect(name, stream)
                .await
                .map_err(|error| PostError::NotSent(format!("no TLS with {to}: {error}")))
        };
        let stream = timeout(CONNECT_MAX, secured).await.map_err(late)??;
        Box::pin(exchange(stream, &uri, &to, post)).await
    }

    fn tls(&self) -> io::Result<Arc<ClientConfig>> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_native_roots()?
            .with_no_client_auth();
        Ok(Arc::clone(self.tls.get_or_init(|| Arc::new(config))))
    }
}

/// Connects to an address of `host` that may be sent to.
async fn connect(host: &str, port: u16, private: bool) -> Result<TcpStream, PostError> {
    let to = format!("{host}:{port}");
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| PostError::NotSent(format!("{host} cannot be looked up: {error}")))?;
    let found: Vec<SocketAddr> = found.collect();
    let allowed = |address: &&SocketAddr| match destination(address.ip()) {
        Destination::Public => true,
        Destination::Private => private,
        Destination::Forbidden => false,
    };
    let addresses: Vec<_> = found.iter().filter(allowed).take(ADDRESSES_MAX).collect();
    if addresses.is_empty() {
        let private_one =
            found.iter().any(|address| destination(address.ip()) == Destination::Private);
        let why = if private_one {
            "is private, and the channel does not say `private: true`"
        } else {
            "leads where alerts are never sent"
        };
        return Err(PostError::Never(format!("{to} {why}")));
    }
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    let why = last.map_or_else(String::new, |error| format!(": {error}"));
    Err(PostError::NotSent(format!("{to} does not accept{why}")))
}

async fn exchange<S>(stream: S, uri: &Uri, to: &str, post: &Post) -> Result<Answer, PostError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unusable = |_| PostError::Never("the request cannot be made".to_owned());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::post(path)
        .header(HOST, authority)
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "application/json");
    for (name, value) in &post.headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(post.body.clone())).map_err(unusable)?;
    let unknown =
        |error: hyper::Error| PostError::Unknown(format!("{to} gave no whole answer: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| PostError::NotSent(format!("{to} ended the connection: {error}")))?;
    // Ends with this function: what it drives is of no use to anybody else.
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let answered = async {
        let (head, body) = sender.send_request(request).await.map_err(unknown)?.into_parts();
        let status = head.status.as_u16();
        // The status says what became of it, whatever is wrong with the rest.
        let body = Limited::new(body, BODY_MAX).collect().await;
        Ok(Answer { status, body: body.map(|all| all.to_bytes().to_vec()).unwrap_or_default() })
    };
    timeout(ANSWER_MAX, answered)
        .await
        .map_err(|_| PostError::Unknown(format!("{to} did not answer within {ANSWER_MAX:?}")))?
}
