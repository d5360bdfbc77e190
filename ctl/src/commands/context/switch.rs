//! `trictl context use`: which fleet is meant when none is named.

use super::{change, known};
use crate::App;
use crate::error::{Failure, Outcome};

/// Use a context by default
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the context
    name: String,

    /// Check it, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Makes a context the current one.
pub(super) fn run(app: &App, args: &Args) -> Result<Outcome, Failure> {
    change(app, (&args.name, args.dry_run), |file| {
        known(app, file, &args.name)?;
        file.current = Some(args.name.clone());
        Ok(())
    })
}
