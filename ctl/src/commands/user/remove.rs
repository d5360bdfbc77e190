//! `trictl user remove`: takes everything from a person.

use trireme_proto::wire::UserRequest;

use super::{super::usage, changed};
use crate::App;
use crate::error::{Failure, Outcome};

/// Take everything from a person
///
/// DANGEROUS: roles, logins and limits are forgotten, and what they have open is cut. The name may
/// be given again with `user add`; no certificate of before comes back to life.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the person
    name: String,

    /// Why, for the audit log
    #[arg(long)]
    reason: String,

    /// Name of the person once more
    #[arg(long, value_name = "NAME")]
    confirm: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Asks for it and prints the person.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    if args.confirm != args.name {
        let message = format!("--confirm says `{}`, the person is `{}`", args.confirm, args.name);
        return Err(usage(message).hint("repeat the person's name exactly").into());
    }
    let client = app.client()?;
    let request = UserRequest {
        origin: Some(client.origin()),
        name: args.name,
        reason: args.reason,
        dry_run: args.dry_run,
        ..UserRequest::default()
    };
    changed(app, &client.remove_user(request).await?)
}
