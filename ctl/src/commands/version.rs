//! `trictl version`: what this program is.

use serde::Serialize;

use crate::App;
use crate::error::{Failure, Outcome};

/// Print the version
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
    protocol: &'static str,
}

/// Prints the version.
pub(super) fn run(app: &App, _: &Args) -> Result<Outcome, Failure> {
    let version = Version { version: env!("CARGO_PKG_VERSION"), protocol: "fleet.v1" };
    app.out.value(&version, |version| {
        format!("trictl {}, protocol {}", version.version, version.protocol)
    })?;
    Ok(Outcome::Done)
}
