//! `trictl grants list`: what takes capacity away right now.

use super::super::get::{Kind, print, request};
use super::super::look::{Look, look};
use crate::App;
use crate::error::{Failure, Outcome};

/// List grants
///
/// A grant counts as capacity that is down until it is proven released; it never expires.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    look: Look,
}

/// Lists grants.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let kind = Kind::Grant;
    let client = app.client()?;
    let request = request(kind.word(), String::new(), args.look.consistency);
    look(app, args.look.again, async || print(app, &client, kind, request.clone()).await).await
}
