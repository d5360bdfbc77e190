//! `trictl controller status`: the controllers and who leads.

use trireme_proto::wire::ControllersRequest;

use super::super::get::Consistency;
use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// Show the controllers and who leads
///
/// With `--consistency stale` any controller answers, also when there is no leader.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How sure the answer must be
    #[arg(long, value_enum, default_value_t)]
    consistency: Consistency,
}

/// Shows the controllers.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let request = ControllersRequest { consistency: args.consistency.into() };
    let reply = app.client()?.controllers(request).await?;
    app.out.reply(&reply, table::controllers)?;
    Ok(Outcome::Done)
}
