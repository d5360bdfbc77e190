//! `trictl context remove`: forgets a fleet here.

use super::{change, known};
use crate::App;
use crate::error::{Failure, Outcome};

/// Forget a context; the files that it names are left
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the context
    name: String,

    /// Check it, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Forgets a context.
pub(super) fn run(app: &App, args: &Args) -> Result<Outcome, Failure> {
    change(app, (&args.name, args.dry_run), |file| {
        known(app, file, &args.name)?;
        file.contexts.remove(&args.name);
        if file.current.as_ref() == Some(&args.name) {
            file.current = None;
        }
        Ok(())
    })
}
