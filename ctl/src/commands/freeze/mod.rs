//! The freeze: nobody takes anything new.

mod off;
mod on;
mod status;

use trireme_proto::wire::FreezeRequest;

use crate::App;
use crate::client::Client;
use crate::error::{Failure, Outcome};

/// What to do with the freeze.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    On(on::Args),
    Off(off::Args),
    Status(status::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::On(args) => on::run(app, args.steer).await,
        Command::Off(args) => off::run(app, args.steer).await,
        Command::Status(args) => status::run(app, args).await,
    }
}

/// Why, for both directions.
#[derive(Debug, clap::Args)]
struct Steer {
    /// Why, for the audit log
    #[arg(long)]
    reason: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Steer {
    fn request(self, client: &Client) -> FreezeRequest {
        let origin = Some(client.origin());
        FreezeRequest { origin, reason: self.reason, dry_run: self.dry_run }
    }
}
