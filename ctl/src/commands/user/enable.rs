//! `trictl user enable`: lets a disabled person log in again.

use trireme_proto::wire::UserRequest;

use super::changed;
use crate::App;
use crate::error::{Failure, Outcome};

/// Let a disabled person log in again
///
/// They keep their roles, and need a new token: `trictl user token NAME`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the person
    name: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Asks for it and prints the person.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let (origin, dry_run) = (Some(client.origin()), args.dry_run);
    let request = UserRequest { origin, name: args.name, dry_run, ..UserRequest::default() };
    changed(app, &client.enable_user(request).await?)
}
