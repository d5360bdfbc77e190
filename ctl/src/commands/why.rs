//! `trictl why`: why an object is as it is, and who can change that.

use trireme_proto::wire::WhyRequest;

use super::look::{Again, look};
use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::describe;

/// Say why an object is as it is, and who can change that
///
/// For each condition that does not hold: what it is, what was seen, and who or what can
/// unblock it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// upgrade-N, grant-N, action-N, the name of a service or node, or KIND/NAME
    object: String,

    #[command(flatten)]
    again: Again,
}

/// Asks why.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let print = async || {
        let reply = client.why(WhyRequest { object: args.object.clone() }).await?;
        app.out.reply(&reply, |view| describe::why(view, app.out.style()))
    };
    look(app, args.again, print).await
}
