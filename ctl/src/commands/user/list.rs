//! `trictl user list`: who may do what, and when they last did anything.

use trireme_proto::wire::ListUsersRequest;

use super::super::get::Consistency;
use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::people;

/// List people: their roles, their logins, and when they last asked for anything
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this person
    name: Option<String>,

    /// How sure the answer must be
    #[arg(long, value_enum, default_value_t)]
    consistency: Consistency,
}

/// Lists people.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let consistency = args.consistency.into();
    let request = ListUsersRequest { name: args.name.unwrap_or_default(), consistency };
    let reply = app.client()?.list_users(request).await?;
    app.out.reply(&reply, people::users)?;
    Ok(Outcome::Done)
}
