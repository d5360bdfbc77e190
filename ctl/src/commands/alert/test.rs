//! `trictl alert test`: a message that only shows that a channel works.

use serde_json::Value;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::alert::NoticeView;
use trireme_proto::wire::TestChannelRequest;

use crate::App;
use crate::client::Reply;
use crate::error::{Failure, Outcome, failed};
use crate::output::alert;

/// Send a message that only shows that a channel works
///
/// Fails if it did not arrive, and says why. An Alertmanager gets an alert named `test` at every
/// peer, which ends by itself after a minute.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the channel
    channel: String,

    /// Have it judged by the controllers, and send nothing
    #[arg(long)]
    dry_run: bool,
}

/// Tests a channel.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let reply: Reply<Value> = client
        .test_channel(TestChannelRequest {
            origin: Some(client.origin()),
            channel: args.channel.clone(),
            dry_run: args.dry_run,
        })
        .await?;
    if args.dry_run {
        app.out.reply(&reply, |_| "a message would be sent; nothing was".to_owned())?;
        return Ok(Outcome::Done);
    }
    let notice: NoticeView = serde_json::from_value(reply.value.clone())
        .map_err(|error| failed("the controller's document has another shape", &error))?;
    if let "failed" | "unknown" = notice.state.as_str() {
        let message = format!("{} through channel {}: {}", notice.id, args.channel, notice.state);
        let problem = Problem::new(Code::Failed, message);
        let hint = app.command(&["get", "channel", &args.channel]);
        return Err(problem.because(notice.reason.unwrap_or_default()).hint(hint).into());
    }
    app.out.reply(&reply, |_| alert::notices(std::slice::from_ref(&notice)))?;
    Ok(Outcome::Done)
}
