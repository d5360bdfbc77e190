//! `trictl alert ack`: somebody looks after it.

use trireme_proto::wire::AcknowledgeRequest;

use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::alert;

/// Say that you look after an alert
///
/// It is not repeated until it is over; that it is over is told as always.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// incident-N
    incident: String,

    /// What others should know
    #[arg(long, default_value = "")]
    note: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Acknowledges an incident.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let reply = client
        .acknowledge(AcknowledgeRequest {
            origin: Some(client.origin()),
            incident: args.incident,
            note: args.note,
            dry_run: args.dry_run,
        })
        .await?;
    app.out.reply(&reply, |one| alert::incidents(std::slice::from_ref(one)))?;
    Ok(Outcome::Done)
}
