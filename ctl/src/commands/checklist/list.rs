//! `trictl checklist list`: what there is, and how it stands.

use super::super::get::{Consistency, request};
use crate::App;
use crate::client::Reply;
use crate::error::{Failure, Outcome};
use crate::output::checklist;

/// List checklists, when each opens, and how it stands
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How sure the answer must be
    #[arg(long, value_enum, default_value_t)]
    consistency: Consistency,
}

/// Lists checklists.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let request = request("checklist", String::new(), args.consistency);
    let reply: Reply<trireme_proto::view::List<_>> = app.client()?.get(request).await?;
    app.out.reply(&reply, |list| checklist::lists(&list.items))?;
    Ok(Outcome::Done)
}
