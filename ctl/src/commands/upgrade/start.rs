//! `trictl upgrade start`: starts exactly the plan that was read.

use trireme_proto::plan::PlanId;
use trireme_proto::problem::{Code, Problem};
use trireme_proto::view::{PlanView, UpgradeView};
use trireme_proto::wire::{PlanUpgradeRequest, StartUpgradeRequest};

use super::super::usage;
use super::{changed, watch};
use crate::App;
use crate::client::{Client, Reply};
use crate::error::{Failure, Outcome};
use crate::output::plan::render;
use crate::terminal;

/// Start a plan
///
/// The controllers compute the plan again and refuse if it is not the one that was read. On a
/// terminal the plan is shown and confirmed first; elsewhere it takes --yes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Plan as `upgrade plan` prints it, such as web@1.4.2:0123456789ab
    plan: PlanId,

    /// Follow it until it has ended
    #[arg(long, short)]
    watch: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Start it without the approvals it needs, for this reason; everybody is told, and another
    /// person must review it within 24 hours
    #[arg(long, value_name = "REASON", default_value = "", hide_default_value = true)]
    break_glass: String,

    /// Have it judged by the controllers, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Starts an upgrade.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let ask = !args.yes && !args.dry_run;
    if ask && (!app.out.form().is_text() || !terminal::can_ask()) {
        let problem = usage("nobody can be asked: this is no terminal");
        return Err(problem.hint("add --yes to start the plan without asking").into());
    }
    let client = app.client()?;
    if ask {
        confirm(app, &client, &args.plan).await?;
    }
    let id = args.plan.to_string();
    let request = StartUpgradeRequest {
        origin: Some(client.origin()),
        plan: id.clone(),
        dry_run: args.dry_run,
        break_glass: args.break_glass,
    };
    if args.dry_run {
        let reply: Reply<PlanView> = client.start_upgrade(request).await?;
        let start = app.command(&["upgrade", "start", &id, "--watch"]);
        app.out.reply(&reply, |plan| render(plan, &start, app.out.style()))?;
        return Ok(Outcome::Done);
    }
    let reply: Reply<UpgradeView> = client.start_upgrade(request).await?;
    if args.watch {
        watch::follow(app, &client, &reply.value.id.to_string()).await
    } else {
        changed(app, &reply)
    }
}

async fn confirm(app: &App, client: &Client, plan: &PlanId) -> Result<(), Failure> {
    let (service, version) = (plan.service.to_string(), plan.version.to_string());
    let request = PlanUpgradeRequest { service: service.clone(), version: version.clone() };
    let reply = client.plan_upgrade(request).await?;
    let id = plan.to_string();
    if reply.value.id != *plan {
        let message = format!("plan {id} is stale: now it would be {}", reply.value.id);
        let hint = app.command(&["upgrade", "plan", &service, "--to", &version]);
        return Err(Problem::new(Code::Conflict, message).hint(hint).into());
    }
    let start = app.command(&["upgrade", "start", &id, "--yes"]);
    app.out.reply(&reply, |plan| render(plan, &start, app.out.style()))?;
    let question = format!("\nUpgrade {service} to {version} in fleet {}?", client.fleet());
    terminal::confirm(&app.out, &question).await
}
