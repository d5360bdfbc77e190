//! `trictl service debug`: the service, or a program, in a place made for it that goes with it.

use trireme_proto::id::ServiceId;

use super::exec::{Place, ask};
use crate::App;
use crate::error::{Failure, Outcome};

/// Start a service once on one node, in a container or directory of its own, as an admin
///
/// To see why it does not come up: its output comes here, what runs already is left alone, and the
/// container or directory is removed afterwards. With a program behind `--` that is run instead, in
/// the same place. Allowed, limited and recorded as `trictl service exec` is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the service
    service: ServiceId,

    #[command(flatten)]
    place: Place,

    /// Program and arguments in its stead, behind `--`
    #[arg(last = true, value_name = "ARGV")]
    argv: Vec<String>,
}

/// Runs it.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    ask(app, args.service, args.place, args.argv, true).await
}
