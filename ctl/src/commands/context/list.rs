//! `trictl context list`: the fleets that are known here.

use trireme_proto::problem::Problem;

use super::{Shown, render};
use crate::App;
use crate::context::File;
use crate::error::{Failure, Outcome};

/// List contexts
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Lists contexts.
pub(super) fn run(app: &App, _: &Args) -> Result<Outcome, Failure> {
    let path = File::path(&app.global).map_err(Problem::from)?;
    let file = File::read_or_empty(&path).map_err(Problem::from)?;
    let shown = file.contexts.iter().map(|(name, entry)| Shown::new(app, &file, name, entry));
    let shown: Vec<_> = shown.collect();
    app.out.value(&serde_json::json!({ "items": shown }), |_| render(&shown))?;
    Ok(Outcome::Done)
}
