//! Channels to controllers: TCP, TLS and HTTP/2 with every wait bounded.
//!
//! A channel connects on first use and again after a loss; each connection presents the
//! certificate that the credentials hold at that moment. An open connection keeps the one it was
//! made with, so whoever renews must connect anew before the old one ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

use crate::digest::Digest;
use crate::tls::{Credentials, Server, TlsError, joining_client_config, placeholder_name};

/// Waits of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelOptions {
    /// Longest time for name lookup, TCP and TLS together.
    pub connect_timeout: Duration,
    /// How often an open connection is pinged, also while no request is under way.
    pub keepalive_interval: Duration,
    /// How long a ping may stay unanswered before the connection counts as lost.
    pub keepalive_timeout: Duration,
}

impl Default for ChannelOptions {
    /// Notices a silent loss within 4 s; a connection across clouds takes well under one.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            keepalive_interval: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(2),
        }
    }
}

/// Returns a channel to the controller at `address` (`host:port`), with our certificate.
pub fn channel(
    address: &str,
    server: &Server,
    credentials: &Credentials,
    options: &ChannelOptions,
) -> Result<Channel, TlsError> {
    lazy(address, credentials.client_config(server)?, options)
}

/// Returns a channel to the join listener at `address`, trusting the root with this digest.
pub fn joining_channel(
    address: &str,
    pin: Digest,
    options: &ChannelOptions,
) -> Result<Channel, TlsError> {
    lazy(address, joining_client_config(pin)?, options)
}

fn lazy(
    address: &str,
    config: Arc<ClientConfig>,
    options: &ChannelOptions,
) -> Result<Channel, TlsError> {
    let refused = || TlsError::Address(address.to_owned());
    // The scheme is http because the connector below does the encryption; with https tonic would
    // ask for its own. The origin tells the server what the connection really is.
    let uri: Uri = format!("http://{address}").parse().map_err(|_| refused())?;
    let origin: Uri = format!("https://{address}").parse().map_err(|_| refused())?;
    let complete = uri.host().is_some_and(|host| !host.is_empty()) && uri.port_u16().is_some();
    if !complete || uri.path() != "/" || address.contains('@') {
        return Err(refused());
    }
    let address: Arc<str> = address.into();
    let connector = tower::service_fn(move |_: Uri| {
        let (address, config) = (Arc::clone(&address), Arc::clone(&config));
        async move { connect(&address, config).await.map(TokioIo::new) }
    });
    Ok(Endpoint::from(uri)
        .origin(origin)
        .connect_timeout(options.connect_timeout)
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector))
}

async fn connect(address: &str, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    TlsConnector::from(config).connect(placeholder_name(), tcp).await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tonic::codegen::http;

    use super::*;

    fn join(address: &str, options: &ChannelOptions) -> Result<Channel, TlsError> {
        joining_channel(address, Digest::of(b"root"), options)
    }

    #[tokio::test]
    async fn refuses_what_is_not_host_and_port() {
        let options = ChannelOptions::default();
        for bad in ["", "host", "host:", "host:x", "a:1/b", "u@a:1", "http://a:1", "a b:1", ":1"] {
            let refusal = join(bad, &options);
            assert!(matches!(refusal, Err(TlsError::Address(_))), "{bad:?} passed");
        }
        for good in ["127.0.0.1:1", "[::1]:1", "c1.example:7443"] {
            assert!(join(good, &options).is_ok(), "{good:?} was refused");
        }
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let connect_timeout = Duration::from_millis(100);
        let options = ChannelOptions { connect_timeout, ..ChannelOptions::default() };
        let mut channel = join(&address, &options).unwrap();
        let request = http::Request::new(tonic::body::Body::empty());
        let asked = async {
            tower::ServiceExt::ready(&mut channel).await?;
            tower::Service::call(&mut channel, request).await
        };
        let answer = tokio::time::timeout(Duration::from_secs(20), asked).await;
        assert!(answer.expect("it is given up long before").is_err());
    }
}
