//! People: who may do what, from where, and the tokens that let them in.

mod add;
mod disable;
mod enable;
mod grant;
mod limit;
mod list;
mod remove;
mod revoke;
mod token;

use trireme_proto::access::Grant;
use trireme_proto::view::people::UsersView;
use trireme_proto::wire::UserRequest;

use crate::App;
use crate::client::{Client, Reply};
use crate::error::{Failure, Outcome};
use crate::output::people;

/// What to do with people.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::Args),
    Add(add::Args),
    Token(token::Args),
    Grant(grant::Args),
    Revoke(revoke::Args),
    Limit(limit::Args),
    Disable(disable::Args),
    Enable(enable::Args),
    Remove(remove::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Add(args) => add::run(app, args).await,
        Command::Token(args) => token::run(app, args).await,
        Command::Grant(args) => grant::run(app, args).await,
        Command::Revoke(args) => revoke::run(app, args).await,
        Command::Limit(args) => limit::run(app, args).await,
        Command::Disable(args) => disable::run(app, args).await,
        Command::Enable(args) => enable::run(app, args).await,
        Command::Remove(args) => remove::run(app, args).await,
    }
}

/// Who and with which roles, for the verbs that give or take some.
#[derive(Debug, clap::Args)]
struct Roles {
    /// Name of the person, such as jane.doe
    name: String,

    /// admin, operator, developer or auditor; with @REGION,REGION in those regions alone
    #[arg(required = true, value_name = "ROLE[@REGION,..]")]
    granted: Vec<Grant>,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Roles {
    fn request(self, client: &Client) -> UserRequest {
        UserRequest {
            origin: Some(client.origin()),
            name: self.name,
            grants: self.granted.iter().map(ToString::to_string).collect(),
            dry_run: self.dry_run,
            ..UserRequest::default()
        }
    }
}

/// Prints whom a change was about.
fn changed(app: &App, reply: &Reply<UsersView>) -> Result<Outcome, Failure> {
    app.out.reply(reply, people::users)?;
    Ok(Outcome::Done)
}
