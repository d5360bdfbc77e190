//! `trictl approve`: agrees to a plan before it starts.

use trireme_proto::plan::PlanId;
use trireme_proto::wire::ApprovePlanRequest;

use crate::App;
use crate::error::{Failure, Outcome};
use crate::output::approval;

/// Agree to a plan before it starts
///
/// For services whose manifest asks for approvals, of upgrades or of restarts and stops by hand. The
/// approval is for this very plan: it ends when the plan changes, with its time, and with the start.
/// Who proposed the plan cannot approve it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Plan as `upgrade plan` prints it, such as web@1.4.2:0123456789ab, or as a refused restart names
    /// it
    plan: PlanId,

    /// Have it judged by the controllers, and approve nothing
    #[arg(long)]
    dry_run: bool,
}

/// Approves a plan.
pub(super) async fn run(app: &App, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let plan = args.plan.to_string();
    let request = ApprovePlanRequest {
        origin: Some(client.origin()),
        plan: plan.clone(),
        dry_run: args.dry_run,
    };
    let reply = client.approve_plan(request).await?;
    app.out.reply(&reply, |view| approval::plans(&view.plans))?;
    Ok(Outcome::Done)
}
