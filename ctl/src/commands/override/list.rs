//! `trictl override list`: the exceptions in force.

use super::super::get::{Consistency, Kind, print, request};
use crate::App;
use crate::error::{Failure, Outcome};

/// List overrides in force
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How sure the answer must be
    #[arg(long, value_enum, default_value_t)]
    consistency: Consistency,
}

/// Lists overrides.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let kind = Kind::Override;
    let request = request(kind.word(), String::new(), args.consistency);
    print(app, &app.client()?, kind, request).await?;
    Ok(Outcome::Done)
}
