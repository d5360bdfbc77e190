//! `trictl freeze status`: whether the fleet is frozen, by whom and why.

use trireme_proto::view::FreezeView;

use super::super::get::{Consistency, request};
use crate::App;
use crate::client::Reply;
use crate::error::{Failure, Outcome};
use crate::output::table;

/// Tell whether the fleet is frozen, by whom and why
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How sure the answer must be
    #[arg(long, value_enum, default_value_t)]
    consistency: Consistency,
}

/// Tells whether the fleet is frozen.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let request = request("freeze", String::new(), args.consistency);
    let reply: Reply<FreezeView> = app.client()?.get(request).await?;
    app.out.reply(&reply, table::freeze)?;
    Ok(Outcome::Done)
}
