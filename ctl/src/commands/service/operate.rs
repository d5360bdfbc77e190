//! `trictl service start`, `stop`, `restart` and `recreate`: one request, four operations.

use trireme_proto::id::{NodeId, RegionId, ServiceId};
use trireme_proto::plan::Operation;
use trireme_proto::view::{PlanView, UpgradeView};
use trireme_proto::wire::OperateRequest;

use super::super::upgrade::{changed, watch};
use crate::App;
use crate::client::Reply;
use crate::error::{Failure, Outcome};
use crate::output::plan::render;

/// Which service, where, and why.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the service
    service: ServiceId,

    /// Region that is meant; repeat it for several [default: every region]
    #[arg(long = "region", value_name = "REGION")]
    regions: Vec<RegionId>,

    /// Node that is meant; repeat it for several. Named, it is meant even if it was put aside
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<NodeId>,

    /// Why, for the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,

    /// Name of the service once more, where its manifest wants that
    #[arg(long, value_name = "SERVICE", default_value = "", hide_default_value = true)]
    confirm: String,

    /// Do it without the approvals it needs, for this reason; everybody is told, and another
    /// person must review it within 24 hours
    #[arg(long, value_name = "REASON", default_value = "", hide_default_value = true)]
    break_glass: String,

    /// Follow it until it has ended
    #[arg(long, short)]
    watch: bool,

    /// Show what would be done, have it judged by the controllers, and change nothing
    #[arg(long, conflicts_with = "watch")]
    dry_run: bool,
}

impl Args {
    /// Returns the words of the same command, without the dry run.
    fn words(&self, operation: Operation) -> Vec<String> {
        let mut words = vec!["service".to_owned(), operation.to_string(), self.service.to_string()];
        for region in &self.regions {
            words.extend(["--region".to_owned(), region.to_string()]);
        }
        for node in &self.nodes {
            words.extend(["--node".to_owned(), node.to_string()]);
        }
        if !self.reason.is_empty() {
            words.extend(["--reason".to_owned(), self.reason.clone()]);
        }
        for (option, value) in [("--confirm", &self.confirm), ("--break-glass", &self.break_glass)]
        {
            if !value.is_empty() {
                words.extend([option.to_owned(), value.clone()]);
            }
        }
        words.push("--watch".to_owned());
        words
    }
}

/// Does one of the operations.
pub(super) async fn run(app: &App, operation: Operation, args: Args) -> Result<Outcome, Failure> {
    let client = app.client()?;
    let request = OperateRequest {
        origin: Some(client.origin()),
        service: args.service.to_string(),
        operation: operation.to_string(),
        regions: args.regions.iter().map(ToString::to_string).collect(),
        nodes: args.nodes.iter().map(ToString::to_string).collect(),
        reason: args.reason.clone(),
        dry_run: args.dry_run,
        confirm: args.confirm.clone(),
        break_glass: args.break_glass.clone(),
    };
    if args.dry_run {
        let reply: Reply<PlanView> = client.operate(request).await?;
        let words = args.words(operation);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let start = app.command(&words);
        app.out.reply(&reply, |plan| render(plan, &start, app.out.style()))?;
        return Ok(Outcome::Done);
    }
    let reply: Reply<UpgradeView> = client.operate(request).await?;
    if args.watch {
        watch::follow(app, &client, &reply.value.id.to_string()).await
    } else {
        changed(app, &reply)
    }
}
