//! `trictl user limit`: from where people may ask.

use trireme_proto::source::Network;
use trireme_proto::wire::UserRequest;

use super::{super::usage, changed};
use crate::App;
use crate::error::{Failure, Outcome};

/// Say from which networks a person, or everybody, may ask
///
/// Replaces the list that was there. Requests from elsewhere are denied and recorded with their
/// address, and what is open from elsewhere is cut. A list that would shut out whoever writes it is
/// refused. Agents and controllers are not concerned.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the person
    #[arg(required_unless_present = "everybody", conflicts_with = "everybody")]
    name: Option<String>,

    /// The list that counts for everybody, besides each one's own
    #[arg(long)]
    everybody: bool,

    /// Network such as 10.1.0.0/16, or an address; repeat it or separate with commas
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    from: Vec<Network>,

    /// Anywhere: there is no list any more
    #[arg(long, conflicts_with = "from")]
    anywhere: bool,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Asks for it and prints whom it is about.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    if args.from.is_empty() && !args.anywhere {
        return Err(usage("from where?").hint("--from NETWORK, or --anywhere").into());
    }
    let client = app.client()?;
    let request = UserRequest {
        origin: Some(client.origin()),
        name: args.name.unwrap_or_default(),
        sources: args.from.iter().map(ToString::to_string).collect(),
        dry_run: args.dry_run,
        ..UserRequest::default()
    };
    changed(app, &client.limit_user(request).await?)
}
