//! `trictl override list`: the exceptions in force.

use super::super::get::{Kind, print, request};
use super::super::look::{Look, look};
use crate::App;
use crate::error::{Failure, Outcome};

/// List overrides in force
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    look: Look,
}

/// Lists overrides.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let kind = Kind::Override;
    let client = app.client()?;
    let request = request(kind.word(), String::new(), args.look.consistency);
    look(app, args.look.again, async || print(app, &client, kind, request.clone()).await).await
}
