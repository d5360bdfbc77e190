//! `trictl context show`: where commands would go, and as whom.

use trireme_proto::problem::Problem;

use super::{Shown, render};
use crate::App;
use crate::context::File;
use crate::error::{Failure, Outcome};

/// Show one context, by default the one that commands would use
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the context
    name: Option<String>,
}

/// Shows a context.
pub(super) fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let path = File::path(&app.global).map_err(Problem::from)?;
    let file = File::read(&path).map_err(Problem::from)?;
    let wanted = args.name.or_else(|| app.global.context.clone());
    let name = file.chosen(&path, wanted.as_deref()).map_err(Problem::from)?;
    let shown = [Shown::new(app, &file, &name, &file.contexts[&name])];
    app.out.value(&serde_json::json!({ "items": shown }), |_| render(&shown))?;
    Ok(Outcome::Done)
}
