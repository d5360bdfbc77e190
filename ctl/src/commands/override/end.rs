//! `trictl override end`: a rule holds again before the exception's time is up.

use trireme_proto::wire::EndOverrideRequest;

use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// End an override before its time
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Override, such as override-12
    r#override: String,

    /// Why, for the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Ends an exception.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = EndOverrideRequest {
        origin: Some(client.origin()),
        id: args.r#override,
        reason: args.reason,
        dry_run: args.dry_run,
    };
    let reply = client.end_override(request).await?;
    app.out.reply(&reply, |list| table::overrides(&list.items))?;
    Ok(Outcome::Done)
}
