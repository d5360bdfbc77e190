//! `trictl context protect`: has the fleet's name typed for each change.

use super::{change, known};
use crate::App;
use crate::error::{Failure, Outcome};

/// Have the fleet's name typed for each change through a context
///
/// Where nobody can be asked, changes take --confirm-fleet NAME. It guards against the wrong
/// terminal, not against whoever can write the context file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the context
    name: String,

    /// Protect it no longer
    #[arg(long)]
    off: bool,

    /// Check it, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Protects a context, or no longer.
pub(super) fn run(app: &App, args: &Args) -> Result<Outcome, Failure> {
    change(app, (&args.name, args.dry_run), |file| {
        known(app, file, &args.name)?.protected = !args.off;
        Ok(())
    })
}
