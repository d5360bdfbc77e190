//! `trictl region list`: places whose nodes fail together, and what each serves.

use super::super::get::{Kind, print, request};
use super::super::look::{Look, look};
use crate::App;
use crate::error::{Failure, Outcome};

/// List regions
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    look: Look,
}

/// Lists regions.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let kind = Kind::Region;
    let client = app.client()?;
    let request = request(kind.word(), String::new(), args.look.consistency);
    look(app, args.look.again, async || print(app, &client, kind, request.clone()).await).await
}
