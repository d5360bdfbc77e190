//! `trictl grants list`: what takes capacity away right now.

use super::super::get::{Consistency, Kind, print, request};
use crate::App;
use crate::error::{Failure, Outcome};

/// List grants
///
/// A grant counts as capacity that is down until it is proven released; it never expires.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How sure the answer must be
    #[arg(long, value_enum, default_value_t)]
    consistency: Consistency,
}

/// Lists grants.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let kind = Kind::Grant;
    let request = request(kind.word(), String::new(), args.consistency);
    print(app, &app.client()?, kind, request).await?;
    Ok(Outcome::Done)
}
