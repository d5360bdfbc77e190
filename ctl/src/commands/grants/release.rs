//! `trictl grants release`: an operator's recorded override.

use trireme_proto::wire::ReleaseGrantRequest;

use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// Release a grant by hand, without the proof that would end it
///
/// DANGEROUS: the fleet then counts the grant's nodes by what they report alone. The nodes'
/// generation rises, so that whatever the grant allowed is refused if it comes late. Who did it
/// and why is in the audit log.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Grant, such as grant-12
    grant: String,

    /// Why, for the audit log
    #[arg(long)]
    reason: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Releases a grant.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let reply = client
        .release_grant(ReleaseGrantRequest {
            origin: Some(client.origin()),
            grant: args.grant,
            reason: args.reason,
            dry_run: args.dry_run,
        })
        .await?;
    app.out.reply(&reply, |grant| table::grants(std::slice::from_ref(grant)))?;
    Ok(Outcome::Done)
}
