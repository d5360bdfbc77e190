//! The tcp check: a connection must open; nothing is sent.

use std::io;

use tokio::time::Instant;
use trireme_proto::model::TcpCheck;

use super::{Outcome, Status};
use crate::http::{Client, HttpError};

/// Connects once; the caller limits the time.
pub(super) async fn run(client: &Client, check: &TcpCheck) -> Outcome {
    let address = &check.address;
    let parts = address.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then_some((host, port))
    });
    let Some((host, port)) = parts else {
        return Outcome::new(Status::Unknown, format!("address {address} is not host:port"));
    };
    let began = Instant::now();
    match client.connect(host, port).await {
        Ok(_) => Outcome::new(
            Status::Ok,
            format!("{address} accepts in {} ms", began.elapsed().as_millis()),
        ),
        Err(HttpError::Connect { source, .. }) if source.kind() == io::ErrorKind::InvalidInput => {
            Outcome::new(Status::Unknown, format!("address {address} is not host:port"))
        }
        Err(HttpError::Connect { source, .. }) => {
            Outcome::new(Status::Crit, format!("{address} does not accept: {source}"))
        }
        Err(error) => Outcome::new(Status::Unknown, error.to_string()),
    }
}
