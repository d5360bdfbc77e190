//! `trictl alert notices`: messages and what became of each.

use super::super::get::{Consistency, Kind, print, request};
use crate::App;
use crate::error::{Failure, Outcome};

/// List messages and what became of each
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How sure the answer must be
    #[arg(long, value_enum, default_value_t)]
    consistency: Consistency,
}

/// Lists them.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let kind = Kind::Notice;
    let request = request(kind.word(), String::new(), args.consistency);
    print(app, &app.client()?, kind, request).await?;
    Ok(Outcome::Done)
}
