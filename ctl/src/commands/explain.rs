//! `trictl explain`: what manifests may say; asks no controller.

use trireme_proto::manifest::explain;
use trireme_proto::problem::{Code, Problem};

use crate::App;
use crate::error::{Failure, Outcome};

/// Explain the fields of manifests
///
/// For example: `trictl explain service.upgrade.bake`. Needs no connection.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kind or field, such as service.checks; by default the list of kinds
    path: Option<String>,
}

/// Explains a kind or field.
pub(super) fn run(app: &App, args: &Args) -> Result<Outcome, Failure> {
    let path = args.path.as_deref().unwrap_or_default();
    let explained = explain(path)
        .map_err(|error| Problem::new(Code::NotFound, error.to_string()).hint(error.help))?;
    app.out.value(&explained, ToString::to_string)?;
    Ok(Outcome::Done)
}
