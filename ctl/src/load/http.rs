//! One GET over a connection of its own.
//!
//! No redirects, no retries, no kept connections; the caller bounds the time.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest body that is read: the services that are asked answer with a line or two.
const BODY_LEN_MAX: usize = 64 * 1024;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its whole body.
    pub body: Bytes,
}

/// Tells why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The connection ended or said something that is not HTTP.
    #[error("connection broke: {0}")]
    Exchange(#[from] hyper::Error),
    /// The path is none.
    #[error("`{0}` is not a path to ask for")]
    Path(String),
    /// The body is longer than anybody here has use for, or broke off.
    #[error("body cannot be read: {0}")]
    Body(String),
}

/// Asks `address` for `path` and reads the whole answer.
pub async fn get(address: SocketAddr, path: &str) -> Result<Answer, GetError> {
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| GetError::Path(path.to_owned()))?;
    let stream = TcpStream::connect(address).await.map_err(GetError::Connect)?;
    stream.set_nodelay(true).map_err(GetError::Connect)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_LEN_MAX).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => GetError::Body(format!("it is longer than {BODY_LEN_MAX} bytes")),
            None => GetError::Body(error.to_string()),
        })?;
        Ok(Answer { status, body: body.to_bytes() })
    };
    // What the connection has to say of its end is in the answer already.
    let (answer, _) = tokio::join!(exchange, connection);
    answer
}
