//! `trictl alert unsilence`: ends a silence.

use trireme_proto::wire::UnsilenceRequest;

use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::alert;

/// End a silence
///
/// What it kept from being told and still goes on is told now.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// silence-N
    silence: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Ends a silence.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let reply = client
        .unsilence(UnsilenceRequest {
            origin: Some(client.origin()),
            silence: args.silence,
            dry_run: args.dry_run,
        })
        .await?;
    app.out.reply(&reply, |one| alert::silences(std::slice::from_ref(one)))?;
    Ok(Outcome::Done)
}
