//! `trictl user token`: lets a person log in, once.

use trireme_proto::time::Span;
use trireme_proto::view::people::UserTokenView;
use trireme_proto::wire::UserRequest;

use crate::App;
use crate::error::{Failure, Outcome};

/// Make a one-time token for a person to log in with
///
/// The token is shown once, works once, and replaces one made before. It also tells `trictl` which
/// fleet to trust. Hand it over on a way that you trust.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the person
    name: String,

    /// How long the token may wait to be used
    #[arg(long, value_name = "SPAN", default_value = "1h")]
    ttl: Span,

    /// Have it judged by the controllers, and make no token
    #[arg(long)]
    dry_run: bool,
}

/// Creates a token.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = UserRequest {
        origin: Some(client.origin()),
        name: args.name,
        ttl_ms: args.ttl.0,
        dry_run: args.dry_run,
        ..UserRequest::default()
    };
    let reply = client.create_user_token(request).await?;
    app.out.reply(&reply, render)?;
    Ok(Outcome::Done)
}

fn render(token: &UserTokenView) -> String {
    format!(
        "token {} lets {} log in, once, until {}\n\n{}\n\nthey run, and give it when asked:\n  \
         trictl login --enrol {}",
        token.id,
        token.user,
        token.expires_at,
        token.token,
        token.enrol.join(",")
    )
}
