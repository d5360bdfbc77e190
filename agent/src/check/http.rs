//! The http check: a GET must answer with the status, on a connection of its own.

use std::time::Duration;

use tokio::time::Instant;
use trireme_proto::model::HttpCheck;

use super::{Outcome, Status};
use crate::http::{Client, HttpError};

/// Part of the body that is read: enough for the first line of an error page.
const BODY_BYTES_MAX: usize = 4096;

/// Asks once; the caller limits the time.
pub(super) async fn run(client: &Client, check: &HttpCheck) -> Outcome {
    let began = Instant::now();
    let asked = async {
        let mut response = client.get(&check.url).await?;
        let body = response.read_up_to(BODY_BYTES_MAX).await?;
        Ok((response, body))
    };
    match asked.await {
        Ok((response, body)) => {
            let as_wanted = match check.status {
                Some(status) => response.status() == status,
                None => response.is_success(),
            };
            let line = format!("{} in {}", response.status_line(), millis(began.elapsed()));
            if as_wanted {
                return Outcome::new(Status::Ok, line);
            }
            let body = String::from_utf8_lossy(&body);
            let said = body.lines().next().map(str::trim).filter(|said| !said.is_empty());
            let said = said.map(|said| format!(": {said}")).unwrap_or_default();
            Outcome::new(Status::Crit, format!("{line}{said}"))
        }
        Err(
            error @ (HttpError::Url { .. } | HttpError::Forbidden { .. } | HttpError::Roots(_)),
        ) => Outcome::new(Status::Unknown, error.to_string()),
        Err(error) => Outcome::new(Status::Crit, error.to_string()),
    }
}

fn millis(span: Duration) -> String {
    format!("{} ms", span.as_millis())
}
