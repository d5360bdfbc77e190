//! `trictl upgrade plan`: what an upgrade would do, and the proof that it keeps the promise.

use trireme_proto::id::{ServiceId, Version};
use trireme_proto::wire::PlanUpgradeRequest;

use crate::App;
use crate::error::{Ending, EndingCode, Failure, Outcome};
use crate::output::plan::render;

/// Show what an upgrade would do, and the proof that enough regions keep serving
///
/// Changes nothing. Prints the differences, the order, the regions that keep serving at each
/// wave, the waits, what would block it now, and the command that starts exactly this plan.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Service to upgrade
    service: ServiceId,

    /// Version to go to
    #[arg(long, value_name = "VERSION")]
    to: Version,

    /// Exit with 3 if the upgrade would change anything
    #[arg(long)]
    exit_code: bool,
}

/// Plans an upgrade.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let request =
        PlanUpgradeRequest { service: args.service.to_string(), version: args.to.to_string() };
    let reply = app.client()?.plan_upgrade(request).await?;
    let id = reply.value.id.to_string();
    let start = app.command(&["upgrade", "start", &id, "--watch"]);
    app.out.reply(&reply, |plan| render(plan, &start, app.out.style()))?;
    // Nodes that run the target already are in the plan, for the record, and stay as they are.
    let changes = |node| !reply.value.unchanged.contains(node);
    let touched = reply.value.plan.waves.iter().filter(|wave| wave.nodes.iter().any(changes));
    let waves = touched.count();
    if args.exit_code && waves > 0 {
        let message = format!("the plan has changes: {waves} waves");
        return Ok(Ending::new(EndingCode::Changes, message).hint(start).into());
    }
    Ok(Outcome::Done)
}
