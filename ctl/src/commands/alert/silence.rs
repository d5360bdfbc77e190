//! `trictl alert silence`: keeps alerts from being told for a while.

use std::collections::HashMap;

use serde_json::Value;
use trireme_proto::time::Span;
use trireme_proto::view::alert::SilenceView;
use trireme_proto::wire::SilenceRequest;

use super::super::usage;
use crate::App;
use crate::client::Reply;
use crate::error::{Failure, Outcome, failed};
use crate::output::alert;

/// Keep alerts from being told for a while
///
/// They are listed all the same, as suppressed. A silence ends by itself; labels are those that
/// `trictl alert list` shows, such as alertname, severity, region, node, service and check.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Label that an alert must have; repeat it for more, all of which must match
    #[arg(short, long = "label", value_name = "NAME=VALUE", required = true)]
    labels: Vec<String>,

    /// How long
    #[arg(long = "for", value_name = "SPAN")]
    lasting: Span,

    /// Why, for others and for the audit log
    #[arg(long)]
    reason: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Makes a silence.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let mut labels = HashMap::new();
    for label in &args.labels {
        let parts =
            label.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
        let Some((name, value)) = parts else {
            return Err(usage(format!("`{label}` is not a label"))
                .hint("write NAME=VALUE, such as region=aws")
                .into());
        };
        labels.insert(name.to_owned(), value.to_owned());
    }
    let client = app.client()?;
    let reply: Reply<Value> = client
        .silence(SilenceRequest {
            origin: Some(client.origin()),
            labels,
            lasting_ms: args.lasting.0,
            reason: args.reason,
            dry_run: args.dry_run,
        })
        .await?;
    if args.dry_run {
        app.out.reply(&reply, |_| "it would be silenced; nothing was changed".to_owned())?;
        return Ok(Outcome::Done);
    }
    let silence: SilenceView = serde_json::from_value(reply.value.clone())
        .map_err(|error| failed("the controller's document has another shape", &error))?;
    app.out.reply(&reply, |_| alert::silences(std::slice::from_ref(&silence)))?;
    Ok(Outcome::Done)
}
