//! `trictl override add`: sets exactly the named rules aside, for a time.

use trireme_proto::id::ServiceId;
use trireme_proto::time::Span;
use trireme_proto::view::{Judged, OverrideView};
use trireme_proto::wire::OverrideRequest;

use crate::App;
use crate::client::Reply;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// Set rules of the ledger aside for a time
///
/// DANGEROUS: what these rules refuse is then allowed, for one service or for all. A refusal names
/// its rule. Every other rule holds, every grant given by the exception says so, and it ends by
/// itself.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rule to set aside: serving.at_least, grants.one_region, grants.precedence or fleet.freeze;
    /// repeat it for several
    #[arg(long = "rule", value_name = "RULE", required = true)]
    rules: Vec<String>,

    /// Service it is for
    #[arg(long, value_name = "SERVICE", required_unless_present = "all_services")]
    service: Option<ServiceId>,

    /// It is for every service
    #[arg(long, conflicts_with = "service")]
    all_services: bool,

    /// How long it lasts, 1m to 24h
    #[arg(long = "for", value_name = "SPAN")]
    lasts: Span,

    /// Why, for the audit log
    #[arg(long)]
    reason: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Makes an exception.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = OverrideRequest {
        origin: Some(client.origin()),
        rules: args.rules,
        service: args.service.map(String::from).unwrap_or_default(),
        lasts_ms: args.lasts.0,
        reason: args.reason,
        dry_run: args.dry_run,
    };
    if args.dry_run {
        let reply: Reply<Judged> = client.r#override(request).await?;
        app.out.reply(&reply, table::judged)?;
        return Ok(Outcome::Done);
    }
    let reply: Reply<OverrideView> = client.r#override(request).await?;
    app.out.reply(&reply, |one| table::overrides(std::slice::from_ref(one)))?;
    Ok(Outcome::Done)
}
