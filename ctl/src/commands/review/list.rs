//! `trictl review list`: what was reviewed, and what is to be.

use trireme_proto::wire::ListReviewsRequest;

use super::super::look::{Look, look};
use crate::App;
use crate::error::{Failure, Outcome};

/// List starts without approval, what is said to plans, and reviews
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    look: Look,
}

/// Lists reviews.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let request = ListReviewsRequest { consistency: args.look.consistency.into() };
    let client = app.client()?;
    let print = async || super::print(app, &client.list_reviews(request).await?).map(drop);
    look(app, args.look.again, print).await
}
