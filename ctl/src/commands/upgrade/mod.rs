//! Upgrades: plan, start, watch, steer.

mod abort;
mod pause;
mod plan;
mod resume;
mod rollback;
mod start;
mod status;
pub(super) mod watch;

use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::{List, UpgradeView};
use trireme_proto::wire::UpgradeRequest;

use super::get::{Consistency, Kind, request};
use super::usage;
use crate::App;
use crate::client::{Client, Reply};
use crate::error::{Failure, Outcome};
use crate::output::upgrade::status;

/// What to do with upgrades.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Plan(plan::Args),
    Start(start::Args),
    Status(status::Args),
    Watch(watch::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    Abort(abort::Args),
    Rollback(rollback::Args),
}

/// Runs one of them.
pub(super) async fn run(app: &App, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Plan(args) => plan::run(app, args).await,
        Command::Start(args) => start::run(app, args).await,
        Command::Status(args) => status::run(app, args).await,
        Command::Watch(args) => watch::run(app, args).await,
        Command::Pause(args) => pause::run(app, args).await,
        Command::Resume(args) => resume::run(app, args).await,
        Command::Abort(args) => abort::run(app, args).await,
        Command::Rollback(args) => rollback::run(app, args).await,
    }
}

/// Which upgrade, for the verbs that steer one.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// upgrade-N, or a service for its newest one; by default the only one that runs
    #[arg(value_name = "UPGRADE|SERVICE")]
    upgrade: Option<String>,
}

/// Which upgrade and why, for the verbs that change one.
#[derive(Debug, clap::Args)]
pub(super) struct Steer {
    #[command(flatten)]
    target: Target,

    /// Why, for the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Target {
    /// Returns the upgrade that is meant.
    async fn resolve(self, app: &App, client: &Client) -> Result<String, Failure> {
        match self.upgrade {
            Some(upgrade) => Ok(upgrade),
            None => Ok(only_running(app, &all(client).await?.value.items)?.id.to_string()),
        }
    }
}

impl Steer {
    async fn request(self, app: &App, client: &Client) -> Result<UpgradeRequest, Failure> {
        Ok(UpgradeRequest {
            origin: Some(client.origin()),
            upgrade: self.target.resolve(app, client).await?,
            reason: self.reason,
            dry_run: self.dry_run,
        })
    }
}

/// Prints the upgrade after a change, with the command that follows it.
pub(super) fn changed(app: &App, reply: &Reply<UpgradeView>) -> Result<Outcome, Failure> {
    let id = reply.value.id.to_string();
    app.out.reply(reply, |view| {
        let page = status(view, app.out.style());
        if view.phase.is_final() {
            return page;
        }
        let follow = app.command(&["upgrade", "watch", &id]);
        page.gap().line("to follow it:").line(format!("  {follow}"))
    })?;
    Ok(Outcome::Done)
}

async fn all(client: &Client) -> Result<Reply<List<UpgradeView>>, Failure> {
    client.get(request(Kind::Upgrade.word(), String::new(), Consistency::Lease)).await
}

/// Returns the one upgrade that has not ended.
fn only_running<'a>(app: &App, items: &'a [UpgradeView]) -> Result<&'a UpgradeView, Problem> {
    let running: Vec<_> = items.iter().filter(|view| !view.phase.is_final()).collect();
    match running.as_slice() {
        [only] => Ok(only),
        [] => Err(Problem::new(Code::NotFound, "no upgrade is running")
            .hint(app.command(&["get", "upgrade"]))),
        several => {
            let problem = usage(format!("{} upgrades are running: name one", several.len()));
            Err(several.iter().fold(problem, |problem, view| {
                problem.because(format!("{} of {}: {}", view.id, view.service, view.words()))
            }))
        }
    }
}
