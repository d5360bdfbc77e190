//! Services as they run: what they say, starting, stopping, restarting.

mod debug;
mod exec;
mod logs;
mod operate;
mod status;
mod top;

use trireme_proto::plan::Operation;

use crate::App;
use crate::error::{Failure, Outcome};

/// What to do with services.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Status(status::Args),
    Top(top::Args),
    Logs(logs::Args),
    Exec(exec::Args),
    Debug(debug::Args),
    /// Start what does not serve
    ///
    /// Nodes that serve are left alone. What an operator had stopped gives its grant back once it
    /// is proven to serve.
    Start(operate::Args),
    /// Stop a service where it is meant; it stays down until it is started
    ///
    /// The ledger counts it as down until then, so it is refused where too few regions would serve
    /// on. Stopped nodes are left out of upgrades.
    Stop(operate::Args),
    /// Stop and start what runs, region by region, as the ledger allows
    ///
    /// Clients are led away first and come back when the checks pass; a node that does not come up
    /// ends the restart. Data and containers are kept.
    Restart(operate::Args),
    /// Restart, and make anew what the driver made for the service
    ///
    /// Containers are made again from the same images; volumes and data are kept. What the agent
    /// runs as a process is just restarted.
    Recreate(operate::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Status(args) => status::run(app, args).await,
        Command::Top(args) => top::run(app, args).await,
        Command::Logs(args) => logs::run(app, args).await,
        Command::Exec(args) => exec::run(app, args).await,
        Command::Debug(args) => debug::run(app, args).await,
        Command::Start(args) => operate::run(app, Operation::Start, args).await,
        Command::Stop(args) => operate::run(app, Operation::Stop, args).await,
        Command::Restart(args) => operate::run(app, Operation::Restart, args).await,
        Command::Recreate(args) => operate::run(app, Operation::Recreate, args).await,
    }
}
