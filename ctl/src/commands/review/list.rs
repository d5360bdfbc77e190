//! `trictl review list`: what was reviewed, and what is to be.

use trireme_proto::wire::ListReviewsRequest;

use super::super::get::Consistency;
use crate::App;
use crate::error::{Failure, Outcome};

/// List starts without approval, what is said to plans, and reviews
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How sure the answer must be
    #[arg(long, value_enum, default_value_t)]
    consistency: Consistency,
}

/// Lists reviews.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let request = ListReviewsRequest { consistency: args.consistency.into() };
    super::print(app, &app.client()?.list_reviews(request).await?)
}
