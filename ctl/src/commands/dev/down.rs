//! `trictl dev down`: ends everything that `dev up` has started.

use serde_json::json;

use super::Dir;
use crate::App;
use crate::error::{Failure, Outcome};
use crate::local::LocalError;

/// Take the fleet on this machine down
///
/// Ends its daemons and the services that they have started, and removes its files. May be
/// repeated: where there is no fleet there is nothing to do.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dir: Dir,

    /// Keep its files, so that `dev up` goes on from them
    #[arg(long)]
    keep: bool,
}

/// Takes it down.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let path = args.dir.path();
    let found = match args.dir.open() {
        Ok(fleet) => {
            let fleet = fleet.down().await?;
            if !args.keep {
                fleet.remove()?;
            }
            true
        }
        Err(LocalError::NoFleet(_)) => false,
        Err(error) => return Err(error.into()),
    };
    let value = json!({ "dir": path, "was_there": found, "kept": args.keep && found });
    app.out.value(&value, |_| match (found, args.keep) {
        (false, _) => format!("there is no fleet in {}", path.display()),
        (true, false) => format!("the fleet in {} is gone, its files too", path.display()),
        (true, true) => format!("the fleet in {} is down, its files are kept", path.display()),
    })?;
    Ok(Outcome::Done)
}
