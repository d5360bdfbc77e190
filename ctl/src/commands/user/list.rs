//! `trictl user list`: who may do what, and when they last did anything.

use trireme_proto::wire::ListUsersRequest;

use super::super::look::{Look, look};
use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::people;

/// List people: their roles, their logins, and when they last asked for anything
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this person
    name: Option<String>,

    #[command(flatten)]
    look: Look,
}

/// Lists people.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let consistency = args.look.consistency.into();
    let request = ListUsersRequest { name: args.name.unwrap_or_default(), consistency };
    let client = app.client()?;
    let print = async || app.out.reply(&client.list_users(request.clone()).await?, people::users);
    look(app, args.look.again, print).await
}
