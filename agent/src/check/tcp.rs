//! The tcp check: a connection must open; nothing is sent.

use std::io;

use tokio::net::TcpStream;
use tokio::time::Instant;
use trireme_proto::model::TcpCheck;

use super::{Outcome, Status};

/// Connects once; the caller limits the time.
pub(super) async fn run(check: &TcpCheck) -> Outcome {
    let address = &check.address;
    let has_port = address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !has_port {
        return Outcome::new(Status::Unknown, format!("address {address} is not host:port"));
    }
    let began = Instant::now();
    match TcpStream::connect(address).await {
        Ok(_) => Outcome::new(
            Status::Ok,
            format!("{address} accepts in {} ms", began.elapsed().as_millis()),
        ),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Outcome::new(Status::Unknown, format!("address {address} is not host:port"))
        }
        Err(error) => Outcome::new(Status::Crit, format!("{address} does not accept: {error}")),
    }
}
